package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	err = errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n"))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return &lock{f: f}, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

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
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("lock %s is held but names no process", f.Name())
	}
	return pid, nil
}
