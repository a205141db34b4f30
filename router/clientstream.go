package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
)

// Waiting times between attempts to connect: the router is a process on the same machine.
const (
	dialTimeout = time.Second
	minRetry    = 20 * time.Millisecond
	maxRetry    = time.Second
)

// clientStream is one connection to the router.
type clientStream struct {
	*Client
	frames frames
	number uint64 // counts the client's streams, from 1

	// The fields below are guarded by Client.mu.
	tableSent uint64 // wish of the table sent last on this stream; 0: none
	certsSent uint64
	onTheWay  []sentTable // not acknowledged yet, oldest first
}

type sentTable struct{ version, wish uint64 }

// Run keeps the stream to the router up, connecting again whenever it is lost, until ctx is done or
// another control plane takes over (ErrReplaced). After each connect it sends the last table and
// certificates again. It returns nil when ctx is done, and ErrProtocol when the router is of a
// release it cannot work with. It must be called once.
func (c *Client) Run(ctx context.Context) error {
	retry := minRetry
	lost := false // said so in the log
	for number := uint64(1); ; number++ {
		started := time.Now()
		err := c.connect(ctx, number)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if errors.Is(err, ErrReplaced) || errors.Is(err, ErrProtocol) {
			return err
		}
		if up := time.Since(started) > maxRetry; up || !lost {
			c.cfg.Log.Warn("no stream to the router", "err", err)
			lost, retry = true, minRetry
		}
		select {
		case <-time.After(retry/2 + rand.N(retry)): //nolint:gosec // spread, so that several do not move in step: nothing secret about it
		case <-ctx.Done():
			return nil
		}
		retry = min(2*retry, maxRetry)
	}
}

// connect reaches the router and uses the stream until it ends.
func (c *Client) connect(ctx context.Context, number uint64) error {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "unix", c.cfg.Socket)
	if err != nil {
		return fmt.Errorf("connect to the router: %w", err)
	}
	return c.use(ctx, conn, number)
}

// use makes conn a stream and returns when it has ended.
func (c *Client) use(ctx context.Context, conn net.Conn, number uint64) error {
	s := &clientStream{Client: c, frames: frames{conn: conn}, number: number}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return conn.Close() // unblocks what reads and writes
	})
	g.Go(func() error {
		if err := s.greet(); err != nil {
			return err
		}
		g.Go(s.receive)
		err := s.send(ctx)
		// What the router said before it closed the stream is worth more than that it did.
		select {
		case <-ctx.Done():
		case <-time.After(replaceGrace):
		}
		return err
	})
	return g.Wait()
}

// greet exchanges hellos and learns the router's addresses and its table.
func (s *clientStream) greet() error {
	if err := s.frames.sendHello(hello{}); err != nil {
		return err
	}
	h, err := s.frames.receiveHello()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.addresses = &h.Addresses
	s.found = h.Table
	s.version = max(s.version, h.Table.Version)
	s.tell()
	s.mu.Unlock()
	s.cfg.Log.Info("stream to the router is up", "version", h.Table.Version)
	return nil
}

// send brings the router to what is desired, after each change of it.
func (s *clientStream) send(ctx context.Context) error {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		messages, changed := s.next()
		for _, m := range messages {
			if err := s.frames.send(m); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ping.C:
			if err := s.frames.send(message{}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next returns what this stream has not carried yet, and what tells of the next change.
func (s *clientStream) next() ([]message, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []message
	if s.certs.wish > s.certsSent {
		s.certsSent = s.certs.wish
		out = append(out, message{Certificates: &certificateSet{Version: s.certs.wish, List: s.certs.value}})
	}
	if s.table.wish > s.tableSent {
		s.tableSent = s.table.wish
		s.version++
		table := s.table.value
		table.Version = s.version
		s.onTheWay = append(s.onTheWay, sentTable{version: s.version, wish: s.table.wish})
		out = append(out, message{Table: &table})
	}
	var watch []apron.InstanceID
	for id, w := range s.watched {
		if w.stream < s.number {
			w.stream = s.number
			watch = append(watch, id)
		}
	}
	if watch != nil {
		out = append(out, message{Watch: watch})
	}
	return out, s.changed
}

// receive takes in what the router sends.
func (s *clientStream) receive() error {
	for {
		m, err := s.frames.receive(silenceLimit)
		if err != nil {
			return err
		}
		switch {
		case m.Applied != nil:
			s.tableAnswered(*m.Applied)
		case m.Installed != nil:
			s.certificatesAnswered(*m.Installed)
		case m.Drained != nil:
			s.haveDrained(m.Drained)
		case m.Load != nil && s.cfg.OnLoad != nil:
			s.cfg.OnLoad(*m.Load)
		case m.Access != nil && s.cfg.OnAccess != nil:
			s.cfg.OnAccess(m.Access.Records, m.Access.Dropped)
		case m.Replaced:
			return ErrReplaced
		}
	}
}

func (s *clientStream) tableAnswered(a applied) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.onTheWay) > 0 && s.onTheWay[0].version <= a.Version {
		s.table.answer(s.onTheWay[0].wish, a.Refused)
		s.onTheWay = s.onTheWay[1:]
	}
	s.tell()
}

func (s *clientStream) certificatesAnswered(a applied) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certs.answer(a.Version, a.Refused)
	s.tell()
}

func (d *desired[T]) answer(wish uint64, refused string) {
	if wish < d.done {
		return
	}
	d.done, d.err = wish, nil
	if refused != "" {
		d.err = errors.New("the router refused it: " + refused)
	}
}

func (s *clientStream) haveDrained(ids []apron.InstanceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if w := s.watched[id]; w != nil {
			delete(s.watched, id)
			close(w.drained)
		}
	}
}
