package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"apron"
)

// crash is what is killed by SIGKILL, and when.
type crash struct {
	step   string        // TYPE/STEP of an operation: once its checkpoint is durable
	victim string        // serve, engine, both or shims
	spare  string        // start of the instance's id whose shim lives on
	after  time.Duration // the step; so that the next one is hit
}

func crashFile(data string) string { return filepath.Join(data, "crash") }

// arm has the crash happen, once.
func (h *home) arm(t testing.TB, c crash) {
	t.Helper()
	text := fmt.Sprintf("%s %s %s %s", c.step, c.victim, c.spare, c.after)
	if err := os.WriteFile(crashFile(h.data), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// armed reports whether the crash has yet to happen.
func (h *home) armed() bool {
	_, err := os.Stat(crashFile(h.data))
	return err == nil
}

// crashHook returns the hook of a server that carries out what arm has asked for.
func crashHook(data string) func(apron.Operation, string) {
	return func(op apron.Operation, step string) {
		b, err := os.ReadFile(crashFile(data))
		if err != nil {
			return
		}
		var c crash
		var after string
		if _, err := fmt.Sscan(string(b), &c.step, &c.victim, &c.spare, &after); err != nil || c.step != string(op.Type)+"/"+step {
			return
		}
		if c.after, err = time.ParseDuration(after); err != nil {
			return
		}
		if os.Remove(crashFile(data)) != nil { // the server that resumes the operation must not die of it again
			return
		}
		if c.after == 0 {
			kill(data, c.victim, c.spare)
			return
		}
		time.AfterFunc(c.after, func() { kill(data, c.victim, c.spare) })
	}
}

// kill ends the victims by SIGKILL.
func kill(data, victim, spare string) {
	if victim == "engine" || victim == "both" {
		var pid int
		b, err := os.ReadFile(filepath.Join(data, "run", "engine.lock"))
		if _, scanErr := fmt.Sscan(string(b), &pid); err == nil && scanErr == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if victim == "shims" {
		for pid, id := range shims(data) {
			if !strings.HasPrefix(id, spare) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	if victim == "serve" || victim == "both" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

// shims returns the shims of a data directory, one per instance: its id by the shim's process.
func shims(data string) map[int]string {
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	found := map[int]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		var pid int
		if _, scanErr := fmt.Sscanf(name, "/proc/%d/cmdline", &pid); err == nil && scanErr == nil &&
			strings.Contains(string(b), "containerd-shim") && strings.Contains(string(b), data+"/") {
			_, rest, _ := strings.Cut(string(b), "-id\x00")
			found[pid], _, _ = strings.Cut(rest, "\x00")
		}
	}
	return found
}
