package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The roles a data directory has, one process each. Their names are also the commands that play
// them.
const (
	roleServe  = "serve"
	roleRouter = "router"
	roleEngine = "engine"
)

// child is one of the other two processes: found when it serves its socket, started otherwise. It
// has a session of its own and no parent-death signal, so it outlives this process whatever
// happens to it.
type child struct {
	role   string
	data   string
	socket string          // it serves this socket once it is ready
	args   func() []string // of the command that plays the role, asked at each start
	// succeed are the further arguments with which the command takes over from a process that plays
	// the role already; nil: it cannot.
	succeed []string
	log     *slog.Logger
}

// keep makes sure that the role is played until ctx is done: found or started, and started again
// when it dies. It calls up each time it is there. When it cannot be had the first time, because a
// port is taken for one, the server cannot do its work: that is the error.
func (c *child) keep(ctx context.Context, up func()) error {
	const first = 100 * time.Millisecond
	backoff, was := first, false
	for {
		p, err := c.ensure(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !was {
			return err
		}
		was = true
		if err == nil {
			backoff = first
			up()
			err = p.wait(ctx)
			p.close()
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		c.log.Error("a part of the server is down", "role", c.role, "err", err)
		retry := time.NewTimer(backoff)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return ctx.Err()
		}
		backoff = min(2*backoff, 5*time.Second)
	}
}

// ensure returns a handle on the process that plays the role, which serves its socket.
func (c *child) ensure(ctx context.Context) (*process, error) {
	pid, err := holder(c.data, c.role)
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return c.start(ctx)
	}
	p, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	if err := c.awaitSocket(ctx); err != nil {
		p.close()
		return nil, fmt.Errorf("process %d holds the role %s but does not serve: %w", pid, c.role, err)
	}
	if c.succeed != nil && !sameProgram(pid) {
		if next := c.replace(ctx, pid); next != nil {
			p.close()
			return next, nil
		}
	}
	c.log.Info("found", "role", c.role, "pid", pid)
	return p, nil
}

// replace starts a process that takes over from the one found, which is of another release. It
// returns nil when that fails: the old one goes on then.
func (c *child) replace(ctx context.Context, pid int) *process {
	next, err := spawn(ctx, c.data, c.role, append(c.args(), c.succeed...))
	if err != nil {
		c.log.Error("replace a process of another release", "role", c.role, "pid", pid, "err", err)
		return nil
	}
	c.log.Info("replaced a process of another release", "role", c.role, "pid", pid, "by", next.pid)
	return next
}

// sameProgram reports whether a process runs the same executable file as this one. An upgrade puts
// another file in the place of the old one, which goes on existing for whoever runs it. A process
// that cannot be looked at counts as the same.
func sameProgram(pid int) bool {
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return true
	}
	ours, err := os.Stat("/proc/self/exe")
	return err != nil || os.SameFile(theirs, ours)
}

// awaitSocket dials until somebody answers: for a process that somebody else has just started, the
// only sign there is.
func (c *child) awaitSocket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", c.socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// start starts the process and returns when it says that it is ready.
func (c *child) start(ctx context.Context) (*process, error) {
	p, err := spawn(ctx, c.data, c.role, c.args())
	if err != nil {
		return nil, err
	}
	c.log.Info("started", "role", c.role, "pid", p.pid)
	return p, nil
}

// spawn starts this same binary in another role, detached from this process, with its output in
// the data directory's log folder. It returns when the new process is ready.
func spawn(ctx context.Context, data, role string, args []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(data, "log"), 0o700); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	logName := filepath.Join(data, "log", role+".log")
	logFile, err := os.OpenFile(logName, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	defer logFile.Close()
	before, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find the end of the log file: %w", err)
	}
	ready, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer ready.Close()
	// The process must outlive ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, append([]string{role}, args...)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", readyEnv, readyFD))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close() // the new process has its own; with this one open its death would go unnoticed
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p, err := openProcess(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	if err := awaitReady(ctx, ready); err != nil {
		_ = p.signal(syscall.SIGTERM)
		p.close()
		return nil, fmt.Errorf("start %s: %w; %s ends with:\n%s", role, err, logName, lastLines(logFile, before))
	}
	return p, nil
}

// Bounds of what is quoted from a log file.
const (
	quotedBytes = 4 << 10
	quotedLines = 5
)

// lastLines returns the last lines written to a log file after the offset.
func lastLines(f *os.File, after int64) string {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	from := max(after, end-quotedBytes)
	b := make([]byte, end-from)
	n, _ := f.ReadAt(b, from) // what can be read is better than nothing
	lines := strings.Split(strings.TrimSpace(string(b[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-quotedLines):], "\n")
}
