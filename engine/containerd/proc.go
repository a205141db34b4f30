package containerd

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// beforeExec is how runc names a process that has yet to become the one of the container. The kernel
// changes the name in execve(2), which takes the handlers away.
const beforeExec = "runc:["

// handlesTerm reports whether a process has a handler for SIGTERM, by the mask of caught signals in
// its status (proc_pid_status(5), SigCgt). A process of a container that is runc still has not: runc's
// handlers end with it, and with them a signal that arrives while it becomes the application.
func handlesTerm(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && catches(b, unix.SIGTERM)
}

func catches(status []byte, sig unix.Signal) bool {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "Name:"); ok && strings.HasPrefix(strings.TrimSpace(name), beforeExec) {
			return false
		}
		if v, ok := strings.CutPrefix(lines.Text(), "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && mask&(1<<(sig-1)) != 0
		}
	}
	return false
}
