package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apron"
	"apron/store"
)

// drain waits until the requests the revision's instances still have are answered, but no longer
// than one request may take. No route may name the revision.
func (f *Fleet) drain(ctx context.Context, rev apron.RevisionID) error {
	if err := f.awaitSynced(ctx); err != nil {
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
	defer cancel()
	err = f.cfg.Router.Drained(limited, ids)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("drain revision %s: %w", rev, err)
	}
	if err != nil {
		f.cfg.Log.Warn("requests were still running when their instances were stopped", "revision", rev, "err", err)
	}
	return nil
}

// longestDrain leaves an operation the time for everything else.
const longestDrain = 8 * time.Minute

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
	if err != nil || options.route.RequestTimeout == 0 {
		return f.cfg.DrainTimeout, err
	}
	return min(options.route.RequestTimeout, longestDrain), nil
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
