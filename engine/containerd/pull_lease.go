package containerd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

const (
	// resumeWindow is how long what a failed pull has brought is kept.
	resumeWindow = 6 * time.Hour
	// cleanupTimeout bounds what is done after the caller has gone.
	cleanupTimeout = 10 * time.Second
	// pullLease begins the ids of leases of pulls.
	pullLease = "apron-pull-"
	// expireLabel tells the collector when to let go of a lease by itself.
	expireLabel = "containerd.io/gc.expire"
)

// leasePull returns a context under which everything that is fetched for an image is kept from the
// collector. The lease has the image's name: a pull that goes on after a crash finds what there is.
// let ends it, which leaves to the collector what no image record names; a failed pull waits for that.
func (s *session) leasePull(ctx context.Context, digest string) (_ context.Context, let func(ctx context.Context, failed bool) error, err error) {
	id := pullLease + strings.ReplaceAll(digest, ":", "-")
	manager := s.client.LeasesService()
	let = func(ctx context.Context, failed bool) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		var opts []leases.DeleteOpt
		if failed {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := manager.Delete(ctx, leases.Lease{ID: id}, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("end lease of pull: %w", err)
		}
		return nil
	}
	found, err := manager.List(ctx, "id=="+id)
	if err != nil {
		return nil, nil, fmt.Errorf("look for lease of pull: %w", err)
	}
	for _, l := range found {
		until, err := time.Parse(time.RFC3339, l.Labels[expireLabel])
		if err == nil && time.Until(until) > pullTimeout+time.Minute {
			return leases.WithLease(ctx, id), let, nil
		}
		if err := let(ctx, true); err != nil { // too old for another pull
			return nil, nil, err
		}
	}
	if _, err := manager.Create(ctx, leases.WithID(id), leases.WithExpiration(resumeWindow)); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, nil, fmt.Errorf("make lease for pull: %w", err)
	}
	return leases.WithLease(ctx, id), let, nil
}

// endLostPull ends the lease of a pull that has succeeded, but whose end the engine did not live to see.
func (s *session) endLostPull(ctx context.Context, digest string) error {
	id := pullLease + strings.ReplaceAll(digest, ":", "-")
	found, err := s.client.LeasesService().List(ctx, "id=="+id)
	if err != nil {
		return fmt.Errorf("look for lease of pull: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	release, err := s.pulls.hold(ctx, digest) // it may be that of another revision's pull
	if err != nil {
		return fmt.Errorf("wait for another pull: %w", err)
	}
	defer release()
	if err := s.client.LeasesService().Delete(ctx, leases.Lease{ID: id}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("end lease of pull: %w", err)
	}
	return nil
}

// turns lets one at a time work on what has a name. The zero value is ready to use, by any number of
// goroutines.
type turns struct {
	mu    sync.Mutex // guards names
	names map[string]*turn
}

type turn struct {
	busy    chan struct{} // capacity 1
	callers int           // who holds or waits; guarded by turns.mu
}

// hold waits for the turn of name, until ctx ends.
func (t *turns) hold(ctx context.Context, name string) (release func(), err error) {
	t.mu.Lock()
	if t.names == nil {
		t.names = map[string]*turn{}
	}
	mine := t.names[name]
	if mine == nil {
		mine = &turn{busy: make(chan struct{}, 1)}
		t.names[name] = mine
	}
	mine.callers++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.callers--; mine.callers == 0 {
			delete(t.names, name)
		}
	}
	select {
	case mine.busy <- struct{}{}:
		return func() { <-mine.busy; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
