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
	buildShares    = 64   // where all services together have 1024: builds take what is left over
	buildProcesses = 8192 // compilers and package managers start many
)

// buildGroup is the control group of all build steps. BuildKit makes one below it for each.
func buildGroup(dir string) string { return filepath.Join(treeOf(dir), "build") }

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
