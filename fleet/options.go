package fleet

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// options returns how the requests of the service are to be treated, by its tags as they are now:
// unlike what concerns instances, a change of those takes effect without a deployment.
func (f *Fleet) options(ctx context.Context, svc apron.Service) (apron.RouteOptions, error) {
	tags, err := f.cfg.Store.Tags(ctx, svc.ARN())
	if err != nil {
		return apron.RouteOptions{}, err
	}
	e, err := apron.ParseExtensions(tags)
	if err != nil {
		return apron.RouteOptions{}, fmt.Errorf("tags of service %s: %w", svc.ID, err)
	}
	return e.Route, nil
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

// reroute gives the service's route, if it has one, its options as they are now.
func (f *Fleet) reroute(ctx context.Context, id apron.ServiceID) error {
	svc, err := f.cfg.Store.Service(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	options, err := f.options(ctx, svc)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.serving[id]; s != nil && s.route.Options != options {
		s.route.Options = options
		f.dirty()
	}
	return nil
}
