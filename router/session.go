package router

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
)

// replaceGrace is how long a control plane that is being replaced has to take the news.
const replaceGrace = 500 * time.Millisecond

// farewellLimit is how long a control plane may take to be told the last figures.
const farewellLimit = time.Second

var (
	errReplaced = errors.New("replaced by another control plane")
	errFarewell = errors.New("the router ends")
)

// control is the router's end of the stream: it follows one control plane at a time, the one that
// connected last.
type control struct {
	log       *slog.Logger
	stateDir  string
	addresses Addresses
	routes    *routes
	certs     *certificates
	access    *accessLog
	signal    *loadSignal
	ends      *ends
	elder     *elder      // nil: there was none
	retired   atomic.Bool // another router has the state directory
	noted     atomic.Bool // noteLife has done its work

	mu      sync.Mutex // guards session
	session *session   // the one followed; nil: none
}

// session is the stream to one control plane.
type session struct {
	*control
	frames frames
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended

	wake chan struct{} // capacity 1; something was put into the fields below

	mu       sync.Mutex // guards the fields below
	replaced bool
	farewell bool
	acks     []message
	drained  []apron.InstanceID
}

// serve accepts control planes on ln until ctx is done. It closes ln.
func (c *control) serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var attending sync.WaitGroup
	defer attending.Wait()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil { // out of file descriptors, say: that must not end the router
			c.log.Error("accept control plane", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		attending.Go(func() { c.attend(ctx, conn) })
	}
}

// attend follows the control plane at the other end of conn until it leaves or is replaced. Who
// dialled does not matter.
func (c *control) attend(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{
		control: c, frames: frames{conn: conn}, cancel: cancel,
		done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	defer close(s.done)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()

	if _, err := s.frames.receiveHello(); err != nil {
		c.log.Warn("control plane refused", "err", err)
		_ = s.frames.sendHello(hello{}) // lets the other side see that the protocols differ
		return
	}
	c.takeOver(s)
	defer c.leave(s)
	c.log.Info("control plane connected")
	err := s.run(ctx)
	c.log.Info("control plane gone", "err", err)
}

// takeOver makes s the session followed, once the one before it has ended.
func (c *control) takeOver(s *session) {
	c.mu.Lock()
	old := c.session
	c.session = s
	c.mu.Unlock()
	if old != nil {
		old.replace()
		<-old.done
	}
	c.routes.drain.follow(s.noteDrained)
}

func (c *control) leave(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		c.session = nil
		c.routes.drain.follow(nil)
	}
}

