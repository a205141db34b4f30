package containerd_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"apron"
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

// TestGVisor runs an instance in gVisor where it is installed.
func TestGVisor(t *testing.T) {
	if _, err := exec.LookPath("runsc"); err != nil {
		t.Skip("gVisor is not installed")
	}
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "polite", v1.Config{Cmd: []string{"/app", "polite"}}))
	spec.Runtime = apron.RuntimeGVisor
	i := runOne(t, r.driver, w, spec)
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
	_, _ = get(i, "/crash")
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return f.Exited })
	if failed.Failure.ExitCode != 3 || !slices.Contains(failed.Failure.Log, enginetest.LastWords) {
		t.Errorf("failure reads %+v", failed.Failure)
	}
	restarted(t, w, i.ID)
	r.noneLeft(t, w, spec.Revision)
}
