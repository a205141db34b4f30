package containerd_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"apron"
	"apron/engine"
	"apron/engine/containerd"
	"apron/engine/enginetest"
)

func TestProcessesThatCannotStart(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	image := r.serveImage(t)
	for name, row := range map[string]struct {
		command []string
		want    string
	}{
		"absent":         {[]string{"/nope"}, "no such file"},
		"a directory":    {[]string{"/tmp"}, "is a directory"},
		"not executable": {[]string{"/etc/passwd"}, "permission denied"},
		"not a program":  {[]string{"/notaprogram"}, "exec format error"},
		"no interpreter": {[]string{"/nointerpreter"}, "not the interpreter"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := enginetest.SpecOf(image)
			spec.Command = row.command
			if err := r.driver.Prepare(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			if err := r.driver.Scale(t.Context(), spec, 1); err != nil {
				t.Fatal(err)
			}
			i := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
			if !strings.Contains(i.Failure.Start, row.want) {
				t.Errorf("failure reads %q, want %q in it", i.Failure.Detail(), row.want)
			}
			if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestStandardErrorOutlivesStandardOutput closes the one long before writing to the other, which
// every process that ends does in the blink of an eye.
func TestStandardErrorOutlivesStandardOutput(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "errors", v1.Config{Cmd: []string{"/app", "errors"}}))
	_, _ = get(runOne(t, r.driver, w, spec), "/crash")
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
	if diff := cmp.Diff([]string{"hello", enginetest.LastWords}, failed.Failure.Log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestMemoryLimitIsReported(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	spec.MemoryMiB = 64
	i := runOne(t, r.driver, w, spec)
	_, _ = get(i, "/eat")
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
	if f := failed.Failure; !f.OOM || f.Signal != "SIGKILL" || f.ExitCode != 137 {
		t.Errorf("failure reads %+v, want out of memory", f)
	}
}

func TestDiskLimitIsReported(t *testing.T) {
	r := newRig(t)
	r.driver.stop()
	r.cfg.DiskLimit = 32 << 20
	r.driver = startDriver(t, r.cfg)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	_, _ = get(i, "/fill?path=/tmp/big&mib=48") // it may be ended before it answers
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
	if f := failed.Failure; !strings.Contains(f.Summary(), "32 MB is the limit") || f.ExitCode != 137 {
		t.Errorf("failure reads %+v, want the disk's limit", f)
	}
	w.Ready(t, spec.Revision, 1)
}

// TestUsage has an instance use what it is known to use.
func TestUsage(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	usage := func() engine.Usage {
		all, err := r.driver.Usage(t.Context())
		if err != nil || len(all) != 1 || all[0].Instance != i.ID || all[0].Service != spec.Service {
			t.Fatalf("usage is %+v, %v", all, err)
		}
		return all[0]
	}
	before := usage()
	mustGet(t, i, "/burn?ms=200&mib=64")
	after := usage()
	if d := after.CPU - before.CPU; d < 150*time.Millisecond || d > 5*time.Second {
		t.Errorf("an instance that burned 200 ms of processor time is said to have used %s", d)
	}
	if m := after.Memory; m < 64<<20 || m > 200<<20 {
		t.Errorf("an instance that holds 64 MiB is said to hold %d", m)
	}
	if err := r.driver.Scale(t.Context(), spec, 0); err != nil {
		t.Fatal(err)
	}
	w.Ready(t, spec.Revision, 0)
	if all, err := r.driver.Usage(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("without instances usage is %+v, %v", all, err)
	}
}

func TestRestartedProcessHasFreshRoot(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	mustGet(t, i, "/write?path=/tmp/mark")
	_, _ = get(i, "/crash")
	again := w.Until(t, "the restart", func(all []apron.Instance) bool {
		return all[0].State == apron.InstanceReady && all[0].Restarts == 1
	})[0]
	if _, err := get(again, "/file?path=/tmp/mark"); err == nil {
		t.Error("the restarted process finds a file of the one before")
	}
	if again.Addr != i.Addr {
		t.Errorf("address changed from %s to %s", i.Addr, again.Addr)
	}
}

func TestPrepareExplainsItself(t *testing.T) {
	r := newRig(t)
	forbid := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(forbid.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(broken.Close)
	good := r.serveImage(t)
	at := func(url string) apron.Image {
		return apron.Image{Reference: strings.TrimPrefix(url, "http://") + "/x@" + other, Digest: other}
	}
	for name, row := range map[string]struct {
		image apron.Image
		kind  apron.FaultKind
		want  string
	}{
		"wrong platform": {r.images.pushPlatform(t, "arm", v1.Config{Cmd: []string{"/app"}}, "arm64"), apron.Invalid, "exec format error"},
		"no command":     {r.images.push(t, "empty", v1.Config{}), apron.Invalid, "neither an entrypoint"},
		"not authorized": {at(forbid.URL), apron.Invalid, "not authorized"},
		"broken":         {at(broken.URL), 0, "502"},
		"good":           {good, 0, ""},
	} {
		err := r.driver.Prepare(t.Context(), enginetest.SpecOf(row.image))
		if row.want == "" && err == nil {
			continue
		}
		if apron.KindOf(err) != row.kind || err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Prepare returned %v (kind %v), want %q", name, err, apron.KindOf(err), row.want)
		}
	}
}

const other = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// TestImageIsKeptWithoutItsRegistry updates nothing but a service's configuration: the new revision
// has the old one's image, which is here already.
func TestImageIsKeptWithoutItsRegistry(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	config := v1.Config{Entrypoint: []string{"/app"}, Cmd: []string{"serve"}}
	for name, image := range map[string]apron.Image{
		"manifest": r.images.push(t, "manifest", config),
		"index":    r.images.pushIndex(t, "index", config),
	} {
		t.Run(name, func(t *testing.T) {
			first, second := enginetest.SpecOf(image), enginetest.SpecOf(image)
			runOne(t, r.driver, w, first)
			second.Service, second.MemoryMiB, second.Env = first.Service, 2*first.MemoryMiB, append(second.Env, "COLOUR=green")
			second.Image.Reference = "registry.invalid/serve@" + image.Digest
			if got := mustGet(t, runOne(t, r.driver, w, second), "/env?name=COLOUR"); got != "green" {
				t.Errorf("the new revision has COLOUR=%q", got)
			}
			if err := r.driver.Remove(t.Context(), first.Revision); err != nil {
				t.Fatal(err)
			}
			if err := r.driver.Scale(t.Context(), second, 2); err != nil {
				t.Fatal(err)
			}
			w.Ready(t, second.Revision, 2)
		})
	}
}

func TestPoliteProcessMayFinish(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "polite", v1.Config{Cmd: []string{"/app", "polite"}}))
	runOne(t, r.driver, w, spec)
	start := time.Now()
	if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > r.cfg.Grace {
		t.Errorf("Remove of a process that handles SIGTERM took %s", d)
	}
}

// TestStartingProcessIsNotWaitedFor removes instances whose process is just being started: a signal that
// arrives before it is the application is lost, and nobody must wait for what comes of it.
func TestStartingProcessIsNotWaitedFor(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "polite", v1.Config{Cmd: []string{"/app", "polite"}}))
	for range 5 {
		if err := r.driver.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if err := r.driver.Scale(t.Context(), spec, 1); err != nil {
			t.Fatal(err)
		}
		w.Until(t, "an instance on its way", func(all []apron.Instance) bool {
			return slices.ContainsFunc(all, func(i apron.Instance) bool { return i.State == apron.InstanceStarting })
		})
		start := time.Now()
		if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > r.cfg.Grace {
			t.Errorf("Remove of a process on its way took %s", d)
		}
	}
}

