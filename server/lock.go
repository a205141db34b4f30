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
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errHeld
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
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
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, nil // closing the file drops it again
	} else if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	tick := time.NewTicker(namedWithin / 100)
	defer tick.Stop()
	for until := time.Now().Add(namedWithin); ; <-tick.C {
		b := make([]byte, pidDigits)
		n, _ := f.ReadAt(b, 0)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
		if err == nil && pid > 1 {
			return pid, nil
		}
		if time.Now().After(until) {
			return 0, fmt.Errorf("lock %s is held but names no process", f.Name())
		}
	}
}

// namedWithin is how long the very first holder of a lock has to write its number into it.
const namedWithin = time.Second