func (s *session) run(ctx context.Context) error {
	h := hello{Table: s.routes.current.Load().source, Addresses: s.addresses}
	if err := s.frames.sendHello(h); err != nil {
		return err
	}
	s.elder.await(ctx) // what drained, and the first figures, are its as well
	g, ctx := errgroup.WithContext(ctx)
	g.Go(s.receive)
	g.Go(func() error { return s.send(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return s.frames.conn.Close() // unblocks the other two
	})
	return g.Wait()
}

// replace tells the control plane that another one took over, and ends the session.
func (s *session) replace() {
	time.AfterFunc(replaceGrace, s.cancel)
	s.put(func() { s.replaced = true })
}

// farewell tells the control plane what it has not been told yet, and ends the session.
func (c *control) farewell() {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.put(func() { s.farewell = true })
	limit := time.NewTimer(farewellLimit)
	defer limit.Stop()
	select {
	case <-s.done:
	case <-limit.C:
	}
}

func (s *session) noteDrained(id apron.InstanceID) {
	s.put(func() { s.drained = append(s.drained, id) })
}

// put changes what is to be sent and wakes the sender.
func (s *session) put(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// receive carries out what the control plane sends.
func (s *session) receive() error {
	for {
		m, err := s.frames.receive(silenceLimit)
		if err != nil {
			return err
		}
		switch {
		case m.Table != nil:
			ack := s.installTable(*m.Table)
			s.put(func() { s.acks = append(s.acks, message{Applied: &ack}) })
		case m.Certificates != nil:
			ack := s.installCertificates(*m.Certificates)
			s.put(func() { s.acks = append(s.acks, message{Installed: &ack}) })
		case m.Watch != nil:
			s.routes.drain.watch(m.Watch)
		}
	}
}

// send tells the control plane what it is to know. Load and access records go out at most once per
// loadInterval, and cost nothing while there are none.
func (s *session) send(ctx context.Context) error {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	reporter := loadReporter{routes: s.routes, ends: s.ends}
	pause := time.NewTimer(0) // the first report is due at once
	defer pause.Stop()
	var signal <-chan struct{} // nil during the pause
	s.signal.raise()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
			err = s.sendOutbox(&reporter)
		case <-signal:
			s.signal.lower()
			err = s.sendFigures(&reporter)
			signal = nil
			pause.Reset(loadInterval)
		case <-pause.C:
			signal = s.signal.c
		case <-ping.C:
			err = s.frames.send(message{})
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) sendOutbox(reporter *loadReporter) error {
	s.mu.Lock()
	acks, drained, replaced, farewell := s.acks, s.drained, s.replaced, s.farewell
	s.acks, s.drained = nil, nil
	s.mu.Unlock()
	if replaced {
		return errors.Join(s.frames.send(message{Replaced: true}), errReplaced)
	}
	// What drained is told first: to the control plane it is then from before the acknowledgement,
	// and cannot be taken for an answer about a table published after it.
	if len(drained) > 0 {
		acks = append([]message{{Drained: drained}}, acks...)
	}
	// So are the figures: when a table is acknowledged, what instances that left it have in flight is
	// known, and cannot become more.
	if len(acks) > 0 || farewell {
		if err := s.sendFigures(reporter); err != nil {
			return err
		}
	}
	for _, m := range acks {
		if err := s.frames.send(m); err != nil {
			return err
		}
	}
	if farewell {
		return errFarewell
	}
	return nil
}

func (s *session) sendFigures(reporter *loadReporter) error {
	if load := reporter.report(); load != nil {
		if err := s.frames.send(message{Load: load}); err != nil {
			return err
		}
	}
	for {
		records := s.access.batch()
		if records == nil {
			return nil
		}
		if err := s.frames.send(message{Access: records}); err != nil {
			return err
		}
	}
}

// installTable puts a table in effect and on disk. A disk that cannot be written takes nothing from
// the requests: the table serves, and the next one is written again.
func (c *control) installTable(source apron.RouteTable) applied {
	ack := applied{Version: source.Version}
	if now := c.routes.current.Load().source.Version; source.Version <= now {
		ack.Refused = "an equal or newer table is in effect"
		return ack
	}
	if err := checkTable(source); err != nil {
		ack.Refused = err.Error()
		return ack
	}
	// The elder first: what it has in flight to an instance that leaves is then known here.
	c.elder.publish(source)
	if err := c.routes.install(source); err != nil {
		ack.Refused = err.Error()
		return ack
	}
	if c.retired.Load() {
		return ack
	}
	if err := saveJSON(filepath.Join(c.stateDir, tableFile), source); err != nil {
		c.log.Error("keep route table", "err", err)
	}
	c.noteLife()
	c.log.Debug("route table in effect", "version", source.Version, "routes", len(source.Routes))
	return ack
}

func (c *control) installCertificates(set certificateSet) applied {
	ack := applied{Version: set.Version}
	if err := c.certs.install(set.List); err != nil {
		ack.Refused = err.Error()
		return ack
	}
	if err := saveJSON(filepath.Join(c.stateDir, certificatesFile), set.List); err != nil {
		c.log.Error("keep certificates", "err", err)
	}
	c.log.Info("certificates in effect", "count", len(set.List))
	return ack
}
