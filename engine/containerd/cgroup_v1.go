package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroupV1 has a tree per controller below root.
type cgroupV1 struct{ root string }

func (c cgroupV1) limitCPU(group string, milliCPU int) error {
	quota := strconv.Itoa(max(milliCPU*cpuPeriod/1000, 1000)) // the kernel refuses less
	return writeControl(filepath.Join(c.root, "cpu", group, "cpu.cfs_quota_us"), quota)
}

func (c cgroupV1) oomKills(group string) (int, error) {
	return readCounter(filepath.Join(c.root, "memory", group, "memory.oom_control"), "oom_kill")
}

func (c cgroupV1) processes(group string) ([]int, error) {
	return readProcesses(filepath.Join(c.root, "pids", group, "cgroup.procs"))
}

func (c cgroupV1) groups(group string) ([]string, error) {
	return listGroups(filepath.Join(c.root, "pids"), group)
}

func (c cgroupV1) remove(group string) error {
	controllers, err := os.ReadDir(c.root)
	if err != nil {
		return fmt.Errorf("list control group controllers: %w", err)
	}
	var errs []error
	for _, d := range controllers {
		if d.IsDir() { // the others are links from one controller's name to where it is mounted
			errs = append(errs, removeTree(filepath.Join(c.root, d.Name(), group)))
		}
	}
	return errors.Join(errs...)
}

func (c cgroupV1) usage(group string) (time.Duration, uint64, error) {
	ns, err := readNumber(filepath.Join(c.root, "cpuacct", group, "cpuacct.usage"))
	if err != nil {
		return 0, 0, err
	}
	held, err := readNumber(filepath.Join(c.root, "memory", group, "memory.usage_in_bytes"))
	if err != nil {
		return 0, 0, err
	}
	idle, err := readCounter(filepath.Join(c.root, "memory", group, "memory.stat"), "total_inactive_file")
	return time.Duration(ns), held - min(held, uint64(idle)), err
}

// freeze writes until the kernel says that it has happened: a process that is being made at that
// moment, or sleeps where it cannot be frozen, delays it (freezer-subsystem.rst).
func (c cgroupV1) freeze(group string, frozen bool) error {
	path, want := filepath.Join(c.root, "freezer", group, "freezer.state"), "THAWED"
	if frozen {
		want = "FROZEN"
	}
	for deadline := time.Now().Add(freezePatience); ; {
		if err := writeControl(path, want); err != nil {
			return err
		}
		is, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read control file: %w", err)
		}
		if strings.TrimSpace(string(is)) == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("control group %s is %s and not %s", group, strings.TrimSpace(string(is)), want)
		}
	}
}

func (c cgroupV1) make(group string, shares uint64) error {
	dir := filepath.Join(c.root, "cpu", group)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as every control group
		return fmt.Errorf("make control group: %w", err)
	}
	return writeControl(filepath.Join(dir, "cpu.shares"), strconv.FormatUint(shares, 10))
}

func (c cgroupV1) join(group string, pid int) error {
	return writeControl(filepath.Join(c.root, "cpu", group, "cgroup.procs"), strconv.Itoa(pid))
}
