package containerd

import (
	"context"
	"sync"
	"time"
)

// rush counts the instances that are on their way to being ready, so that what can wait lets them pass:
// on a busy machine it would take the processor from them. The zero value is ready to use.
type rush struct {
	mu   sync.Mutex // guards the fields below
	n    int
	over chan struct{} // closed when n has fallen to 0; nil: n never was anything else
}

func (r *rush) enter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		r.over = make(chan struct{})
	}
	r.n++
}

func (r *rush) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 {
		close(r.over)
	}
}

// pass waits until nobody is on the way, but no longer than patience, or until ctx is done.
func (r *rush) pass(ctx context.Context, patience time.Duration) {
	r.mu.Lock()
	n, over := r.n, r.over
	r.mu.Unlock()
	if n == 0 {
		return
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-over:
	case <-late.C:
	case <-ctx.Done():
	}
}

// hurry says that the instance is on its way to being ready; calm that it is so no longer.
func (i *instance) hurry() {
	if i.hurried.CompareAndSwap(false, true) {
		i.s.rush.enter()
	}
}

func (i *instance) calm() {
	if i.hurried.CompareAndSwap(true, false) {
		i.s.rush.leave()
	}
}
