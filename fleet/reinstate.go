package fleet

import (
	"context"
	"fmt"
	"time"

	"apron"
)

// reinstateWait is how long Reinstate waits for instances to become ready before it routes to those
// there are.
const reinstateWait = 30 * time.Second

// Reinstate sends the service's requests to a revision that served before and is to serve again,
// because what should have replaced it failed. It returns when the router does so. Unlike Serve it
// does not give up when an instance fails: there is nothing else to go back to, and the engine
// keeps starting it.
func (f *Fleet) Reinstate(ctx context.Context, svc apron.Service, rev apron.Revision) error {
	asc, err := f.cfg.Store.AutoScalingConfiguration(ctx, rev.Config.AutoScaling)
	if err != nil {
		return fmt.Errorf("read auto scaling configuration: %w", err)
	}
	if !f.serves(svc.ID, rev.ID) {
		if err := f.Prepare(ctx, rev); err != nil {
			return fmt.Errorf("prepare revision %s: %w", rev.ID, err)
		}
		if err := f.start(ctx, svc, rev, asc.MinSize); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, reinstateWait)
		err := f.awaitReady(wait, rev, asc.MinSize)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.cfg.Log.Warn("going back to a revision that is not ready", "service", svc.ID, "revision", rev.ID, "err", err)
		}
	}
	options, err := f.options(ctx, svc)
	if err != nil {
		return err
	}
	generation, _ := f.route(svc, rev, options, asc.MaxConcurrency, 0)
	err = f.awaitPublished(ctx, generation)
	f.reserve(ctx, spec(svc, rev))
	return err
}

// serves reports whether the service's requests go to the revision.
func (f *Fleet) serves(id apron.ServiceID, rev apron.RevisionID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.serving[id]
	return s != nil && s.route.Revision == rev
}
