package containerd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

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
		"the engine":  {r.child.cmd.Process.Pid, r.bridge(t) + "/platform"},
		"a shim":      {shim, r.bridge(t) + "/platform"},
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
