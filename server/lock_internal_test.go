package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if pid, err := holder(dir, roleServe); pid != 0 || err != nil {
		t.Errorf("before the first: %d, %v", pid, err)
	}
	l, err := acquire(dir, roleServe)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := holder(dir, roleServe); pid != os.Getpid() || err != nil {
		t.Errorf("held: %d, %v", pid, err)
	}
	if _, err := acquire(dir, roleServe); !errors.Is(err, errHeld) {
		t.Errorf("a second one: %v", err)
	}
	l.release()
	if pid, err := holder(dir, roleServe); pid != 0 || err != nil {
		t.Errorf("released: %d, %v", pid, err)
	}
}

// A holder that is killed while it starts a process leaves the lock to that for a moment: nobody plays
// the role then, and the lock can be had as soon as it is let go.
func TestLockOfTheDead(t *testing.T) {
	dir := t.TempDir()
	l, err := acquire(dir, roleServe)
	if err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "run", roleServe+".lock")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%-*d\n", pidDigits, dead.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid, err := holder(dir, roleServe); err == nil {
		t.Errorf("held for ever by nobody: %d, want an error", pid)
	}
	got := make(chan error, 1)
	go func() {
		next, err := acquire(dir, roleServe)
		if err == nil {
			next.release()
		}
		got <- err
	}()
	if err := unix.Flock(int(l.f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("after it was let go: %v", err)
	}
	l.release()
}
