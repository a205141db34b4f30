package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"apron/engine"
)

var _ engine.Reserver = (*Driver)(nil)

// reserve is what an instance has that is made in advance.
type reserve struct {
	once    sync.Once
	claimed chan struct{} // closed by claim
	ready   atomic.Bool   // it only has to be started
}

func (r *reserve) claim() { r.once.Do(func() { close(r.claimed) }) }

// taken reports whether it has been claimed.
func (r *reserve) taken() bool {
	select {
	case <-r.claimed:
		return true
	default:
		return false
	}
}

// Reserve implements engine.Reserver.
func (d *Driver) Reserve(ctx context.Context, spec engine.Spec, n int) error {
	if n < 0 {
		return fmt.Errorf("reserve %d instances of revision %s: a count is never negative", n, spec.Revision)
	}
	s, err := d.await(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.revisions[spec.Revision]
	if !ok || !r.prepared {
		return fmt.Errorf("reserve instances of revision %s: it has not been prepared", spec.Revision)
	}
	if d.ended {
		return errors.New("the engine driver has been stopped")
	}
	r.spec, r.reserve = spec, n
	d.stock(s, r)
	return nil
}

// stock makes as many instances in advance as are wanted, or lets surplus ones go; mu is held.
func (d *Driver) stock(s *session, r *revision) {
	live := slices.DeleteFunc(slices.Clone(r.reserved), (*instance).stopping)
	for range r.reserve - len(live) {
		i := newInstance(s, r.spec)
		i.reserve = &reserve{claimed: make(chan struct{})}
		r.reserved = append(r.reserved, i)
		d.look(r, i)
	}
	for _, i := range live[min(r.reserve, len(live)):] {
		i.stop()
	}
}

// claim takes an instance that is ready to be started out of the reserve; nil: there is none. mu is
// held.
func (r *revision) claim() *instance {
	for at, i := range r.reserved {
		if i.reserve.ready.Load() && !i.stopping() {
			r.reserved = slices.Delete(r.reserved, at, at+1)
			i.reserve.claim()
			return i
		}
	}
	return nil
}

// waitInReserve makes everything of the instance but its start, and returns true when somebody claims
// it, or false when ctx is done.
func (i *instance) waitInReserve(ctx context.Context) bool {
	var wait backOff
	for {
		err := i.tryReserve(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		i.log.Warn("instance could not be prepared", "err", err)
		if pause(ctx, wait.next()) != nil {
			return false
		}
	}
	i.reserve.ready.Store(true)
	select {
	case <-i.reserve.claimed:
		return true
	case <-ctx.Done():
		return false
	}
}

func (i *instance) tryReserve(ctx context.Context) error {
	release, err := i.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), makePatience)
	defer cancel()
	if err := i.arrange(ctx); err != nil {
		return err
	}
	return i.makeTask(ctx)
}
