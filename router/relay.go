package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// relay answers the users' requests: those in HTTP/1 itself, and others by way of the standard
// library. It is what all connections have in common.
type relay struct {
	cfg      Config
	routes   *routes
	access   *accessLog
	ends     *ends
	watch    *watch
	standard *standard
	proxy    *proxy

	works   sync.Pool // of *work
	buffers sync.Pool // of *[]byte, for bodies
	closing atomic.Bool
	tunnels atomic.Int64   // upgraded connections now
	conns   sync.WaitGroup // that userConn serves
	users   userConns
	room    *room
}

// relayBufferBytes is what is read at a time of a body that does not fit the smaller buffers.
const relayBufferBytes = 64 << 10

func newRelay(cfg Config, p *proxy) *relay {
	r := &relay{cfg: cfg, routes: p.routes, access: p.access, ends: p.ends, proxy: p}
	r.works.New = newWork
	r.buffers.New = func() any { b := make([]byte, relayBufferBytes); return &b }
	tick := max(min(cfg.RequestLimit/8, 100*time.Millisecond), 5*time.Millisecond)
	r.watch = newWatch(tick, r.sweep)
	r.room = newRoom()
	r.users.most = min(cfg.ClientConns, int(r.room.most-r.room.most/8)) // nobody may take all of it
	return r
}

// sweep closes connections to instances that were not used for a while.
func (r *relay) sweep() {
	since := r.watch.now() - int64(idleUpstream)
	r.routes.drain.each(func(t *target) { t.idle.expire(since) })
}

// clock returns the time for a Date field.
func (r *relay) clock() time.Time { return time.Now() }

// accept serves the connections of a listener until it is closed, for which ctx is done. Where there
// is no room for another one, idle ones make it; those that come meanwhile wait in the kernel's queue.
func (r *relay) accept(ctx context.Context, ln net.Listener, config *tls.Config) error {
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return fmt.Errorf("address of listener: %w", err)
	}
	var refused error // why the last one was not accepted
	for {
		if !r.room.has() {
			r.makeRoom()
			if !r.room.await(ctx, true) {
				return nil
			}
			continue
		}
		conn, err := ln.Accept()
		switch {
		case err == nil:
			refused = nil
			r.room.enter()
			r.start(conn.(*net.TCPConn), config, port)
		case errors.Is(err, net.ErrClosed):
			return nil
		default: // out of file descriptors or memory, say: that must not end the router
			if refused == nil {
				r.cfg.Log.Error("accept", "err", err)
			}
			refused = err
			r.makeRoom()
			if !r.room.await(ctx, false) {
				return nil
			}
		}
	}
}

// start serves one connection.
func (r *relay) start(tcp *net.TCPConn, config *tls.Config, port string) {
	peer, ok := tcp.RemoteAddr().(*net.TCPAddr)
	raw, err := tcp.SyscallConn()
	if !ok || err != nil || !r.users.enter(peer.AddrPort().Addr()) {
		_ = tcp.Close() // unused
		r.room.leave()
		return
	}
	c := &userConn{
		relay: r, conn: tcp, tcp: tcp, raw: raw, secure: config != nil,
		client: peer.AddrPort().Addr().Unmap().WithZone("").String(), port: port,
	}
	if config != nil {
		c.conn = tls.Server(tcp, config)
	}
	c.forwarded = string(appendConnection(nil, c.client, port, c.secure))
	c.step = c.onReadable
	c.state.Store(1<<62 | int64(phaseIdle))
	r.watch.add(c)
	r.conns.Add(1)
	if r.cfg.standardOnly {
		go func() {
			defer c.close()
			c.handOver(nil)
		}()
		return
	}
	go c.serve()
}

// closed is called when userConn is done with a connection.
func (r *relay) closed(c *userConn) {
	if c.shard != nil {
		r.left(c.tcp.RemoteAddr())
	}
	r.conns.Done()
}

// left is called when a connection is closed.
func (r *relay) left(remote net.Addr) {
	r.users.leave(remote)
	r.room.leave()
}

// lameIdle is how long a connection may be idle once another router has taken over. Its next request
// would be answered, and be its last; to close it at once would be to lose one that is on its way.
const lameIdle = 5 * time.Second

