package router

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// watch ends what takes too long. Deadlines of the runtime cost more than anything else the relay
// does for a small request, and hardly one of them ever passes; so a connection only notes by when
// it must have moved on, and one goroutine looks at all of them now and then. It also notices users
// who leave while the relay waits for an instance.
type watch struct {
	tick   time.Duration
	base   time.Time    // what times count from
	coarse atomic.Int64 // now, at most a tick ago
	shards [watchShards]watchShard
	next   atomic.Uint32 // shard for the next connection
	some   atomic.Uint32 // shard for the next eachOfSome
	open   atomic.Int64  // connections in all
	wake   chan struct{} // capacity 1: the first connection is there
	sweep  func()        // called at each second or so
}

const (
	watchShards = 16
	// goneAfter is how long the relay waits for one thing before the watch looks whether the user is
	// still there.
	goneAfter = 250 * time.Millisecond
)

type watchShard struct {
	mu    sync.Mutex  // guards conns and their slot; held while one of them is poked
	conns []*userConn //
	_     [32]byte    // keeps shards off each other's cache lines
}

// phase is what a connection does. It is kept in the low bits of userConn.state; the rest of it is
// the time by which the phase must be over.
type phase int64

const (
	phaseIdle     phase = iota // between requests
	phaseHead                  // a header section has begun to arrive
	phaseExchange              // waits for an instance
	phaseSend                  // something is being sent to the user, or received
	phaseTunnel                // an upgraded connection
	// The watch, and nobody else, moves a connection to one of these. It stays there.
	phaseLate  // its time is over
	phaseGone  // the user left
	phaseDrain // it was idle, and the router ends

	phaseBits = 7
)

func newWatch(tick time.Duration, sweep func()) *watch {
	return &watch{tick: tick, base: time.Now(), wake: make(chan struct{}, 1), sweep: sweep}
}

// now returns nanoseconds since base.
func (w *watch) now() int64 { return int64(time.Since(w.base)) }

// soon returns what now returned at most a tick ago, at less cost.
func (w *watch) soon() int64 { return w.coarse.Load() }

// add begins to watch c.
func (w *watch) add(c *userConn) {
	if w.open.Add(1) == 1 {
		w.coarse.Store(w.now())
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	c.shard = &w.shards[w.next.Add(1)%watchShards]
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	c.slot = len(c.shard.conns)
	c.shard.conns = append(c.shard.conns, c)
}

// remove ends watching c. After it c is not poked any more.
func (w *watch) remove(c *userConn) {
	s := c.shard
	s.mu.Lock()
	last := len(s.conns) - 1
	s.conns[c.slot] = s.conns[last]
	s.conns[c.slot].slot = c.slot
	s.conns[last] = nil
	s.conns = s.conns[:last]
	s.mu.Unlock()
	w.open.Add(-1)
}

// run looks at the connections until ctx is done. While there are none it sleeps.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(w.tick)
	defer tick.Stop()
	swept := w.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := w.now()
		w.coarse.Store(now)
		w.look(now)
		if now-swept >= int64(sweepInterval) {
			swept = now
			w.sweep()
		}
		if w.open.Load() > 0 {
			continue
		}
		tick.Stop()
		w.sweep()
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			w.coarse.Store(w.now())
			tick.Reset(w.tick)
		}
	}
}

// sweepInterval is how often idle connections to instances are looked at.
const sweepInterval = 500 * time.Millisecond

func (w *watch) look(now int64) {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for _, c := range s.conns {
			c.inspect(now)
		}
		s.mu.Unlock()
	}
}

// each calls fn for every connection, none of which ends meanwhile.
func (w *watch) each(fn func(*userConn)) {
	for i := range w.shards {
		w.shards[i].each(fn)
	}
}

// eachOfSome is each for one connection in watchShards, other ones at each call.
func (w *watch) eachOfSome(fn func(*userConn)) {
	w.shards[w.some.Add(1)%watchShards].each(fn)
}

func (s *watchShard) each(fn func(*userConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		fn(c)
	}
}

// enter begins a phase that must be over by until, and reports whether the connection may go on: if
// not, the watch has ended it.
func (c *userConn) enter(p phase, until int64) bool {
	old := c.state.Swap(until&^phaseBits | int64(p))
	if phase(old&phaseBits) < phaseLate {
		return true
	}
	c.state.Store(old)
	c.poked()
	return false
}

// fate returns the phase in which the watch ended the connection, or 0 if it has not.
func (c *userConn) fate() phase {
	if p := phase(c.state.Load() & phaseBits); p >= phaseLate {
		c.poked()
		return p
	}
	return 0
}

// poked returns once the watch is done with the connection it has ended.
func (c *userConn) poked() {
	c.shard.mu.Lock()
	//nolint:staticcheck // an empty critical section: whoever held the lock has let go
	c.shard.mu.Unlock()
}

// inspect is called by the watch, with the shard locked.
func (c *userConn) inspect(now int64) {
	state := c.state.Load()
	p := phase(state & phaseBits)
	if p >= phaseLate {
		return
	}
	by := c.uploadBy.Load()
	if until := state &^ phaseBits; until < now || by != 0 && by < now {
		c.end(state, phaseLate)
		return
	}
	if p != phaseExchange && p != phaseIdle {
		c.lookAgain = 0
		return
	}
	// Something new began, or has not yet taken long.
	if state != c.lookedAt {
		c.lookedAt, c.lookAgain, c.lookPause = state, now+int64(goneAfter), int64(goneAfter)
		return
	}
	if now < c.lookAgain {
		return
	}
	c.lookPause = min(2*c.lookPause, int64(2*time.Second))
	c.lookAgain = now + c.lookPause
	if c.hungUp() {
		c.end(state, phaseGone)
	}
}

// end moves the connection from state to its fate, and wakes whoever waits for it. The caller holds
// the shard's lock.
func (c *userConn) end(state int64, fate phase) {
	if !c.state.CompareAndSwap(state, int64(fate)) {
		return // it moved on
	}
	past := time.Unix(1, 0)
	// Errors say that the connection is closed already.
	_ = c.tcp.SetDeadline(past)
	if in := c.instance.Load(); in != nil {
		_ = in.tcp.SetDeadline(past)
	}
	if give := c.giveUp.Load(); give != nil {
		(*give)()
	}
}

// hungUp reports whether the user has closed its end. What it had sent may still be unread.
func (c *userConn) hungUp() bool {
	gone := false
	err := c.raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(poll, 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}
