package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits of all builds of a data directory together, besides memory.
const (
	buildShares    = treeShares / 16
	buildProcesses = 8192 // compilers and package managers start many
)

// buildGroup is the control group of all build steps. BuildKit makes one below it for each. It is beside
// the tree of everything else and not in it: a group yields to its siblings, and builds shall yield to
// whatever runs on the machine, clients of services among it.
func buildGroup(dir string) string { return treeOf(dir) + "-build" }

// limitBuilds makes the control group of builds with its limits.
func limitBuilds(dir string, l BuildLimits) error {
	cg, err := detectCgroups()
	if err != nil {
		return err
	}
	memory := int64(l.MemoryMiB) << 20
	if memory <= 0 {
		var machine unix.Sysinfo_t
		if err := unix.Sysinfo(&machine); err != nil {
			return fmt.Errorf("read size of memory: %w", err)
		}
		memory = int64(machine.Totalram) * int64(machine.Unit) / 4 * 3
	}
	group := buildGroup(dir)
	_ = cg.idle(group, false) // of an earlier engine: it refuses shares; a new one, or an old kernel's, has no such thing
	if err := cg.make(group, buildShares); err != nil {
		return err
	}
	if err := cg.bound(group, memory, buildProcesses); err != nil {
		return fmt.Errorf("limit builds: %w", err)
	}
	return nil
}

// endSteps ends every process of a build.
func endSteps(ctx context.Context, dir string, cg cgroups) error {
	groups, err := cg.groups(buildGroup(dir))
	if err != nil {
		return err
	}
	for _, g := range groups {
		pids, err := cg.processes(g)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := kill(ctx, pids); err != nil {
			return err
		}
	}
	return nil
}

func (c cgroupV1) idle(group string, on bool) error {
	return setIdle(filepath.Join(c.root, "cpu", group), on)
}

func (c cgroupV2) idle(group string, on bool) error {
	return setIdle(filepath.Join(c.root, group), on)
}

// setIdle writes what both versions call by the same name since Linux 5.15.
func setIdle(dir string, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return writeControl(filepath.Join(dir, "cpu.idle"), value)
}

func (c cgroupV1) bound(group string, memory int64, processes int) error {
	return errors.Join(
		limit(filepath.Join(c.root, "memory", group, "memory.limit_in_bytes"), memory),
		limit(filepath.Join(c.root, "pids", group, "pids.max"), int64(processes)),
	)
}

func (c cgroupV2) bound(group string, memory int64, processes int) error {
	return errors.Join(
		limit(filepath.Join(c.root, group, "memory.max"), memory),
		limit(filepath.Join(c.root, group, "pids.max"), int64(processes)),
	)
}

func limit(path string, n int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as every control group
		return fmt.Errorf("make control group: %w", err)
	}
	return writeControl(path, strconv.FormatInt(n, 10))
}
