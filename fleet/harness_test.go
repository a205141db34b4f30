package fleet_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"apron"
	"apron/engine"
	"apron/engine/enginetest"
	"apron/fleet"
	"apron/router"
	"apron/store"
	"apron/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; reaching it fails the test.
const patience = 30 * time.Second

// slowEngine is an engine that, after a restart of its driver, takes until open is closed to find
// its instances again, and first reports those that are ready as starting, until proven is closed.
type slowEngine struct {
	*enginetest.Memory
	open, proven chan struct{}
	preparing    chan struct{} // not nil: gives a token when Prepare begins, and another one before it goes on
}

// Prepare implements engine.Engine.
func (e *slowEngine) Prepare(ctx context.Context, spec engine.Spec) error {
	for range 2 {
		if e.preparing == nil {
			break
		}
		select {
		case e.preparing <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return e.Memory.Prepare(ctx, spec)
}

// fast is an engine that knows everything at once.
func fast(m *enginetest.Memory) *slowEngine {
	e := &slowEngine{Memory: m, open: make(chan struct{}), proven: make(chan struct{})}
	close(e.open)
	close(e.proven)
	return e
}

// Watch implements engine.Engine.
func (e *slowEngine) Watch(ctx context.Context, synced func(), fn func(apron.Instance)) error {
	select {
	case <-e.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	var (
		mu   sync.Mutex // one call at a time
		held = map[apron.InstanceID]apron.Instance{}
		wg   sync.WaitGroup
	)
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		select {
		case <-e.proven:
		case <-ctx.Done():
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, i := range held {
			fn(i)
		}
		held = nil
	})
	return e.Memory.Watch(ctx, synced, func(i apron.Instance) {
		mu.Lock()
		defer mu.Unlock()
		if held != nil && i.State == apron.InstanceReady {
			held[i.ID] = i
			i.State = apron.InstanceStarting
		}
		fn(i)
	})
}

// recorder is a router that keeps every table it was given.
type recorder struct {
	*router.Client
	mu     sync.Mutex // guards tables
	tables []apron.RouteTable
}

// Publish implements fleet.Router.
func (r *recorder) Publish(ctx context.Context, table apron.RouteTable) error {
	r.mu.Lock()
	r.tables = append(r.tables, table)
	r.mu.Unlock()
	return r.Client.Publish(ctx, table)
}

func (r *recorder) published() []apron.RouteTable {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tables)
}

// world is what outlives a fleet.
type world struct {
	*testing.T
	store  *store.Store
	memory *enginetest.Memory
	socket string
	fleet  *fleet.Fleet // the one that is up
	router *recorder    // its end of the stream
	stop   func()       // ends the fleet
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "f") // a unix socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{T: t, store: storetest.Open(t), memory: enginetest.New(), socket: router.SocketPath(dir), stop: func() {}}
	t.Cleanup(w.memory.Close)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- router.Run(ctx, router.Config{Dir: dir, HTTP: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

// boot starts a fleet in place of the one before and restores it.
func (w *world) boot(e *slowEngine, change func(*fleet.Config)) {
	w.Helper()
	w.stop()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	w.router = &recorder{Client: router.NewClient(router.ClientConfig{Socket: w.socket, Log: log})}
	cfg := fleet.Config{
		Store: w.store, Engine: e, Router: w.router, Log: log, StartWindow: 5 * time.Second, DrainTimeout: patience,
	}
	if change != nil {
		change(&cfg)
	}
	w.fleet = fleet.New(cfg)
	client, f := w.router.Client, w.fleet
	var parts sync.WaitGroup
	for _, run := range []func(context.Context) error{client.Run, f.Run} {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				w.Error(err)
			}
		})
	}
	w.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	w.Cleanup(w.stop)
	if err := f.Restore(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// service adds a running service without a revision.
func (w *world) service(name string) apron.Service {
	w.Helper()
	svc := apron.Service{
		ID: apron.ServiceID(name), Scope: apron.Scope{Account: "123456789012", Region: "us-east-1"},
		Name: name, Host: name + ".apron.test", Status: apron.ServiceRunning,
	}
	svc.Config = apron.ServiceConfiguration{
		Source: apron.SourceConfiguration{Image: &apron.ImageRepository{
			Identifier: "web:1", Type: apron.ImageRepositoryECR, Run: apron.RunConfiguration{Port: "8080"},
		}},
		Instance:    apron.InstanceConfiguration{MilliCPU: 1000, MemoryMiB: 2048},
		HealthCheck: apron.DefaultHealthCheck(),
		Network:     apron.NetworkConfiguration{Public: true, IPAddressType: "IPV4"},
		AutoScaling: apron.DefaultAutoScaling(svc.Scope).ARN,
	}
	w.tx(func(tx *store.Tx) error { return tx.InsertService(w.Context(), svc, nil) })
	return svc
}

// revision adds a revision of the image to the service.
func (w *world) revision(svc apron.Service, id apron.RevisionID, image string) apron.Revision {
	w.Helper()
	rev := apron.Revision{
		ID: id, Service: svc.ID, Config: svc.Config, Image: apron.Image{Reference: image, Digest: "sha256:" + image},
	}
	w.tx(func(tx *store.Tx) (err error) {
		rev, err = tx.InsertRevision(w.Context(), rev)
		return err
	})
	return rev
}

// record writes where the service stands.
func (w *world) record(svc *apron.Service, status apron.ServiceStatus, active, candidate apron.RevisionID) {
	w.Helper()
	svc.Status, svc.Active, svc.Candidate = status, active, candidate
	w.tx(func(tx *store.Tx) error { return tx.UpdateService(w.Context(), *svc) })
}

func (w *world) tx(fn func(*store.Tx) error) {
	w.Helper()
	if err := w.store.Tx(w.Context(), fn); err != nil {
		w.Fatal(err)
	}
}

// serving makes a service whose revision, of the image web, serves.
func (w *world) serving(name string) (apron.Service, apron.Revision) {
	w.Helper()
	svc := w.service(name)
	rev := w.revision(svc, apron.RevisionID(name+"-1"), "web")
	w.start(rev)
	w.must(w.fleet.Serve(w.Context(), svc, rev))
	w.record(&svc, apron.ServiceRunning, rev.ID, "")
	return svc, rev
}

// start makes instances of the revision ready.
func (w *world) start(rev apron.Revision) {
	w.Helper()
	w.must(w.fleet.Prepare(w.Context(), rev))
	w.must(w.fleet.Provision(w.Context(), rev))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// route returns the service's route in the table the router uses.
func (w *world) route(id apron.ServiceID) (apron.Route, bool) {
	w.Helper()
	table, err := w.router.Table(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range table.Routes {
		if r.Service == id {
			return r, true
		}
	}
	return apron.Route{}, false
}

// until looks again and again: the router's table has no event to wait for.
func (w *world) until(done func() bool, what string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

// wantNeverEmpty checks that no table sent the service's requests nowhere.
func (w *world) wantNeverEmpty(id apron.ServiceID) {
	w.Helper()
	tables := w.router.published()
	if len(tables) == 0 {
		w.Error("nothing was published")
	}
	for n, table := range tables {
		i := slices.IndexFunc(table.Routes, func(r apron.Route) bool { return r.Service == id })
		if i < 0 || len(table.Routes[i].Backends) == 0 {
			w.Errorf("table %d of %d routes service %s nowhere: %+v", n+1, len(tables), id, table.Routes)
		}
	}
}

// wantServedThroughout is wantNeverEmpty for the tables since the service's first route.
func (w *world) wantServedThroughout(id apron.ServiceID) {
	w.Helper()
	w.router.mu.Lock()
	first := slices.IndexFunc(w.router.tables, func(t apron.RouteTable) bool { return len(t.Routes) > 0 })
	w.router.tables = w.router.tables[first:]
	w.router.mu.Unlock()
	w.wantNeverEmpty(id)
}
