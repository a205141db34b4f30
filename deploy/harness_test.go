package deploy_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"apron"
	"apron/control"
	"apron/engine/enginetest"
	"apron/fleet"
	"apron/logs"
	"apron/router"
	"apron/store"
	"apron/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; reaching it fails the test.
const patience = 30 * time.Second

// images is a registry's tags: what each identifier resolves to at the moment.
type images struct {
	mu   sync.Mutex // guards tags
	tags map[string]string
	away error // what Resolve answers, if set
}

// tag makes the identifier name the image with this content.
func (i *images) tag(identifier, content string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tags[identifier] = content
}

// Resolve implements deploy.Resolver.
func (i *images) Resolve(_ context.Context, _ apron.Scope, identifier string) (apron.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.away != nil {
		return apron.Image{}, i.away
	}
	content, ok := i.tags[identifier]
	if !ok {
		return apron.Image{}, apron.Faultf(apron.Invalid, "Image %s does not exist.", identifier)
	}
	return pinned(content), nil
}

// pinned is the image with this content.
func pinned(content string) apron.Image {
	return apron.Image{Reference: "registry.example.com/web@sha256:" + content, Digest: "sha256:" + content}
}

// world is what outlives a control plane: the store, the router, the engine and its instances.
type world struct {
	*testing.T
	store  *store.Store
	engine *enginetest.Memory
	logs   *logs.Store
	images *images
	socket string
	plane  *plane // the one that is up
	code   *code  // nil: nothing is built
	change func(*fleet.Config)
	http   *http.Client
	scope  apron.Scope
}

// newWorld starts a router and a control plane over nothing.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // a unix socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{
		T: t, store: storetest.Open(t), engine: enginetest.New(), images: &images{tags: map[string]string{}},
		socket: router.SocketPath(dir), scope: apron.Scope{Account: "123456789012", Region: "us-east-1"},
	}
	t.Cleanup(w.engine.Close)
	if w.logs, err = logs.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.logs.Close() })
	w.run(func(ctx context.Context) error {
		return router.Run(ctx, router.Config{Dir: dir, HTTP: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	})
	w.boot(nil)
	w.http = w.user()
	return w
}

// run starts fn and ends it when the test does.
func (w *world) run(fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fn(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
}

// behave makes the image with this content do b, and tags it.
func (w *world) behave(identifier, content string, b enginetest.Behaviour) {
	w.engine.Image(pinned(content).Reference, b)
	w.images.tag(identifier, content)
}

// config is a service of image web:1, configured as by default.
func (w *world) config() apron.ServiceConfiguration {
	return apron.ServiceConfiguration{
		Source: apron.SourceConfiguration{Image: &apron.ImageRepository{
			Identifier: "web:1", Type: apron.ImageRepositoryECR, Run: apron.RunConfiguration{Port: "8080"},
		}},
		Instance:    apron.InstanceConfiguration{MilliCPU: 1000, MemoryMiB: 2048},
		HealthCheck: apron.DefaultHealthCheck(),
		Network:     apron.NetworkConfiguration{Public: true, IPAddressType: "IPV4"},
	}
}

// create makes a service of image web:1, which says v1, and waits for it.
func (w *world) create() apron.Service {
	w.Helper()
	w.behave("web:1", "01", says("v1"))
	svc := w.begin(w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
	w.wantStatus(svc.ID, apron.ServiceRunning)
	return w.service(svc.ID)
}

// begin waits for the operation an action has begun to end and returns the service.
func (w *world) begin(view control.ServiceView, op apron.OperationID, err error) apron.Service {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	w.await(op)
	return w.service(view.ID)
}

// await returns once the operation has its final status.
func (w *world) await(id apron.OperationID) {
	w.Helper()
	w.until(func() bool {
		op, err := w.store.Operation(w.Context(), id)
		if err != nil {
			w.Fatal(err)
		}
		return op.Status.Final()
	}, "operation %s ends", id)
}

// until looks again and again, because what it looks at has no event to wait for.
func (w *world) until(done func() bool, what string, args ...any) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("waited in vain until "+what, args...)
		}
	}
}

func (w *world) service(id apron.ServiceID) apron.Service {
	w.Helper()
	svc, err := w.store.Service(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return svc
}

// last returns the service's newest operation.
func (w *world) last(id apron.ServiceID) apron.Operation {
	w.Helper()
	ops, _, err := w.store.Operations(w.Context(), id, "", 1)
	if err != nil || len(ops) == 0 {
		w.Fatalf("operations of %s: %v, %v", id, ops, err)
	}
	return ops[0]
}

func (w *world) wantStatus(id apron.ServiceID, want apron.ServiceStatus) {
	w.Helper()
	if svc := w.service(id); svc.Status != want {
		op := w.last(id)
		w.Fatalf("service is %s, want %s; operation %s is %s: %s", svc.Status, want, op.Type, op.Status, op.Reason)
	}
}

// wantEngine waits until the engine has the revisions, and was asked for so many instances of each: what
// is to be retired after an operation takes its time.
func (w *world) wantEngine(want map[apron.RevisionID]int) {
	w.Helper()
	w.until(func() bool { return w.engineDiff(want) == "" }, "the engine has %v", want)
}

// engineDiff compares which revisions the engine has, and how many instances it was asked for and has.
func (w *world) engineDiff(want map[apron.RevisionID]int) string {
	w.Helper()
	list, err := w.engine.Revisions(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	got := map[apron.RevisionID]int{}
	for _, rev := range list {
		_, asked, _ := w.engine.Asked(rev)
		got[rev] = max(asked, len(w.plane.fleet.Instances(rev)))
	}
	if want == nil {
		want = map[apron.RevisionID]int{}
	}
	return cmp.Diff(want, got)
}

// events returns the service's event lines.
func (w *world) events(id apron.ServiceID) []string {
	w.Helper()
	all, err := w.logs.Read(logs.Stream{Service: id, Name: logs.Events}, 0)
	if err != nil {
		w.Fatal(err)
	}
	lines := make([]string, len(all))
	for i, e := range all {
		lines[i] = e.Message
	}
	return lines
}
