package containerd_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"apron/engine/containerd"
	"apron/engine/enginetest"
)

// TestPlatformHasAShareOfItsOwn looks where the engine and the shims are that keep instances.
func TestPlatformHasAShareOfItsOwn(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	i := runOne(t, r.driver, w, enginetest.SpecOf(r.serveImage(t)))
	shim := parentOf(t, r.pid(t, i.ID))
	for what, row := range map[string]struct {
		pid  int
		want string
	}{
		"the engine":  {r.child.cmd.Process.Pid, r.bridge(t) + "/engine"},
		"a shim":      {shim, r.bridge(t) + "/engine"},
		"an instance": {r.pid(t, i.ID), r.bridge(t) + "/services/"},
	} {
		if got := cpuGroup(t, row.pid); !strings.Contains(got, row.want) {
			t.Errorf("%s is in control group %s, want %s", what, got, row.want)
		}
	}
	if score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", r.pid(t, i.ID))); err != nil || strings.TrimSpace(string(score)) < "500" {
		t.Errorf("an instance's oom_score_adj is %s, %v", score, err)
	}
}

// TestShortTurns looks at the turns of an instance, of a process that takes short ones, and of threads it
// makes afterwards.
func TestShortTurns(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	i := runOne(t, r.driver, w, enginetest.SpecOf(r.serveImage(t)))
	short := turnOf(t, r.pid(t, i.ID))
	// Before Linux 6.12 the kernel has turns of one length, and says 0.
	if usual := turnOf(t, r.child.cmd.Process.Pid); usual != 0 && short >= usual {
		t.Errorf("an instance's turns are %d ns, the engine's %d", short, usual)
	}
	if err := containerd.TakeShortTurns(); err != nil {
		t.Fatal(err)
	}
	var threads sync.WaitGroup
	for range 2 * runtime.NumCPU() { // each on a thread of its own
		threads.Go(func() {
			runtime.LockOSThread() // and ends with it
			if turn := turnOf(t, unix.Gettid()); turn != short {
				t.Errorf("a thread's turns are %d ns, want %d", turn, short)
			}
		})
	}
	threads.Wait()
}

// turnOf returns how long a thread's turns are, in nanoseconds; 0 if the kernel does not say.
func turnOf(t *testing.T, thread int) uint64 {
	t.Helper()
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		t.Error(err)
		return 0
	}
	return attr.Runtime
}

// cpuGroup returns the control group that shares out the processor to a process (cgroups(7)).
func cpuGroup(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	unified := ""
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for controller := range strings.SplitSeq(parts[1], ",") {
			if controller == "cpu" {
				return parts[2]
			}
		}
		if parts[1] == "" {
			unified = parts[2]
		}
	}
	return unified
}

func parentOf(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var parent int
		if _, err := fmt.Sscanf(line, "PPid: %d", &parent); err == nil {
			return parent
		}
	}
	t.Fatal("the process has no parent")
	return 0
}
