package fleet

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// options is what the tags of a service ask for that takes effect without a deployment.
type options struct {
	route    apron.RouteOptions // how its requests are treated
	prepared int                // how many instances are made in advance
}

// options returns what the service's tags ask for as they are now.
func (f *Fleet) options(ctx context.Context, svc apron.Service) (options, error) {
	tags, err := f.cfg.Store.Tags(ctx, svc.ARN())
	if err != nil {
		return options{}, err
	}
	e, err := apron.ParseExtensions(tags)
	if err != nil {
		return options{}, fmt.Errorf("tags of service %s: %w", svc.ID, err)
	}
	return options{route: e.Route, prepared: e.Prepared}, nil
}

// Refresh makes a change of the service's tags take effect soon. It does not block.
func (f *Fleet) Refresh(id apron.ServiceID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale[id] = true
	f.broadcast()
}

// refresh follows Refresh until ctx is done.
func (f *Fleet) refresh(ctx context.Context) error {
	for {
		if err := f.await(ctx, func() bool { return len(f.stale) > 0 }); err != nil {
			return err
		}
		f.mu.Lock()
		stale := f.stale
		f.stale = map[apron.ServiceID]bool{}
		f.mu.Unlock()
		for id := range stale {
			err := f.reroute(ctx, id)
			if err != nil && ctx.Err() == nil {
				f.cfg.Log.Error("read the options of a service again", "service", id, "err", err)
			}
		}
	}
}

// reroute gives the service's route, if it has one, and its reserve its options as they are now.
func (f *Fleet) reroute(ctx context.Context, id apron.ServiceID) error {
	svc, err := f.cfg.Store.Service(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := f.options(ctx, svc)
	if err != nil {
		return err
	}
	rev := f.retag(id, now)
	if rev == "" {
		return nil
	}
	revision, err := f.cfg.Store.Revision(ctx, rev)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	f.reserve(ctx, spec(svc, revision))
	return nil
}

// retag takes note of a serving service's options, and returns its revision if the reserve is to follow.
func (f *Fleet) retag(id apron.ServiceID, now options) (reserve apron.RevisionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.serving[id]
	if s == nil {
		return ""
	}
	if s.route.Options != now.route {
		s.route.Options = now.route
		f.dirty()
	}
	if s.prepared == now.prepared {
		return ""
	}
	s.prepared = now.prepared
	return s.route.Revision
}
