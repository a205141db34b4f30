package enginetest

import (
	"cmp"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/engine"
)

// Harness is what the suite needs from a driver's tests besides the engine. Every member is required
// that does not say otherwise.
type Harness struct {
	// Serve is an image that listens on the spec's port and answers GET / with 200.
	Serve apron.Image
	// Exit is an image whose process writes the line LastWords and then exits with code 7.
	Exit apron.Image
	// Silent is an image whose process runs but never listens.
	Silent apron.Image
	// Missing is an image that does not exist.
	Missing apron.Image

	// Copy is a command that is in the image Serve, for engines that run commands: it copies its
	// standard input to its standard output and exits with code 5. Not required of others.
	Copy []string

	// Crash makes a ready instance of Serve write the line LastWords and exit with code 3.
	Crash func(t *testing.T, i apron.Instance)
	// Process names an instance's running process; a restart changes it.
	Process func(t *testing.T, id apron.InstanceID) string
	// Reopen abandons the driver as a crash would and returns a second one over the same instances.
	Reopen func(t *testing.T) engine.Engine
	// Left lists what the engine keeps on the machine for instances: empty when there are none.
	Left func(t *testing.T) []string
}

// LastWords is the line the harness's images write before they end.
const LastWords = "last words"

// patience bounds every wait of the suite; reaching it fails the test. A machine that is emulated needs
// more: the environment variable APRON_TEST_PATIENCE is a duration.
var patience = sync.OnceValue(func() time.Duration {
	d, err := time.ParseDuration(cmp.Or(os.Getenv("APRON_TEST_PATIENCE"), "60s"))
	if err != nil {
		panic("APRON_TEST_PATIENCE: " + err.Error())
	}
	return d
})

// Run tests that an engine keeps the promises of engine.Engine. newEngine is called once per test
// and must register the engine's clean-up with t.
func Run(t *testing.T, newEngine func(t *testing.T) (engine.Engine, Harness)) {
	tests := map[string]func(*testing.T, engine.Engine, Harness){
		"StartsAndServes":      testStartsAndServes,
		"RestartsAfterCrash":   testRestartsAfterCrash,
		"ReportsFailingImage":  testReportsFailingImage,
		"ReportsSilentImage":   testReportsSilentImage,
		"RefusesMissingImage":  testRefusesMissingImage,
		"ScalesUpAndDown":      testScalesUpAndDown,
		"StartsWhileOneLeaves": testStartsWhileOneLeaves,
		"StoppingIsNotReady":   testStoppingIsNotReady,
		"RemoveLeavesNothing":  testRemoveLeavesNothing,
		"Idempotent":           testIdempotent,
		"KeepsRevisionsApart":  testKeepsRevisionsApart,
		"NextDriverAdopts":     testNextDriverAdopts,
		"ConcurrentCalls":      testConcurrentCalls,
		"WatchEndsWithContext": testWatchEndsWithContext,
		"Extensions":           testExtensions,
	}
	names := make([]string, 0, len(tests))
	for name := range tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			e, h := newEngine(t)
			tests[name](t, e, h)
		})
	}
}

// SpecOf returns a spec of a new revision of a new service, small and probed over HTTP.
func SpecOf(image apron.Image) engine.Spec {
	check := apron.DefaultHealthCheck()
	check.Protocol, check.Interval = apron.HealthCheckHTTP, time.Second
	return engine.Spec{
		Revision: apron.RevisionID(newID()), Service: apron.ServiceID(newID()), ServiceName: "suite",
		Image: image, Env: []string{"PORT=8080"}, Port: 8080, MilliCPU: 1000, MemoryMiB: 256, HealthCheck: check,
	}
}

// Watcher records everything an engine's Watch tells.
type Watcher struct {
	mu      sync.Mutex // guards the fields below
	synced  bool
	history map[apron.InstanceID][]apron.Instance
	changed chan struct{} // closed and replaced at every report
}

// StartWatch watches e until the test ends.
func StartWatch(t testing.TB, e engine.Engine) *Watcher {
	t.Helper()
	w := &Watcher{history: map[apron.InstanceID][]apron.Instance{}, changed: make(chan struct{})}
	done := make(chan error, 1)
	ctx := t.Context() // done before clean-up functions run
	go func() { done <- e.Watch(ctx, w.sync, w.add) }()
	t.Cleanup(func() {
		if err := <-done; !errors.Is(err, ctx.Err()) {
			t.Errorf("Watch ended with %v, want the context's error", err)
		}
	})
	return w
}

func (w *Watcher) sync() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.synced = true
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Watcher) add(i apron.Instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history[i.ID] = append(w.history[i.ID], i)
	close(w.changed)
	w.changed = make(chan struct{})
}

// Until waits until ok is true of the latest state of every instance reported so far, those that are
// gone included, and returns them.
func (w *Watcher) Until(t testing.TB, what string, ok func([]apron.Instance) bool) []apron.Instance {
	t.Helper()
	deadline := time.NewTimer(patience())
	defer deadline.Stop()
	for {
		w.mu.Lock()
		now, synced, changed := w.latest(), w.synced, w.changed
		w.mu.Unlock()
		if synced && ok(now) {
			return now
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("waited %s for %s; synced %v, instances now: %+v", patience(), what, synced, describe(now))
		}
	}
}

func (w *Watcher) latest() []apron.Instance {
	var now []apron.Instance
	for _, h := range w.history {
		now = append(now, h[len(h)-1])
	}
	slices.SortFunc(now, func(a, b apron.Instance) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return now
}

// History returns everything reported of an instance, oldest first.
func (w *Watcher) History(id apron.InstanceID) []apron.Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.history[id])
}

// Ready waits until exactly n instances of the revision are ready and every other one is gone, and
// returns the ready ones.
func (w *Watcher) Ready(t testing.TB, r apron.RevisionID, n int) []apron.Instance {
	t.Helper()
	var ready []apron.Instance
	w.Until(t, "instances to be ready", func(all []apron.Instance) bool {
		ready = ready[:0]
		for _, i := range all {
			switch {
			case i.Revision != r || i.State == apron.InstanceGone:
			case i.State == apron.InstanceReady:
				ready = append(ready, i)
			default:
				return false
			}
		}
		return len(ready) == n
	})
	return ready
}

// Failed waits until an instance of the revision was reported in the state with a failure that ok
// accepts, now or earlier, and returns that report.
func (w *Watcher) Failed(t testing.TB, r apron.RevisionID, s apron.InstanceState, ok func(apron.Failure) bool) apron.Instance {
	t.Helper()
	var found apron.Instance
	w.Until(t, "a failure while "+string(s), func(all []apron.Instance) bool {
		for _, now := range all {
			for _, i := range w.History(now.ID) {
				if i.Revision == r && i.State == s && i.Failure != nil && ok(*i.Failure) {
					found = i
					return true
				}
			}
		}
		return false
	})
	return found
}

func describe(all []apron.Instance) string {
	var b strings.Builder
	for _, i := range all {
		b.WriteString("\n  " + string(i.ID) + " " + string(i.State))
		if i.Failure != nil {
			b.WriteString(": " + i.Failure.Detail())
		}
	}
	return b.String()
}

// reachable reports whether something accepts connections at the instance's address.
func reachable(i apron.Instance) bool {
	conn, err := net.DialTimeout("tcp", i.Addr.String(), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
