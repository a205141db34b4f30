package containerd

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	resources "github.com/moby/buildkit/executor/resources/types"
)

// yieldingGroup makes the group of builds of a data directory and has it yield.
func yieldingGroup(t *testing.T, inner executor.Executor) (dir string, cg cgroups, e yieldingExecutor) {
	t.Helper()
	skip := t.Skip
	if os.Getenv("CI") == "true" {
		skip = t.Fatal
	}
	needGroups(t)
	dir = t.TempDir()
	cg, err := detectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cg.remove(buildGroup(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := limitBuilds(dir, BuildLimits{}); err != nil {
		t.Fatal(err)
	}
	wrapped, err := yielding(dir, slog.New(slog.DiscardHandler), inner)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := wrapped.(yieldingExecutor)
	if _, err := os.Stat(cpuControl(cg, buildGroup(dir), "cpu.idle")); ok != (err == nil) {
		t.Fatalf("builds yield: %t; the kernel's control: %v", ok, err)
	}
	if !ok {
		skip("Linux is older than 5.15")
	}
	return dir, cg, e
}

// cpuControl is where a group's control file of the processor is.
func cpuControl(cg cgroups, group, name string) string {
	if _, ok := cg.(cgroupV2); ok {
		return filepath.Join(cgroupRoot, group, name)
	}
	return filepath.Join(cgroupRoot, "cpu", group, name)
}

func idles(t *testing.T, cg cgroups, group string) bool {
	t.Helper()
	b, err := os.ReadFile(cpuControl(cg, group, "cpu.idle"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b)) == "1"
}

// TestBuildsYield looks at the group an engine makes, and at what the next engine makes of it.
func TestBuildsYield(t *testing.T) {
	dir, cg, _ := yieldingGroup(t, nil)
	group := buildGroup(dir)
	if !idles(t, cg, group) {
		t.Error("builds do not yield")
	}
	if err := limitBuilds(dir, BuildLimits{}); err != nil {
		t.Fatalf("limit builds again: %v", err)
	}
	name, want := "cpu.shares", strconv.Itoa(buildShares)
	if _, ok := cg.(cgroupV2); ok {
		name, want = "cpu.weight", strconv.FormatUint(weight(buildShares), 10)
	}
	if b, err := os.ReadFile(cpuControl(cg, group, name)); err != nil || strings.TrimSpace(string(b)) != want {
		t.Errorf("%s is %q, %v, want %s", name, b, err, want)
	}
	if _, err := yielding(dir, slog.New(slog.DiscardHandler), nil); err != nil || !idles(t, cg, group) {
		t.Errorf("after the next engine's start builds yield: %t, %v", idles(t, cg, group), err)
	}
}

// TestBuildsEndOnABusyMachine has a step get nothing of the processor, which is the same to the group as
// one that sleeps.
func TestBuildsEndOnABusyMachine(t *testing.T) {
	step := sleepingStep{end: make(chan struct{})}
	dir, cg, e := yieldingGroup(t, step)
	group := buildGroup(dir)
	if _, ok := cg.(cgroupV1); ok { // as a step's container has it
		if err := os.MkdirAll(filepath.Join(cgroupRoot, "cpuacct", group), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e.share.patience = 20 * time.Millisecond
	var steps sync.WaitGroup
	for range 2 {
		steps.Go(func() {
			if _, err := e.Run(t.Context(), "", executor.Mount{}, nil, executor.ProcessInfo{}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	comes := func(idle bool) {
		t.Helper()
		for limit := time.Now().Add(10 * time.Second); idles(t, cg, group) != idle; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("the group of builds is not idle=%t after 10s", idle)
			}
		}
	}
	for range 3 {
		comes(false)
		comes(true)
	}
	comes(false)
	step.end <- struct{}{}
	comes(true) // one step is enough to be looked at
	comes(false)
	step.end <- struct{}{}
	steps.Wait()
	comes(true)
	time.Sleep(3 * e.share.patience)
	if !idles(t, cg, group) {
		t.Error("builds have their shares while there are none")
	}
}

func TestYieldsNext(t *testing.T) {
	const patience = 10 * time.Second
	for what, row := range map[string]struct {
		yields bool
		used   time.Duration
		want   bool
	}{
		"they get what is left over": {true, 2 * patience, true},
		"they get enough":            {true, patience / buildLeast, true},
		"they get little":            {true, patience/buildLeast - 1, false},
		"they had their turn":        {false, 0, true},
	} {
		if got := yieldsNext(row.yields, row.used, patience); got != row.want {
			t.Errorf("%s: builds yield next: %t", what, got)
		}
	}
}

// sleepingStep runs steps that do nothing until they are told to end.
type sleepingStep struct {
	executor.Executor
	end chan struct{}
}

func (s sleepingStep) Run(context.Context, string, executor.Mount, []executor.Mount, executor.ProcessInfo, chan<- struct{}) (resources.Recorder, error) {
	<-s.end
	return nil, nil
}
