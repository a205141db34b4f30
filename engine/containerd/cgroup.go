package containerd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"apron"
)

// cgroupRoot is where the control groups are mounted (cgroups(7)).
const cgroupRoot = "/sys/fs/cgroup"

// cpuPeriod is the accounting period of CPU limits in microseconds, the kernel's default.
const cpuPeriod = 100_000

// cgroups is what the driver does with control groups itself, by writing files: microseconds instead
// of the milliseconds a runtime needs. Paths are absolute, as in an OCI spec's cgroupsPath.
type cgroups interface {
	// limitCPU caps the group at milliCPU thousandths of a core.
	limitCPU(group string, milliCPU int) error
	// oomKills returns how often the kernel ended a process of the group for want of memory.
	oomKills(group string) (int, error)
	// processes returns the ids of the group's processes.
	processes(group string) ([]int, error)
	// groups returns the group and all below it that exist.
	groups(group string) ([]string, error)
	// remove removes the group and those below it, all without processes; a missing one is fine.
	remove(group string) error
}

// detectCgroups tells which version this machine manages its resources with. A hybrid machine has
// the controllers in version 1.
func detectCgroups() (cgroups, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return nil, fmt.Errorf("look at control groups: %w", err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return cgroupV2{cgroupRoot}, nil
	}
	v1 := cgroupV1{cgroupRoot}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if _, err := os.Stat(filepath.Join(cgroupRoot, c)); err != nil {
			return nil, fmt.Errorf("find control group controller %s: %w", c, err)
		}
	}
	return v1, nil
}

// treeOf is the control group above all instances of a data directory.
func treeOf(dir string) string { return "/" + bridgeName(dir) }

// groupOf is an instance's control group.
func groupOf(dir string, service apron.ServiceID, id apron.InstanceID) string {
	return filepath.Join(treeOf(dir), string(service), string(id))
}

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

func writeControl(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // never create: a control file is there or the group is not
	if err != nil {
		return fmt.Errorf("open control file: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("write control file: %w", err)
	}
	return nil
}

// readCounter returns the number after name in a file of "name number" lines; 0 when it has none.
func readCounter(path, name string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read control file: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), " "); ok && k == name {
			n, err := strconv.Atoi(v)
			if err != nil {
				return 0, fmt.Errorf("read %s in %s: %w", name, path, err)
			}
			return n, nil
		}
	}
	return 0, nil
}

func readProcesses(path string) ([]int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read control file: %w", err)
	}
	var pids []int
	for w := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(w)
		if err != nil {
			return nil, fmt.Errorf("read process id in %s: %w", path, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// listGroups returns group and those below it, as paths relative to root.
func listGroups(root, group string) ([]string, error) {
	var groups []string
	err := filepath.WalkDir(filepath.Join(root, group), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			groups = append(groups, strings.TrimPrefix(path, root))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list control groups: %w", err)
	}
	return groups, nil
}

// removeTree removes the directories of a control group, the deepest first. Their files cannot be
// removed and do not count.
func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list control group: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove control group %s: %w", path, err)
	}
	return nil
}
