package router

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errNoInstance = errors.New("no instance to send the request to")
	errOverloaded = errors.New("every instance is busy")
	// errStarting is an errNoInstance that came after a wait: to look once more would be to wait once more.
	errStarting = fmt.Errorf("%w: the first is being started", errNoInstance)
)

// breakerLimits bounds the requests that wait for a slot.
type breakerLimits struct {
	depth   int           // that wait at a time, per route that does not say
	wait    time.Duration // each, likewise
	request time.Duration // for a request in all, likewise
	changed func()        // called when a slot is taken or freed and when a request begins to wait; must not block
}

// breaker keeps the requests of one route within the limits of its instances: a request gets a
// slot of an instance, or waits its turn, or is refused. It outlives the tables that name it, and
// is where load is counted.
type breaker struct {
	limits  breakerLimits
	set     atomic.Pointer[backendSet] // never nil; replaced by routes.install alone
	waiting atomic.Int64               // length of queue; read without mu
	lent    atomic.Int64               // requests that wait in the router before this one
	refused atomic.Uint64              // requests turned away because every instance was busy

	statuses [6]atomic.Uint64 // requests answered, by the first digit of the status
	took     atomic.Int64     // nanoseconds they took in all

	mu    sync.Mutex // guards queue
	queue list.List  // of *waiter, oldest first
}

// waiter is a request that waits for a slot, or for an instance.
type waiter struct {
	tried []*target
	early bool          // it came while instances were being started; what it has tried may listen after that
	ready chan *backend // gets the slot, or nil when there is no instance left; capacity 1
}

func newBreaker(limits breakerLimits) *breaker {
	b := &breaker{limits: limits}
	b.set.Store(&backendSet{})
	return b
}

// acquire returns an instance with a slot reserved, none of those in tried. While instances are being
// started it waits for one, which may be one that was tried; early says that some were tried then. The
// caller must release it. Errors:
// errNoInstance (errStarting after that wait, or when there is no room for it), errOverloaded (the queue is
// full, or no slot came free in time), ctx's.
func (b *breaker) acquire(ctx context.Context, tried []*target, early bool) (*backend, error) {
	defer b.limits.changed()
	for b.waiting.Load() == 0 { // nobody overtakes those who wait
		set := b.set.Load()
		if early && !set.starting {
			tried, early = nil, false
		}
		if set.exhausted(tried) {
			if early = set.starting; early {
				break
			}
			return nil, errNoInstance
		}
		if t := set.take(tried); t != nil {
			return t, nil
		}
		// Full, unless the set was replaced meanwhile and its instances closed.
		if b.set.Load() == set {
			break
		}
	}
	return b.wait(ctx, tried, early)
}

// try is acquire for a request that need not wait; nil: it has to, or there is no instance.
func (b *breaker) try(tried []*target) *backend {
	if b.waiting.Load() != 0 {
		return nil // nobody overtakes those who wait
	}
	t := b.set.Load().take(tried)
	if t != nil {
		b.limits.changed()
	}
	return t
}

// answered counts a request that is over.
func (b *breaker) answered(status int, took time.Duration) {
	b.statuses[min(status/100, 5)].Add(1)
	b.took.Add(int64(took))
}

// release returns a slot and reports whether its instance is leaving and has now drained.
func (b *breaker) release(t *target) (drained bool) {
	drained = t.give()
	// wait counts its request before it looks for a slot, and this frees the slot before it looks for
	// someone waiting: one of the two sees the other.
	if b.waiting.Load() > 0 {
		b.dispatch()
	}
	b.limits.changed()
	return drained
}

func (b *breaker) wait(ctx context.Context, tried []*target, early bool) (*backend, error) {
	w := &waiter{tried: tried, early: early || b.set.Load().starting, ready: make(chan *backend, 1)}
	at := b.enqueue(w)
	if at == nil {
		return nil, b.refuse(w)
	}
	b.limits.changed()
	b.dispatch()
	timer := time.NewTimer(b.set.Load().wait)
	defer timer.Stop()
	var err error
	select {
	case t := <-w.ready:
		return given(t)
	case <-timer.C:
		err = errOverloaded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if !b.dequeue(at) {
		return given(<-w.ready) // its turn came at the same moment
	}
	if errors.Is(err, errOverloaded) {
		err = b.refuse(w)
	}
	return nil, err
}

// refuse says why a request that has waited long enough, or may not wait, gets no slot: all instances are
// busy, which is counted, or there was none.
func (b *breaker) refuse(w *waiter) error {
	if b.set.Load().exhausted(w.tried) {
		return errStarting
	}
	b.refused.Add(1)
	return errOverloaded
}

func given(t *backend) (*backend, error) {
	if t == nil {
		return nil, errNoInstance
	}
	return t, nil
}

// enqueue puts w at the end of the queue, or returns nil when the queue is full.
func (b *breaker) enqueue(w *waiter) *list.Element {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue.Len() >= b.set.Load().depth {
		return nil
	}
	b.waiting.Add(1)
	return b.queue.PushBack(w)
}

// dequeue takes a waiter out of the queue and reports whether it was still there.
func (b *breaker) dequeue(at *list.Element) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.remove(at)
}

func (b *breaker) remove(at *list.Element) bool {
	if at.Value == nil {
		return false
	}
	b.queue.Remove(at)
	at.Value = nil
	b.waiting.Add(-1)
	return true
}

// dispatch gives free slots to those who wait, oldest first.
func (b *breaker) dispatch() {
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	set := b.set.Load()
	for at := b.queue.Front(); at != nil; {
		next := at.Next()
		w := at.Value.(*waiter)
		if w.early && !set.starting {
			w.early, w.tried = false, nil
		}
		switch t := set.take(w.tried); {
		case t != nil:
			b.remove(at)
			w.ready <- t
		case set.exhausted(w.tried) && set.starting: // until there is another set
		case set.exhausted(w.tried):
			b.remove(at)
			w.ready <- nil
		case len(w.tried) == 0:
			return // full, then also for everyone behind
		}
		at = next
	}
}
