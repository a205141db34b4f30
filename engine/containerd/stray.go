package containerd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"apron"
)

// endStrayShims ends the shims whose instances stray says have no process in the engine's books. The
// engine leaves one behind when whoever asked for a process goes away while its shim is being started.
// A shim's program that clears away after another one is let be.
func endStrayShims(ctx context.Context, dir string, stray func(apron.InstanceID) bool) error {
	pids, err := shimsOf(dir, stray, false)
	if err != nil {
		return err
	}
	return kill(ctx, pids)
}

// awaitClearing waits until no shim's program clears away after another one of the instance.
func awaitClearing(ctx context.Context, dir string, id apron.InstanceID) error {
	pids, err := shimsOf(dir, func(of apron.InstanceID) bool { return of == id }, true)
	if err != nil {
		return err
	}
	return awaitProcesses(ctx, pids, clearPatience)
}

// shimsOf returns the shims of the instances that which picks, or those of their programs that clear
// away after another one.
func shimsOf(dir string, which func(apron.InstanceID) bool, clearing bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		argv, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && isShim(argv, SocketPath(dir)) && bytes.HasSuffix(argv, []byte("\x00delete\x00")) == clearing && which(shimOf(argv)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// shimOf returns the instance that a shim's command line names.
func shimOf(cmdline []byte) apron.InstanceID {
	argv := strings.Split(string(cmdline), "\x00")
	if at := slices.Index(argv, "-id"); at > 0 && at+1 < len(argv) {
		return apron.InstanceID(argv[at+1])
	}
	return ""
}