// shut ends the relay: once ctx is done idle connections end at once, before that when they have been
// idle for lameIdle; others end after their request, and all of them when limit has passed. When it
// returns none is left.
func (r *relay) shut(ctx context.Context, limit time.Duration) {
	r.closing.Store(true)
	ended := make(chan struct{})
	go func() {
		r.conns.Wait()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	idle := time.NewTimer(lameIdle)
	defer idle.Stop()
	// A connection may have been between a request and its idleness when it was looked at.
	again := time.NewTicker(r.watch.tick)
	defer again.Stop()
	done := ctx.Done()
	for lame, cut := true, false; ; {
		select {
		case <-ended:
			return
		case <-timer.C:
			cut = true
		case <-done:
			lame, done = false, nil
		case <-idle.C:
			lame = false
		case <-again.C:
		}
		if !lame || cut {
			r.watch.each(endIfIdle)
		}
		if cut || ctx.Err() != nil && r.onlyTunnels() {
			r.watch.each(func(c *userConn) { c.end(c.state.Load(), phaseGone) })
		}
	}
}

// makeRoom ends some of the connections that have been idle for a moment. One that has not sent a
// request yet is about to.
func (r *relay) makeRoom() {
	since := r.watch.now() - int64(roomIdle)
	r.watch.eachOfSome(func(c *userConn) {
		if until := c.state.Load() &^ phaseBits; c.served.Load() && until-int64(r.cfg.IdleLimit) < since {
			endIfIdle(c)
		}
	})
}

// endIfIdle ends a connection between two requests.
func endIfIdle(c *userConn) {
	if s := c.state.Load(); phase(s&phaseBits) == phaseIdle {
		c.end(s, phaseDrain)
	}
}

// onlyTunnels reports whether nothing but upgraded connections is left: they do not end by themselves.
func (r *relay) onlyTunnels() bool {
	only := true
	r.watch.each(func(c *userConn) { only = only && phase(c.state.Load()&phaseBits) == phaseTunnel })
	return only && r.standard.idle()
}

// userConns counts the connections of each user.
type userConns struct {
	most int
	mu   sync.Mutex // guards open
	open map[netip.Addr]int
}

// network returns what stands for the user of an address: in IPv6 everyone has many.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// enter counts a connection and reports whether it is not one too many.
func (u *userConns) enter(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	a = network(a)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open[a] >= u.most {
		return false
	}
	if u.open == nil {
		u.open = map[netip.Addr]int{}
	}
	u.open[a]++
	return true
}

// leave takes a connection back that enter counted.
func (u *userConns) leave(remote net.Addr) {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok || tcp.AddrPort().Addr().IsLoopback() {
		return
	}
	a := network(tcp.AddrPort().Addr())
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open[a]--; u.open[a] <= 0 {
		delete(u.open, a)
	}
}

// record counts the exchange and, for a route with an access log, tells the control plane.
func (c *userConn) record() {
	x, w := &c.ride, c.work
	if x.breaker == nil {
		return
	}
	if x.standard {
		return // counted there
	}
	took := time.Duration(c.relay.watch.now() - x.start)
	x.breaker.answered(x.status, took)
	if !x.set.options.AccessLog {
		return
	}
	a := Access{
		Time: c.relay.watch.base.Add(time.Duration(x.start)), Service: x.set.service, Revision: x.set.revision,
		Method: clip(string(w.req.method), 32), Host: clip(string(w.req.host), 255), Status: x.status, Duration: took,
		Upstream: time.Duration(x.upstream), Bytes: x.bytes, Client: c.client,
		Target: clip(string(w.req.target), maxLogged), Protocol: "HTTP/1." + strconv.Itoa(int(w.req.minor)),
		RequestID: string(c.requestID[:min(len(c.requestID), maxLogged)]),
	}
	if x.backend != nil {
		a.Instance = x.backend.id
	}
	for i := range w.req.fields {
		switch f := &w.req.fields[i]; f.kind {
		case userAgentField:
			a.UserAgent = clip(string(f.value), maxLogged)
		case refererField:
			a.Referer = clip(string(f.value), maxLogged)
		default:
		}
	}
	c.relay.access.add(a)
}

// maxLogged is how many bytes of what a user sent are kept in a record, each.
const maxLogged = 2048
