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
	"time"

	"golang.org/x/sys/unix"

	"apron"
)

// cgroupRoot is where the control groups are mounted (cgroups(7)).
const cgroupRoot = "/sys/fs/cgroup"

// cpuPeriod is the accounting period of CPU limits in microseconds, the kernel's default.
const cpuPeriod = 100_000

// freezePatience is how long a group may take to freeze: longer than any process is where it cannot be
// frozen, unless a device it waits for is broken.
const freezePatience = time.Second

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
	// usage returns what the group's processes have used of the processor since the group was made,
	// and what they hold of memory now, less what the kernel can take back at once.
	usage(group string) (cpu time.Duration, memory uint64, err error)
	// freeze stops all processes of the group, or lets them go on.
	freeze(group string, frozen bool) error
	// make makes a group that gets shares of the processor when there is not enough for all: 1024 is
	// what a group has by default.
	make(group string, shares uint64) error
	// idle has the group's processes run only while those of its siblings leave the processor alone, and
	// whoever of them wakes take it from them at once; or it ends that, and the group has 1024 shares. An
	// idle group refuses other shares. Kernels before 5.15 do not know it: fs.ErrNotExist.
	idle(group string, on bool) error
	// bound limits the bytes of memory and the number of processes of a group made by make.
	bound(group string, memory int64, processes int) error
	// join moves a process into a group made by make.
	join(group string, pid int) error
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

// treeOf is the control group above everything of a data directory.
func treeOf(dir string) string { return "/" + bridgeName(dir) }

// servicesOf is the control group above all instances of a data directory.
func servicesOf(dir string) string { return filepath.Join(treeOf(dir), "services") }

// groupOf is an instance's control group.
func groupOf(dir string, service apron.ServiceID, id apron.InstanceID) string {
	return filepath.Join(servicesOf(dir), string(service), string(id))
}

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

func readNumber(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read control file: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read number in %s: %w", path, err)
	}
	return n, nil
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
