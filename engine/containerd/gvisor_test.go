package containerd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"apron"
	"apron/engine"
	"apron/engine/enginetest"
)

func TestGVisorIsMissed(t *testing.T) {
	r := newRig(t)
	t.Setenv("PATH", t.TempDir())
	spec := enginetest.SpecOf(r.serveImage(t))
	spec.Runtime = apron.RuntimeGVisor
	if err := r.driver.Prepare(t.Context(), spec); apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "runsc") {
		t.Errorf("without runsc Prepare returned %v", err)
	}
}

// needGVisor puts the runsc that make builds for the tests into the PATH, or finds one there. It skips
// the test where there is neither, which in CI is a failure.
func needGVisor(t *testing.T) {
	t.Helper()
	if built := os.Getenv("APRON_RUNSC"); built != "" {
		dir := t.TempDir()
		if err := os.Symlink(built, filepath.Join(dir, "runsc")); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	_, err := exec.LookPath("runsc")
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("gVisor is missing: %v", err)
	default:
		t.Skip("gVisor is not installed")
	}
}

// TestGVisor runs an instance in gVisor, through everything an instance goes through.
func TestGVisor(t *testing.T) {
	needGVisor(t)
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "polite", v1.Config{Cmd: []string{"/app", "polite"}}))
	spec.Runtime = apron.RuntimeGVisor
	i := runOne(t, r.driver, w, spec)
	t.Run("kernel", func(t *testing.T) { testGVisorKernel(t, i) })
	t.Run("exec", func(t *testing.T) { testGVisorExec(t, r, i.ID) })
	t.Run("log", func(t *testing.T) { testGVisorLog(t, r, i) })
	t.Run("usage", func(t *testing.T) { testGVisorUsage(t, r, i) })
	t.Run("crash", func(t *testing.T) { testGVisorCrash(t, w, i) })
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	if now := w.Ready(t, spec.Revision, 1)[0]; now.ID != i.ID || now.Restarts != 1 {
		t.Errorf("to another driver the instance is %+v", now)
	}
	r.noneLeft(t, w, spec.Revision)
}

func testGVisorKernel(t *testing.T, i apron.Instance) {
	if got := mustGet(t, i, "/file?path=/proc/version"); !strings.Contains(got, "gvisor") {
		t.Errorf("the kernel calls itself %q: it is not gVisor's", got)
	}
	lines := strings.Split(strings.TrimSpace(mustGet(t, i, "/attack")), "\n")
	t.Logf("inside the sandbox root can: %q", lines[:len(lines)-1])
	for _, never := range []string{"load a kernel module", "write /dev/kmsg", "see a process of the host", "make a raw disk"} {
		if slices.Contains(lines, never) {
			t.Errorf("it can %s", never)
		}
	}
}

func testGVisorExec(t *testing.T, r *rig, id apron.InstanceID) {
	big := strings.Repeat("0123456789abcdef", 64<<10)
	var out, errs bytes.Buffer
	code, err := r.driver.Exec(t.Context(), id, engine.Command{
		Args: []string{"/app", "copy", "to", "stderr"}, Env: []string{"GREETING=!"}, Stdin: strings.NewReader(big), Stdout: &out, Stderr: &errs,
	})
	if code != 5 || err != nil || out.String() != big || errs.String() != "to stderr!" {
		t.Errorf("exit code %d, %v, %d bytes of output, errors %q", code, err, out.Len(), errs.String())
	}
	testExecTerminal(t, r, id)
	if _, err := r.driver.Exec(t.Context(), id, engine.Command{Args: []string{"/nope"}}); apron.KindOf(err) != apron.Invalid {
		t.Errorf("no such program: %v (kind %v)", err, apron.KindOf(err))
	}
}

func testGVisorLog(t *testing.T, r *rig, i apron.Instance) {
	mustGet(t, i, "/say?out=to+stdout&err=to+stderr")
	for until := time.Now().Add(10 * time.Second); ; { // the lines come through pipes
		stdout, stderr, _ := r.lines(t, i.ID, 0)
		if slices.Contains(stdout, "to stdout") && slices.Contains(stderr, "to stderr") {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("standard output is %q, standard error %q", stdout, stderr)
		}
	}
}

func testGVisorUsage(t *testing.T, r *rig, i apron.Instance) {
	usage := func() engine.Usage {
		all, err := r.driver.Usage(t.Context())
		if err != nil || len(all) != 1 || all[0].Instance != i.ID {
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
	if after.Memory < 64<<20 || after.Memory > 256<<20 {
		t.Errorf("an instance that holds 64 MiB is said to hold %d", after.Memory)
	}
}

func testGVisorCrash(t *testing.T, w *enginetest.Watcher, i apron.Instance) {
	_, _ = get(i, "/crash")
	failed := w.Failed(t, i.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return f.Exited })
	if failed.Failure.ExitCode != 3 || !slices.Contains(failed.Failure.Log, enginetest.LastWords) {
		t.Errorf("failure reads %+v", failed.Failure)
	}
	mustGet(t, restarted(t, w, i.ID), "/")
}

// TestGVisorMemoryLimit has an instance take more memory than it may have: the sandbox ends with it.
func TestGVisorMemoryLimit(t *testing.T) {
	needGVisor(t)
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	spec.Runtime, spec.MemoryMiB = apron.RuntimeGVisor, 256
	i := runOne(t, r.driver, w, spec)
	_, _ = get(i, "/eat")
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(apron.Failure) bool { return true })
	if f := failed.Failure; !f.OOM {
		t.Errorf("failure reads %+v, want out of memory", f)
	}
	restarted(t, w, i.ID)
	r.noneLeft(t, w, spec.Revision)
}
