// Package fleet decides which revisions run and how many instances each has, follows the engine's
// instances, and publishes the route table.
//
// It sits between package deploy, whose steps ask for a revision to be prepared, provisioned, put
// in service and retired, and the two things that do the work: an engine.Engine and the router.
// All that must survive a crash is in the store; a Fleet is rebuilt from it by Restore.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
	"apron/engine"
	"apron/logs"
	"apron/store"
)

// Router is what a Fleet needs of the data plane. router.Client is the real one.
type Router interface {
	// Publish returns when the router has put the table into use.
	Publish(ctx context.Context, table apron.RouteTable) error
	// Drained returns when none of the instances, which no published table names any more, has a
	// request in flight.
	Drained(ctx context.Context, instances []apron.InstanceID) error
	// Table returns the table the router uses now, also one of an earlier control plane.
	Table(ctx context.Context) (apron.RouteTable, error)
}

// Config is what a Fleet needs. Every member is required unless it says otherwise.
type Config struct {
	Store  *store.Store
	Engine engine.Engine
	Router Router
	Log    *slog.Logger
	// Logs is where a service's events are told. nil: nowhere.
	Logs *logs.Store
	// StartWindow is how long a candidate instance that runs may take to become healthy before its
	// deployment fails. 0: five minutes (App Runner release notes, 2023-12-07).
	StartWindow time.Duration
	// DrainTimeout is how long a retired instance may take to finish its requests. 0: 120 seconds,
	// App Runner's limit for one request.
	DrainTimeout time.Duration
	// LastDrain is how long an operation that ends when nothing runs any more waits for requests, however
	// long they may take. 0: 8 minutes.
	LastDrain time.Duration
	// Revisions is how many revisions of each service that have served are kept with their images, the
	// one that serves included, so that they can be gone back to. 0: 20.
	Revisions int
}

// Fleet is the set of running instances and who is sent to them. It is safe for concurrent use.
type Fleet struct {
	cfg      Config
	restored chan struct{} // closed by Restore
	// The two below are written by Restore before it closes restored, and read by mend after.
	paused []apron.RevisionID // revisions in the engine that paused services keep
	lost   []lost             // revisions the engine could not be asked to run

	// mu guards the fields below. It is never held while calling the engine or the router.
	mu        sync.Mutex
	instances map[apron.InstanceID]apron.Instance // as last reported by the engine; absent: gone
	synced    bool                                // the engine has reported every instance there was
	serving   map[apron.ServiceID]*serving        // services that have a route
	changed   chan struct{}                       // closed, and replaced, at every change of the above
	wanted    uint64                              // generation of the routes; grows with every change of them
	published uint64                              // newest generation the router has applied
	stale     map[apron.ServiceID]bool            // services whose options are to be read again
	started   map[apron.RevisionID]bool           // revisions that instances were asked for since Restore
	coming    map[apron.RevisionID]bool           // revisions that Restore has asked instances for of which none is known yet
	stopping  apron.RevisionID                    // revision that stopIdle deals with; empty: none
	mending   apron.RevisionID                    // revision that bringBack is about to have run; empty: none
	untidy    map[apron.ServiceID]bool            // services of which something may have to be retired
	retiring  map[apron.RevisionID]*retirement    // retirements that are not over
	queue     []*retirement                       // those of them that have yet to begin
}

// serving is one service's route in the making.
type serving struct {
	route    apron.Route                        // without its backends
	backends map[apron.InstanceID]apron.Backend // sent requests now
	order    []apron.InstanceID                 // backends in the order they joined
	prepared int                                // instances of the revision that are made in advance
	told     failureTold
}

// New returns a Fleet that does nothing until Restore and Run.
func New(cfg Config) *Fleet {
	if cfg.StartWindow == 0 {
		cfg.StartWindow = 5 * time.Minute
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 120 * time.Second
	}
	if cfg.LastDrain == 0 {
		cfg.LastDrain = 8 * time.Minute
	}
	if cfg.Revisions == 0 {
		cfg.Revisions = 20
	}
	return &Fleet{
		cfg:       cfg,
		restored:  make(chan struct{}),
		instances: map[apron.InstanceID]apron.Instance{},
		serving:   map[apron.ServiceID]*serving{},
		stale:     map[apron.ServiceID]bool{},
		started:   map[apron.RevisionID]bool{},
		coming:    map[apron.RevisionID]bool{},
		untidy:    map[apron.ServiceID]bool{},
		retiring:  map[apron.RevisionID]*retirement{},
		changed:   make(chan struct{}),
	}
}

