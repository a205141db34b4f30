package containerd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"apron/engine"
)

var _ engine.Reserver = (*Driver)(nil)

// reservePatience is how long what is made in advance waits for instances on their way to being ready.
const reservePatience = time.Second

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
	err := d.want(ctx, spec, n, func(s *session, r *revision) {
		r.reserve = n
		d.stock(s, r)
	})
	if err != nil {
		return fmt.Errorf("reserve %d instances of revision %s: %w", n, spec.Revision, err)
	}
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

// claim takes an instance that is ready to be started out of the reserve, which then is one of the
// revision's; nil: there is none. wait is how long its process is to be waited for should it fail. mu is
// held.
func (r *revision) claim(wait backOff) *instance {
	for at, i := range r.reserved {
		if i.reserve.ready.Load() && !i.stopping() {
			r.reserved = slices.Delete(r.reserved, at, at+1)
			r.instances = append(r.instances, i)
			i.wait = wait
			i.hurry() // at once: others are about to be made in its place
			i.reserve.claim()
			return i
		}
	}
	return nil
}

// succeed puts an instance of the reserve in the place of i, which has failed and is removed, and
// reports whether there was one. An instance that is not among those asked for has no successor.
func (d *Driver) succeed(r *revision, i *instance) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || i.stopping() || !slices.Contains(r.instances, i) {
		return false
	}
	next := r.claim(i.wait)
	if next == nil {
		return false
	}
	i.log.Info("instance is replaced by one made in advance", "successor", next.id)
	i.stop()
	d.stock(d.session, r)
	return true
}

// waitInReserve makes everything of the instance but its start, and returns true when somebody claims
// it, or false when ctx is done.
func (i *instance) waitInReserve(ctx context.Context) bool {
	var wait backOff
	i.s.rush.pass(ctx, reservePatience)
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
