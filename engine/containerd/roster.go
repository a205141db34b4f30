package containerd

import (
	"context"
	"maps"
	"slices"
	"sync"

	"apron"
)

// roster is the last known state of every instance, and who wants to hear of changes. Safe for
// concurrent use.
type roster struct {
	contact chan struct{} // closed once what outlived an earlier driver has been found

	mu       sync.Mutex // guards the fields below; never held while a watcher's function runs
	last     map[apron.InstanceID]apron.Instance
	watchers map[*watcher]struct{}
}

// watcher is what one caller of watch has still to be told. roster.mu guards pending.
type watcher struct {
	pending []apron.Instance
	wake    chan struct{} // capacity 1
}

func newRoster() *roster {
	return &roster{
		contact: make(chan struct{}), last: map[apron.InstanceID]apron.Instance{}, watchers: map[*watcher]struct{}{},
	}
}

func (r *roster) get(id apron.InstanceID) (apron.Instance, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.last[id]
	return i, ok
}

// set records i and queues it for every watcher. An instance that is gone is forgotten.
func (r *roster) set(i apron.Instance) {
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

// watch implements Watch of engine.Engine.
func (r *roster) watch(ctx context.Context, synced func(), fn func(apron.Instance)) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.contact:
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
