package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"apron"
	"apron/store"
)

// drain waits until the requests the revision's instances still have are answered, but no longer
// than one request may take, nor, once cut is closed, any longer at all. No route may name the revision, and
// nobody starts instances of it any more when drain returns.
func (f *Fleet) drain(ctx context.Context, rev apron.RevisionID, cut <-chan struct{}) error {
	if err := f.await(ctx, func() bool { return f.synced && f.mending != rev }); err != nil {
		return fmt.Errorf("drain revision %s: %w", rev, err)
	}
	var ids []apron.InstanceID
	for _, i := range f.Instances(rev) {
		ids = append(ids, i.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	limit, err := f.drainLimit(ctx, rev)
	if err != nil {
		return fmt.Errorf("drain revision %s: %w", rev, err)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	var cutting sync.WaitGroup
	defer cutting.Wait()
	defer cancel()
	cutting.Go(func() {
		select {
		case <-cut:
			cancel()
		case <-limited.Done():
		}
	})
	err = f.drained(limited, ids)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("drain revision %s: %w", rev, err)
	}
	if err != nil {
		f.cfg.Log.Warn("requests were still running when their instances were stopped", "revision", rev, "err", err)
	}
	return nil
}

// drained returns when none of the instances has a request in flight. A router that outlived the last
// control plane may not know yet that none are sent there.
func (f *Fleet) drained(ctx context.Context, ids []apron.InstanceID) error {
	f.mu.Lock()
	generation := f.wanted
	f.mu.Unlock()
	if err := f.awaitPublished(ctx, generation); err != nil {
		return err
	}
	return f.cfg.Router.Drained(ctx, ids)
}

// drainLimit is how long a request to the revision's instances may still take: the service's own limit,
// if it has one, else the drain timeout.
func (f *Fleet) drainLimit(ctx context.Context, id apron.RevisionID) (time.Duration, error) {
	rev, err := f.cfg.Store.Revision(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return f.cfg.DrainTimeout, nil
	}
	if err != nil {
		return 0, err
	}
	svc, err := f.cfg.Store.Service(ctx, rev.Service)
	if err != nil {
		return 0, err
	}
	options, err := f.options(ctx, svc)
	return cmp.Or(options.route.RequestTimeout, f.cfg.DrainTimeout), err
}

// awaitSynced returns when the engine has reported every instance there was. Before that, an
// instance with requests in flight may not be known here.
func (f *Fleet) awaitSynced(ctx context.Context) error {
	return f.await(ctx, func() bool { return f.synced })
}

// awaitGone returns when nothing of the revision runs any more.
func (f *Fleet) awaitGone(ctx context.Context, rev apron.RevisionID) error {
	return f.await(ctx, func() bool {
		for _, i := range f.instances {
			if i.Revision == rev {
				return false
			}
		}
		return true
	})
}

// await returns when done does, which is called with mu held after each change, or with ctx's error.
func (f *Fleet) await(ctx context.Context, done func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := done(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
