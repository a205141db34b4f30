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

// handlesTerm reports whether a process has a handler for SIGTERM, by the mask of caught signals in
// its status (proc_pid_status(5), SigCgt).
func handlesTerm(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && catches(b, unix.SIGTERM)
}

func catches(status []byte, sig unix.Signal) bool {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && mask&(1<<(sig-1)) != 0
		}
	}
	return false
}