// Run follows the engine and publishes routes until ctx is done. It starts publishing after
// Restore, so that a router that outlived the last control plane never sees a table made of
// ignorance.
func (f *Fleet) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.cfg.Engine.Watch(ctx, f.sync, f.observe) })
	g.Go(func() error { return f.publish(ctx) })
	g.Go(func() error { return f.mend(ctx) })
	g.Go(func() error { return f.tidyUp(ctx) })
	g.Go(func() error { return f.carryOut(ctx) })
	g.Go(func() error { return f.refresh(ctx) })
	err := g.Wait()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// Prepare makes the revision startable: the engine holds its image from here on.
func (f *Fleet) Prepare(ctx context.Context, rev apron.Revision) error {
	return f.PrepareReporting(ctx, rev, nil)
}

// PrepareReporting is Prepare, and calls report as engine.ProgressPreparer does, if the engine is one.
// report may be nil.
func (f *Fleet) PrepareReporting(ctx context.Context, rev apron.Revision, report func(done, total int64)) error {
	svc, err := f.cfg.Store.Service(ctx, rev.Service)
	if err != nil {
		return fmt.Errorf("read service of revision %s: %w", rev.ID, err)
	}
	if e, ok := f.cfg.Engine.(engine.ProgressPreparer); ok && report != nil {
		return e.PrepareReporting(ctx, spec(svc, rev), report)
	}
	return f.cfg.Engine.Prepare(ctx, spec(svc, rev))
}

// Provision starts the revision's first instances, as many as its auto scaling configuration
// always wants, and returns when all of them are ready. It returns an Invalid Fault with the
// reason as soon as one of them fails, or when the start window ends.
func (f *Fleet) Provision(ctx context.Context, rev apron.Revision) error {
	n, err := f.minSize(ctx, rev.Config)
	if err != nil {
		return err
	}
	svc, err := f.cfg.Store.Service(ctx, rev.Service)
	if err != nil {
		return fmt.Errorf("read service of revision %s: %w", rev.ID, err)
	}
	if err := f.start(ctx, svc, rev, n); err != nil {
		return err
	}
	return f.awaitReady(ctx, rev, n)
}

// Serve sends the service's requests to the revision's instances from now on, and returns when the
// router does so. It waits until as many instances are ready as the auto scaling configuration
// always wants, as Provision does, so that a route never leads nowhere; a revision that has the
// route already keeps it without a wait.
func (f *Fleet) Serve(ctx context.Context, svc apron.Service, rev apron.Revision) error {
	asc, err := f.cfg.Store.AutoScalingConfiguration(ctx, rev.Config.AutoScaling)
	if err != nil {
		return fmt.Errorf("read auto scaling configuration: %w", err)
	}
	options, err := f.options(ctx, svc)
	if err != nil {
		return err
	}
	for {
		generation, ok := f.route(svc, rev, options, asc.MaxConcurrency, asc.MinSize)
		if ok {
			err := f.awaitPublished(ctx, generation)
			f.reserve(ctx, spec(svc, rev)) // after what makes the deployment wait
			return err
		}
		if err := f.Provision(ctx, rev); err != nil {
			return err
		}
	}
}

// Withdraw takes the service off the router, and returns when the router no longer knows its
// hosts. Requests in flight go on.
func (f *Fleet) Withdraw(ctx context.Context, id apron.ServiceID) error {
	f.mu.Lock()
	if _, ok := f.serving[id]; ok {
		delete(f.serving, id)
		f.dirty()
	}
	generation := f.wanted
	f.mu.Unlock()
	return f.awaitPublished(ctx, generation)
}

// Instances returns the instances of a revision as the engine last reported them.
func (f *Fleet) Instances(rev apron.RevisionID) []apron.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []apron.Instance
	for _, i := range f.instances {
		if i.Revision == rev {
			list = append(list, i)
		}
	}
	return list
}

func (f *Fleet) minSize(ctx context.Context, c apron.ServiceConfiguration) (int, error) {
	asc, err := f.cfg.Store.AutoScalingConfiguration(ctx, c.AutoScaling)
	if err != nil {
		return 0, fmt.Errorf("read auto scaling configuration: %w", err)
	}
	return asc.MinSize, nil
}
