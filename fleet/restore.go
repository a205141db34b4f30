package fleet

import (
	"context"
	"fmt"
	"slices"

	"apron"
	"apron/engine"
)

// Restore brings the fleet back after a restart of the control plane: every service that was
// serving serves again, with the instances that outlived it. Call it once, after Run has started
// and before operations resume. Run then retires revisions nobody wants any more, and brings those
// back whose images the engine has lost.
//
// A service's Active revision has the route. Its Candidate has it only if the router says so: then
// the last control plane ended after it had routed the candidate and before that was recorded, and
// the operation that goes on does the rest.
func (f *Fleet) Restore(ctx context.Context) error {
	services, err := f.cfg.Store.LiveServices(ctx)
	if err != nil {
		return fmt.Errorf("read services: %w", err)
	}
	last, err := f.cfg.Router.Table(ctx)
	if err != nil {
		return fmt.Errorf("read the router's table: %w", err)
	}
	for _, svc := range services {
		if err := f.restoreService(ctx, svc, last); err != nil {
			return fmt.Errorf("restore service %s: %w", svc.ID, err)
		}
	}
	f.mu.Lock()
	f.dirty()
	f.mu.Unlock()
	if err := f.takeStock(ctx, services); err != nil {
		return err
	}
	close(f.restored)
	return nil
}

// takeStock has everything retired that the engine has and nobody wants: what the last control plane had
// begun to retire or did not come to. What a service still has a use for is looked at one by one, and not
// touched while an operation deals with it.
func (f *Fleet) takeStock(ctx context.Context, services []apron.Service) error {
	// Listed first: a revision that appears later is not one that was left behind.
	there, err := f.cfg.Engine.Revisions(ctx)
	if err != nil {
		return fmt.Errorf("list revisions in the engine: %w", err)
	}
	kept, err := f.cfg.Store.KeptRevisions(ctx)
	if err != nil {
		return err
	}
	for _, svc := range services {
		f.Tidy(svc.ID)
		kept = append(kept, svc.Active, svc.Candidate)
		if svc.Status == apron.ServicePaused && slices.Contains(there, svc.Active) {
			f.paused = append(f.paused, svc.Active)
		}
	}
	for _, id := range there {
		if !slices.Contains(kept, id) {
			f.cfg.Log.Info("removing a revision nobody wants", "revision", id)
			f.Discard(id)
		}
	}
	return nil
}

// mend does what Restore found to do but nothing has to wait for.
func (f *Fleet) mend(ctx context.Context) error {
	select {
	case <-f.restored:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, l := range f.lost {
		log := f.cfg.Log.With("service", l.spec.Service, "revision", l.spec.Revision)
		log.Warn("the engine has lost a revision that serves: preparing it again")
		err := f.bringBack(ctx, l)
		if err != nil && ctx.Err() == nil {
			f.giveUp(l.spec.Service, l.spec.Revision)
			log.Error("the service cannot be brought back; deploy it again", "err", err)
		}
	}
	return f.stopPaused(ctx)
}

// bringBack prepares a lost revision again and has it run, unless it has ceased to serve meanwhile: operations
// do not wait for that, and one that came first has not found anything of it to stop.
func (f *Fleet) bringBack(ctx context.Context, l lost) error {
	if err := f.cfg.Engine.Prepare(ctx, l.spec); err != nil {
		return err
	}
	f.mu.Lock()
	if s := f.serving[l.spec.Service]; s == nil || s.route.Revision != l.spec.Revision {
		delete(f.coming, l.spec.Revision)
		f.mu.Unlock()
		f.Tidy(l.spec.Service)
		return nil
	}
	f.mending = l.spec.Revision
	f.mu.Unlock()
	err := f.cfg.Engine.Scale(ctx, l.spec, l.instances)
	f.mu.Lock()
	f.mending = ""
	f.broadcast()
	f.mu.Unlock()
	if err == nil {
		f.reserve(ctx, l.spec)
	}
	return err
}

func (f *Fleet) restoreService(ctx context.Context, svc apron.Service, last apron.RouteTable) error {
	if svc.Status == apron.ServicePaused {
		return nil
	}
	routed := svc.Active
	if svc.Candidate != "" && routes(last, svc.ID, svc.Candidate) {
		routed = svc.Candidate
	}
	if svc.Active != "" {
		if err := f.restoreRevision(ctx, svc, svc.Active, routed, last); err != nil {
			return err
		}
	}
	if routed != svc.Active {
		return f.restoreRevision(ctx, svc, routed, routed, last)
	}
	return nil
}

// restoreRevision routes to the revision if it is the one to route to, and has the engine keep its
// instances.
func (f *Fleet) restoreRevision(
	ctx context.Context, svc apron.Service, id, routed apron.RevisionID, last apron.RouteTable,
) error {
	rev, err := f.cfg.Store.Revision(ctx, id)
	if err != nil {
		return fmt.Errorf("read revision: %w", err)
	}
	asc, err := f.cfg.Store.AutoScalingConfiguration(ctx, rev.Config.AutoScaling)
	if err != nil {
		return fmt.Errorf("read auto scaling configuration: %w", err)
	}
	f.expect(id)
	if id == routed {
		options, err := f.options(ctx, svc)
		if err != nil {
			return err
		}
		f.route(svc, rev, options, asc.MaxConcurrency, 0)
		f.seed(svc.ID, id, last)
	}
	want := spec(svc, rev)
	if err := f.cfg.Engine.Scale(ctx, want, asc.MinSize); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.lost = append(f.lost, lost{spec: want, instances: asc.MinSize})
		return nil
	}
	f.reserve(ctx, want)
	return nil
}

// lost is a revision that should run, of which the engine does not know the image any more.
type lost struct {
	spec      engine.Spec
	instances int
}

// routes reports whether the table sends requests of the service to the revision.
func routes(table apron.RouteTable, id apron.ServiceID, rev apron.RevisionID) bool {
	return slices.ContainsFunc(table.Routes, func(r apron.Route) bool {
		return r.Service == id && r.Revision == rev
	})
}

// seed takes over the backends the router already sends requests to, until the engine says
// otherwise.
func (f *Fleet) seed(id apron.ServiceID, rev apron.RevisionID, last apron.RouteTable) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.serving[id]
	for _, route := range last.Routes {
		if route.Service != id || route.Revision != rev {
			continue
		}
		for _, b := range route.Backends {
			if i, known := f.instances[b.Instance]; !known || i.State == apron.InstanceStarting {
				s.add(b)
			}
		}
	}
	if f.synced {
		f.dropUnknown(s)
	}
}
