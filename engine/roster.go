package engine

import (
	"context"
	"maps"
	"slices"
	"sync"

	"apron"
)

// Roster is the last known state of every instance of a driver, and who wants to hear of changes:
// what a driver needs to implement Engine.Watch. It is safe for concurrent use.
type Roster struct {
	found chan struct{} // closed by Found

	mu       sync.Mutex // guards the fields below; never held while a watcher's func runs
	complete bool       // found has been closed
	last     map[apron.InstanceID]apron.Instance
	watchers map[*watcher]struct{}
}

// watcher is what one caller of Watch has still to be told. Roster.mu guards pending.
type watcher struct {
	pending []apron.Instance
	wake    chan struct{} // capacity 1
}

// NewRoster returns an empty roster. Watch tells nobody anything until Found.
func NewRoster() *Roster {
	return &Roster{
		found: make(chan struct{}),
		last:  map[apron.InstanceID]apron.Instance{}, watchers: map[*watcher]struct{}{},
	}
}

// Found says that every instance that outlived an earlier driver has been set. Further calls do
// nothing.
func (r *Roster) Found() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.complete {
		r.complete = true
		close(r.found)
	}
}

// Known returns a channel that Found closes.
func (r *Roster) Known() <-chan struct{} { return r.found }

// Get returns the last known state of an instance; ok is false for one that is unknown or gone.
func (r *Roster) Get(id apron.InstanceID) (i apron.Instance, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok = r.last[id]
	return i, ok
}

// Set records i and queues it for every watcher. An instance that is gone is forgotten.
func (r *Roster) Set(i apron.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.State == apron.InstanceGone {
		delete(r.last, i.ID)
	} else {
		r.last[i.ID] = i
	}
	for w := range r.watchers {
		w.pending = append(w.pending, i)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Watch does what Engine.Watch says, from the first Found on. synced may be nil.
func (r *Roster) Watch(ctx context.Context, synced func(), fn func(apron.Instance)) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.found:
	}
	w := &watcher{wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.watchers[w] = struct{}{}
	present := slices.Collect(maps.Values(r.last))
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watchers, w)
		r.mu.Unlock()
	}()
	tell(ctx, present, fn)
	if ctx.Err() == nil && synced != nil {
		synced()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		r.mu.Lock()
		next := w.pending
		w.pending = nil
		r.mu.Unlock()
		tell(ctx, next, fn)
	}
}

func tell(ctx context.Context, instances []apron.Instance, fn func(apron.Instance)) {
	for _, i := range instances {
		if ctx.Err() != nil {
			return
		}
		fn(i)
	}
}