// TestStubbornProcessIsKilled lets the spec say how long a process may take.
func TestStubbornProcessIsKilled(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "stubborn", v1.Config{Cmd: []string{"/app", "stubborn"}}))
	spec.StopTimeout = time.Second
	runOne(t, r.driver, w, spec)
	start := time.Now()
	if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < spec.StopTimeout || d > r.cfg.Grace {
		t.Errorf("Remove of a process that ignores SIGTERM took %s, want little more than %s", d, spec.StopTimeout)
	}
}

func TestEngineMayDieWhileInstancesServe(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	pid := r.pid(t, i.ID)
	r.child.kill()
	mustGet(t, i, "/")
	r.child = startEngine(t, r.dir)
	mustGet(t, i, "/")
	if err := r.driver.Scale(t.Context(), spec, 2); err != nil {
		t.Fatal(err)
	}
	w.Ready(t, spec.Revision, 2)
	if now := w.History(i.ID); now[len(now)-1].State != apron.InstanceReady || now[len(now)-1].Restarts != 0 {
		t.Errorf("the engine's death was noticed: %+v", now[len(now)-1])
	}
	if got := r.pid(t, i.ID); got != pid {
		t.Errorf("process %d became %d", pid, got)
	}
	// And its end is seen through the new engine.
	_, _ = get(i, "/crash")
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
	if failed.Failure.ExitCode != 3 || !slices.Contains(failed.Failure.Log, enginetest.LastWords) {
		t.Errorf("failure reads %+v", failed.Failure)
	}
	w.Ready(t, spec.Revision, 2)
	r.child.stop(t)
	mustGet(t, i, "/")
}

func TestExitIsKnownThoughDriverWasAway(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	r.driver.stop()
	_, _ = get(i, "/crash")
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
	if failed.ID != i.ID || failed.Failure.ExitCode != 3 {
		t.Errorf("failure reads %+v", failed.Failure)
	}
	w.Ready(t, spec.Revision, 1)
}

func TestTeardownLeavesNothing(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	runOne(t, r.driver, w, spec)
	r.driver.stop()
	r.child.stop(t)
	if len(shims(t, r.dir)) == 0 {
		t.Fatal("no shim runs, nothing is tested")
	}
	if err := containerd.Teardown(context.Background(), r.dir); err != nil {
		t.Fatal(err)
	}
	for _, left := range r.left(t) {
		if filepath.Ext(left) != ".log" { // logs are the data directory's to keep
			t.Errorf("left on the machine: %q", left)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/", "/sys/class/net/", "/run/"} {
		if found, _ := filepath.Glob(pattern + r.bridge(t)); len(found) > 0 {
			t.Errorf("left on the machine: %q", found)
		}
	}
	// The directory can be used again: what ran there is started anew.
	r.child = startEngine(t, r.dir)
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	if i := w.Ready(t, spec.Revision, 1)[0]; i.Restarts != 1 {
		t.Errorf("instance after teardown reads %+v", i)
	}
}
