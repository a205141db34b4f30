package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupV2 is the unified tree.
type cgroupV2 struct{ root string }

func (c cgroupV2) limitCPU(group string, milliCPU int) error {
	limit := fmt.Sprintf("%d %d", max(milliCPU*cpuPeriod/1000, 1000), cpuPeriod)
	return writeControl(filepath.Join(c.root, group, "cpu.max"), limit)
}

func (c cgroupV2) oomKills(group string) (int, error) {
	return readCounter(filepath.Join(c.root, group, "memory.events"), "oom_kill")
}

func (c cgroupV2) processes(group string) ([]int, error) {
	return readProcesses(filepath.Join(c.root, group, "cgroup.procs"))
}

func (c cgroupV2) groups(group string) ([]string, error) { return listGroups(c.root, group) }

func (c cgroupV2) remove(group string) error { return removeTree(filepath.Join(c.root, group)) }

func (c cgroupV2) usage(group string) (time.Duration, uint64, error) {
	us, err := readCounter(filepath.Join(c.root, group, "cpu.stat"), "usage_usec")
	if err != nil {
		return 0, 0, err
	}
	held, err := readNumber(filepath.Join(c.root, group, "memory.current"))
	if err != nil {
		return 0, 0, err
	}
	idle, err := readCounter(filepath.Join(c.root, group, "memory.stat"), "inactive_file")
	return time.Duration(us) * time.Microsecond, held - min(held, uint64(idle)), err
}

func (c cgroupV2) freeze(group string, frozen bool) error {
	want := 0
	if frozen {
		want = 1
	}
	if err := writeControl(filepath.Join(c.root, group, "cgroup.freeze"), strconv.Itoa(want)); err != nil {
		return err
	}
	for deadline := time.Now().Add(freezePatience); ; {
		is, err := readCounter(filepath.Join(c.root, group, "cgroup.events"), "frozen")
		if err != nil || is == want {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("control group %s is not frozen after %s", group, freezePatience)
		}
	}
}

// make lets the controllers of the group's ancestors reach it; those the kernel does not have are not
// needed (cgroup-v2.rst, "Enabling and Disabling").
func (c cgroupV2) make(group string, shares uint64) error {
	at := c.root
	for part := range strings.SplitSeq(strings.Trim(group, "/"), "/") {
		if err := c.enable(at); err != nil {
			return err
		}
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o755); err != nil && !os.IsExist(err) { //nolint:gosec // as every control group
			return fmt.Errorf("make control group: %w", err)
		}
	}
	return writeControl(filepath.Join(at, "cpu.weight"), strconv.FormatUint(weight(shares), 10))
}

// enable lets the controllers reach the groups below a directory. Memory comes first: a group that has
// processes refuses it, and such a group that got the processor's controller before cannot be helped
// by moving them away any more ("Threads").
func (c cgroupV2) enable(at string) error {
	for _, controller := range []string{"+memory", "+io", "+cpu", "+pids"} {
		err := writeControl(filepath.Join(at, "cgroup.subtree_control"), controller)
		if !errors.Is(err, unix.EBUSY) || at != c.root {
			continue
		}
		// In a container the root is a group as others are, and holds the container's processes.
		if err := c.vacate(); err != nil {
			return err
		}
		_ = writeControl(filepath.Join(at, "cgroup.subtree_control"), controller)
	}
	return nil
}

// vacate moves the processes of the root into a group of their own below it: only groups without
// processes can share out memory ("No Internal Process Constraint").
func (c cgroupV2) vacate() error {
	const home = "/init"
	if err := os.Mkdir(filepath.Join(c.root, home), 0o755); err != nil && !os.IsExist(err) { //nolint:gosec // as every control group
		return fmt.Errorf("make control group: %w", err)
	}
	for range 10 { // they start others meanwhile
		pids, err := c.processes("/")
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := c.join(home, pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move process %d out of the control groups' root: %w", pid, err)
			}
		}
	}
	return nil
}

// weight is the same as shares on version 2's scale: a group has 100 by default, and the kernel makes
// 1024 of them. It is not the translation that early runtimes had, of one scale's ends into the other's,
// where 1024 shares are 39: less than every group beside has.
func weight(shares uint64) uint64 { return min(max(shares*100/1024, 1), 10_000) }

func (c cgroupV2) join(group string, pid int) error {
	return writeControl(filepath.Join(c.root, group, "cgroup.procs"), strconv.Itoa(pid))
}
