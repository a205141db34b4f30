package containerd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Patience of Teardown with processes.
const (
	teardownGrace = 10 * time.Second // for applications that handle SIGTERM
	killPatience  = 10 * time.Second // for the kernel to end a killed process
)

// Teardown removes everything that Serve and Driver left on the machine for a data directory, but for
// the directory itself: instances, shims, mounts, network and control groups. Both must have ended.
// What runs next on the directory starts the instances it wants anew. It may be called again, and on
// a directory that never ran anything.
func Teardown(ctx context.Context, dir string) error {
	dir = filepath.Clean(dir)
	cg, err := detectCgroups()
	if _, never := os.Stat(filepath.Join(dir, "engine")); errors.Is(never, os.ErrNotExist) {
		if cg == nil { // nor has anything run on a machine without control groups
			return nil
		}
		return cg.remove(treeOf(dir))
	}
	if err != nil {
		return err
	}
	if err := endInstances(ctx, dir, cg); err != nil {
		return err
	}
	if err := endShims(ctx, dir); err != nil {
		return err
	}
	// A shim may have started a process between the two; now nobody can.
	if err := errors.Join(endInstances(ctx, dir, cg), endSteps(ctx, dir, cg)); err != nil {
		return err
	}
	for _, d := range []string{dir, runDir(dir)} {
		if err := unmountBelow(d); err != nil {
			return err // never remove files below a mount that holds an image
		}
	}
	return errors.Join(
		removeNetwork(dir),
		cg.remove(treeOf(dir)),
		cg.remove(buildGroup(dir)),
		os.RemoveAll(runDir(dir)),
		os.RemoveAll(filepath.Join(dir, "run", "netns")),
		os.RemoveAll(filepath.Join(dir, "run", "userns")),
		os.RemoveAll(spareDir(dir)),
		os.RemoveAll(filepath.Join(dir, "run", "instance")),
		os.RemoveAll(buildNetnsDir(dir)),
	)
}

// endInstances ends every process in the control groups of instances: politely first.
func endInstances(ctx context.Context, dir string, cg cgroups) error {
	groups, err := cg.groups(servicesOf(dir))
	if err != nil {
		return err
	}
	var polite []int
	for _, g := range groups {
		pids, err := cg.processes(g)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, pid := range pids {
			if handlesTerm(pid) && unix.Kill(pid, unix.SIGTERM) == nil {
				polite = append(polite, pid)
			}
		}
	}
	_ = awaitProcesses(ctx, polite, teardownGrace) // whoever is late is killed below
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

// endShims ends the shims of a data directory, which are told by the engine's address in their
// arguments.
func endShims(ctx context.Context, dir string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	var shims []int
	for _, e := range entries {
		pid := 0
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		argv, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && isShim(argv, SocketPath(dir)) {
			shims = append(shims, pid)
		}
	}
	return kill(ctx, shims)
}

func isShim(cmdline []byte, socket string) bool {
	argv := strings.Split(string(cmdline), "\x00")
	at := slices.Index(argv, "-address")
	return filepath.Base(argv[0]) == shimName && at > 0 && at+1 < len(argv) && argv[at+1] == socket
}

func kill(ctx context.Context, pids []int) error {
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return awaitProcesses(ctx, pids, killPatience)
}

// awaitProcesses waits until the processes have ended: their descriptors become readable
// (pidfd_open(2)).
func awaitProcesses(ctx context.Context, pids []int, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("watch process %d: %w", pid, err)
		}
		err = awaitReadable(ctx, fd, deadline)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("wait for process %d to end: %w", pid, err)
		}
	}
	return nil
}

func awaitReadable(ctx context.Context, fd int, deadline time.Time) error {
	for ctx.Err() == nil {
		left := time.Until(deadline)
		if left <= 0 {
			return context.DeadlineExceeded
		}
		// In short rounds, because poll knows nothing of ctx.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(min(left, 200*time.Millisecond)/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return ctx.Err()
}

// unmountBelow unmounts everything below the data directory, the latest first.
func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	points := mountsBelow(b, dir)
	slices.Reverse(points)
	var errs []error
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow returns the mount points below dir in the order they were mounted
// (proc_pid_mountinfo(5): the fifth field, with unusual characters in octal).
func mountsBelow(mountinfo []byte, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if p := unescape.Replace(fields[4]); strings.HasPrefix(p, dir+"/") {
			points = append(points, p)
		}
	}
	return points
}
