package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"apron"
	"apron/store"
)

// Park drains the revision's instances as Retire does and stops them, but keeps its image, so that
// Provision starts it again without the registry. It returns when nothing of the service runs any more,
// what an earlier operation has left to be retired included. The revision must not be serving; one the
// engine does not have is parked already.
func (f *Fleet) Park(ctx context.Context, rev apron.Revision) error {
	if err := f.awaitSynced(ctx); err != nil {
		return fmt.Errorf("park revision %s: %w", rev.ID, err)
	}
	others, err := f.tidyService(ctx, rev.Service)
	if err != nil {
		return err
	}
	present, err := f.present(ctx, rev.Service)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(present, func(r apron.Revision) bool { return r.ID == rev.ID }) {
		svc, err := f.cfg.Store.Service(ctx, rev.Service)
		if err != nil {
			return fmt.Errorf("read service of revision %s: %w", rev.ID, err)
		}
		if err := f.shelveSoon(ctx, svc, rev); err != nil {
			return err
		}
	}
	for _, r := range others {
		if r.rev == rev.ID {
			continue
		}
		if err := f.awaitRetired(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// shelveSoon is shelve for those who wait: no request takes longer than LastDrain.
func (f *Fleet) shelveSoon(ctx context.Context, svc apron.Service, rev apron.Revision) error {
	cut := make(chan struct{})
	limit := time.AfterFunc(f.cfg.LastDrain, func() { close(cut) })
	defer limit.Stop()
	return f.shelve(ctx, svc, rev, cut)
}

// shelve drains and stops a revision that the engine has, and keeps its image. cut is drain's.
func (f *Fleet) shelve(ctx context.Context, svc apron.Service, rev apron.Revision, cut <-chan struct{}) error {
	f.reserve(ctx, spec(svc, rev)) // none: it does not serve
	if err := f.drain(ctx, rev.ID, cut); err != nil {
		return err
	}
	if err := f.cfg.Engine.Scale(ctx, spec(svc, rev), 0); err != nil {
		return fmt.Errorf("stop instances: %w", err)
	}
	if err := f.awaitGone(ctx, rev.ID); err != nil {
		return fmt.Errorf("await the end of the instances of revision %s: %w", rev.ID, err)
	}
	return nil
}

// stopPaused stops what runs of services that are paused: the operation could not stop it.
func (f *Fleet) stopPaused(ctx context.Context) error {
	if err := f.awaitSynced(ctx); err != nil {
		return err
	}
	for _, id := range f.paused {
		if len(f.Instances(id)) == 0 {
			continue
		}
		if err := f.stopIdle(ctx, id); err != nil && ctx.Err() == nil {
			f.cfg.Log.Error("stop a revision that does not serve; the next start tries again", "revision", id, "err", err)
		}
	}
	return ctx.Err()
}

// stopIdle shelves a revision unless an operation deals with it. start cannot come in between.
func (f *Fleet) stopIdle(ctx context.Context, id apron.RevisionID) error {
	f.mu.Lock()
	if f.started[id] {
		f.mu.Unlock()
		return nil
	}
	f.stopping = id
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.stopping = ""
		f.broadcast()
		f.mu.Unlock()
	}()
	rev, err := f.cfg.Store.Revision(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	svc, err := f.cfg.Store.Service(ctx, rev.Service)
	if err != nil {
		return err
	}
	if svc.Status != apron.ServicePaused || svc.Active != id {
		return nil
	}
	f.cfg.Log.Info("stopping a revision that does not serve", "service", svc.ID, "revision", id)
	return f.shelveSoon(ctx, svc, rev)
}

// start has the engine keep n instances of the revision.
func (f *Fleet) start(ctx context.Context, svc apron.Service, rev apron.Revision, n int) error {
	err := f.await(ctx, func() bool {
		if f.stopping == rev.ID || f.retiring[rev.ID] != nil {
			return false
		}
		f.started[rev.ID] = true
		return true
	})
	if err != nil {
		return err
	}
	if err := f.cfg.Engine.Scale(ctx, spec(svc, rev), n); err != nil {
		return fmt.Errorf("start instances: %w", err)
	}
	return nil
}
