package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// startPatience is how long a process that was made may take to begin.
const startPatience = 10 * time.Second

// monitor starts and watches runc's processes as the one within does, but for one that is not needed:
// all that "runc start" does is to open the pipe at whose other end the made process waits (runc,
// libcontainer, Container.Exec), and just loading runc takes longer than the rest of a start.
type monitor struct{ runc.ProcessMonitor }

// StartLocked implements runc.ProcessMonitor.
func (m monitor) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) {
	w, ok := waitingFor(cmd.Args)
	if !ok {
		return m.ProcessMonitor.StartLocked(cmd)
	}
	ended := make(chan runc.Exit, 1)
	status := 0
	if err := w.release(startPatience); err != nil {
		status = 1
		if cmd.Stderr != nil {
			_, _ = fmt.Fprint(cmd.Stderr, err) // as runc says what was wrong
		}
	}
	ended <- runc.Exit{Timestamp: time.Now(), Status: status}
	close(ended)
	return ended, nil
}

// Wait implements runc.ProcessMonitor.
func (m monitor) Wait(cmd *exec.Cmd, ended chan runc.Exit) (int, error) {
	if cmd.Process != nil {
		return m.ProcessMonitor.Wait(cmd, ended)
	}
	return (<-ended).Status, nil
}

// waiting is a process that was made and is not yet what it is to be.
type waiting struct {
	pipe    string // it writes to this before it goes on
	pidFile string
}

// waitingFor returns what a call of runc is to start; ok is false if that is not what the call is for,
// or no process waits in the way of runc.
func waitingFor(argv []string) (w waiting, ok bool) {
	var root, log string
	for at := 1; at+1 < len(argv); at++ {
		switch argv[at] {
		case "--root":
			root = argv[at+1]
		case "--log":
			log = argv[at+1]
		}
	}
	if len(argv) < 3 || argv[len(argv)-2] != "start" || root == "" || log == "" {
		return waiting{}, false
	}
	w = waiting{
		pipe:    filepath.Join(root, argv[len(argv)-1], "exec.fifo"),
		pidFile: filepath.Join(filepath.Dir(log), "init.pid"), // the log is in the bundle
	}
	_, err := os.Lstat(w.pipe)
	return w, err == nil
}

// errEnded is why a process cannot be started.
var errEnded = errors.New("container process is already dead")

// release lets the process go on, and returns when it has.
func (w waiting) release(patience time.Duration) error {
	b, err := os.ReadFile(w.pidFile)
	if err != nil {
		return fmt.Errorf("read process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("read process id: %w", err)
	}
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return errEnded
	}
	if err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(process) }()
	// Not blocking, so that its end is noticed should it never come to write.
	pipe, err := unix.Open(w.pipe, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open pipe of process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pipe) }()
	if err := awaitWord(pipe, process, time.Now().Add(patience)); err != nil {
		return err
	}
	// That it is gone is how runc tells a running process from a waiting one.
	if err := os.Remove(w.pipe); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pipe of process %d: %w", pid, err)
	}
	return nil
}

// awaitWord waits until the process has written to the pipe and closed it, which it does when it goes
// on.
func awaitWord(pipe, process int, deadline time.Time) error {
	written := false
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("container process does not go on")
		}
		fds := []unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}, {Fd: int32(process), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for container process: %w", err)
		}
		if fds[0].Revents == 0 && fds[1].Revents == 0 {
			continue
		}
		n, err := unix.Read(pipe, make([]byte, 16))
		switch {
		case err == nil && n > 0:
			written = true
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN): // not closed: it lives, or it died and others have it open
			if fds[1].Revents != 0 && !written {
				return errEnded
			}
			if fds[1].Revents != 0 {
				return nil
			}
		case err != nil:
			return fmt.Errorf("read pipe of container process: %w", err)
		case written: // the end, and after the word
			return nil
		default:
			return errEnded
		}
	}
}
