package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// made makes what runc leaves of a process that waits, which runs the script with the pipe's path as $1.
func made(t *testing.T, script string) (start *exec.Cmd, pipe string, process *exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	root, bundle := filepath.Join(dir, "root"), filepath.Join(dir, "bundle")
	for _, d := range []string{filepath.Join(root, "id"), bundle} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	pipe = filepath.Join(root, "id", "exec.fifo")
	if err := unix.Mkfifo(pipe, 0o622); err != nil {
		t.Fatal(err)
	}
	process = exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "sh", pipe)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	if err := os.WriteFile(filepath.Join(bundle, "init.pid"), []byte(strconv.Itoa(process.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	start = exec.CommandContext(t.Context(), "/nope/runc", "--root", root, "--log", filepath.Join(bundle, "log.json"), "--log-format", "json", "start", "id")
	return start, pipe, process
}

// call has cmd run as go-runc does.
func call(t *testing.T, cmd *exec.Cmd) (status int, said string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	m := monitor{runc.Monitor}
	ended, err := m.StartLocked(cmd)
	if err != nil {
		return 0, "", err
	}
	status, err = m.Wait(cmd, ended)
	return status, out.String(), err
}

func TestStartWithoutRunc(t *testing.T) {
	cmd, pipe, process := made(t, `echo -n 0 >"$1"; exec sleep 60`)
	if status, said, err := call(t, cmd); status != 0 || said != "" || err != nil {
		t.Fatalf("status %d, %q, %v", status, said, err)
	}
	if _, err := os.Lstat(pipe); !os.IsNotExist(err) {
		t.Errorf("the pipe is left: %v", err)
	}
	if err := process.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the process does not run: %v", err)
	}
}

// A process that began and has ended since has been started.
func TestStartOfShortProcess(t *testing.T) {
	cmd, _, _ := made(t, `echo -n 0 >"$1"`)
	if status, said, err := call(t, cmd); status != 0 || err != nil {
		t.Errorf("status %d, %q, %v", status, said, err)
	}
}

func TestStartOfDeadProcess(t *testing.T) {
	cmd, pipe, process := made(t, "exit 1")
	if err := unix.Waitid(unix.P_PID, process.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if status, said, err := call(t, cmd); status == 0 || !strings.Contains(said, "already dead") || err != nil {
		t.Errorf("status %d, %q, %v", status, said, err)
	}
	if _, err := os.Lstat(pipe); err != nil {
		t.Errorf("the pipe of a process that was not started: %v", err)
	}
	// Nor does one that dies while it is waited for keep anybody waiting.
	cmd, _, process = made(t, "exec sleep 60")
	time.AfterFunc(50*time.Millisecond, func() { _ = process.Process.Kill() })
	if status, said, err := call(t, cmd); status == 0 || !strings.Contains(said, "already dead") || err != nil {
		t.Errorf("killed meanwhile: status %d, %q, %v", status, said, err)
	}
}

func TestStartPatience(t *testing.T) {
	cmd, _, _ := made(t, "exec sleep 60")
	w, ok := waitingFor(cmd.Args)
	if !ok {
		t.Fatal("no process waits")
	}
	if err := w.release(20 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "does not go on") {
		t.Errorf("a process that does not go on: %v", err)
	}
}

// Everything else is runc's.
func TestOtherCalls(t *testing.T) {
	cmd, pipe, _ := made(t, "exec sleep 60")
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	if _, _, err := call(t, cmd); err == nil {
		t.Error("runc was not started for a process that does not wait")
	}
	status, said, err := call(t, exec.CommandContext(t.Context(), "/bin/sh", "-c", "echo hello; exit 3"))
	if status != 3 || said != "hello\n" || err != nil {
		t.Errorf("another program: status %d, %q, %v", status, said, err)
	}
}
