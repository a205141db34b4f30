package fleet

import (
	"context"
	"slices"
	"strings"
	"time"

	"apron"
)

// republishAfter is how long to wait after the router refused a table or could not be reached.
const republishAfter = 200 * time.Millisecond

// publish keeps the router's table equal to the routes, one table at a time, until ctx is done.
func (f *Fleet) publish(ctx context.Context) error {
	select {
	case <-f.restored:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		table, generation, changed := f.table()
		if generation == f.publishedGeneration() {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := f.cfg.Router.Publish(ctx, table)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.cfg.Log.Error("publish routes", "err", err)
			retry := time.NewTimer(republishAfter)
			select {
			case <-retry.C:
			case <-ctx.Done():
				retry.Stop()
			}
			continue
		}
		f.mu.Lock()
		f.published = generation
		f.broadcast()
		f.mu.Unlock()
	}
}

func (f *Fleet) publishedGeneration() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.published
}

// table returns the routes as they are now, ordered so that equal routes make equal tables.
func (f *Fleet) table() (apron.RouteTable, uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	table := apron.RouteTable{Version: f.wanted}
	for _, s := range f.serving {
		route := s.route
		route.Backends = make([]apron.Backend, 0, len(s.order))
		for _, id := range s.order {
			route.Backends = append(route.Backends, s.backends[id])
		}
		table.Routes = append(table.Routes, route)
	}
	slices.SortFunc(table.Routes, func(a, b apron.Route) int {
		return strings.Compare(string(a.Service), string(b.Service))
	})
	return table, f.wanted, f.changed
}

// route makes the revision the one that serves and returns the generation that says so. If it has
// fewer than need ready instances and does not serve yet, nothing happens and ok is false.
//
// A revision that serves already keeps its backends: some may be known from the router alone, while
// the engine is still finding them again.
func (f *Fleet) route(
	svc apron.Service, revision apron.Revision, o options, concurrency, need int,
) (generation uint64, ok bool) {
	rev := revision.ID
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &serving{
		route: apron.Route{
			Hosts: hosts(svc, revision.Config.Network), Service: svc.ID, ServiceName: svc.Name,
			Revision: rev, Concurrency: concurrency, Options: o.route, Starting: f.starting(rev),
		},
		backends: map[apron.InstanceID]apron.Backend{}, prepared: o.prepared,
	}
	if now := f.serving[svc.ID]; now != nil && now.route.Revision == rev {
		if !equalRoutes(now.route, s.route) {
			now.route = s.route
			f.dirty()
		}
		now.prepared = s.prepared
		return f.wanted, true
	}
	for _, i := range f.instances {
		if i.Revision == rev && i.State == apron.InstanceReady {
			s.add(apron.Backend{Instance: i.ID, Addr: i.Addr})
		}
	}
	if len(s.order) < need {
		return 0, false
	}
	slices.Sort(s.order)
	f.serving[svc.ID] = s
	f.dirty()
	return f.wanted, true
}

// hosts returns the names under which the public finds the service. A private one has none (App
// Runner developer guide, "private endpoints").
func hosts(svc apron.Service, network apron.NetworkConfiguration) []string {
	if !network.Public {
		return nil
	}
	return []string{svc.Host}
}

// equalRoutes compares routes without their backends and whether those are being started.
func equalRoutes(a, b apron.Route) bool {
	return slices.Equal(a.Hosts, b.Hosts) && a.Service == b.Service && a.ServiceName == b.ServiceName &&
		a.Revision == b.Revision && a.Concurrency == b.Concurrency && a.Options == b.Options
}

// awaitPublished returns when the router uses the routes of the generation or newer ones.
func (f *Fleet) awaitPublished(ctx context.Context, generation uint64) error {
	return f.await(ctx, func() bool { return f.published >= generation })
}

func (s *serving) add(b apron.Backend) {
	if _, ok := s.backends[b.Instance]; !ok {
		s.order = append(s.order, b.Instance)
	}
	s.backends[b.Instance] = b
}

func (s *serving) drop(id apron.InstanceID) {
	delete(s.backends, id)
	s.order = slices.DeleteFunc(s.order, func(other apron.InstanceID) bool { return other == id })
}
