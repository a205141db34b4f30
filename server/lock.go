package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errHeld is returned when another process holds a lock.
var errHeld = errors.New("held by another process")

// lock is the right to play one role on a data directory: an exclusive flock, which the kernel
// drops when its holder dies however it dies. The file tells the holder's process id.
type lock struct {
	f *os.File
}

func lockPath(data, role string) string { return filepath.Join(data, "run", role+".lock") }

// acquire takes the role's lock or returns errHeld.
func acquire(data, role string) (*lock, error) {
	if err := os.MkdirAll(filepath.Join(data, "run"), 0o700); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	f, err := os.OpenFile(lockPath(data, role), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for free := false; !free; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if free = err == nil; free {
			break
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			var pid int
			if pid, err = holder(data, role); err == nil && pid != 0 {
				err = errHeld
			}
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	// One write of a fixed length: whoever reads meanwhile finds the old holder or the new one, never
	// less than a number.
	if _, err := fmt.Fprintf(io.NewOffsetWriter(f, 0), "%-*d\n", pidDigits, os.Getpid()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return &lock{f: f}, nil
}

// pidDigits is how many characters the number of a process takes in a lock: more than any has.
const pidDigits = 20

// release gives the role up.
func (l *lock) release() { _ = l.f.Close() }

// settleLimit is how long a lock may be held without a living holder: by the first one ever before it
// has written its number, by a process that a holder was just starting when it was killed, or by
// another call of holder.
const settleLimit = 2 * time.Second

// holder returns the process that plays the role, or 0 when nobody does.
func holder(data, role string) (int, error) {
	f, err := os.Open(lockPath(data, role))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open lock: %w", err)
	}
	defer f.Close()
	limit := time.NewTimer(settleLimit)
	defer limit.Stop()
	again := time.NewTicker(settleLimit / 200)
	defer again.Stop()
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
			return 0, nil // closing the file drops it again
		} else if !errors.Is(err, unix.EWOULDBLOCK) {
			return 0, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		b := make([]byte, pidDigits)
		n, _ := f.ReadAt(b, 0)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
		if err == nil && pid > 1 && lives(pid) {
			return pid, nil
		}
		select {
		case <-again.C:
		case <-limit.C:
			return 0, fmt.Errorf("lock %s is held but names no process that lives", f.Name())
		}
	}
}

// lives reports whether the process has not ended. One whose parent has not been told yet has.
func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state follows the command's name, which is in parentheses and may hold some (proc_pid_stat(5)).
	at := strings.LastIndexByte(string(b), ')')
	return at < 0 || at+2 >= len(b) || b[at+2] != 'Z' && b[at+2] != 'X'
}
