package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"apron"
	"apron/engine"
)

var _ engine.Execer = (*Driver)(nil)

// execEnd is how long a command that was killed may take to be gone.
const execEnd = 10 * time.Second

// Exec implements engine.Execer.
func (d *Driver) Exec(ctx context.Context, id apron.InstanceID, c engine.Command) (exitCode int, err error) {
	s, err := d.await(ctx)
	if err != nil {
		return 0, err
	}
	if len(c.Args) == 0 {
		return 0, apron.Faultf(apron.Invalid, "There is no command to run.")
	}
	if _, ok := d.roster.Get(id); !ok {
		return 0, notRunning(id)
	}
	p, input, err := s.makeExec(ctx, id, c)
	if err != nil {
		return 0, err
	}
	// What was made is removed whatever became of ctx.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), execEnd)
	defer cancel()
	code, err := runExec(ctx, p, input, c)
	if err != nil {
		for { // the error that matters is the first one
			if _, gone := p.Delete(clean, client.WithProcessKill); !away(gone) || pause(clean, retryEngine) != nil {
				return code, err
			}
		}
	}
	if _, err := p.Delete(clean); err != nil && !errdefs.IsNotFound(err) {
		return 0, fmt.Errorf("remove command: %w", err)
	}
	return code, nil
}

func notRunning(id apron.InstanceID) error {
	return apron.Faultf(apron.NotFound, "The instance %s does not run.", id)
}

// makeExec makes the process of a command; nothing runs yet.
func (s *session) makeExec(ctx context.Context, id apron.InstanceID, c engine.Command) (client.Process, *input, error) {
	t, err := s.task(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if t == nil {
		return nil, nil, notRunning(id)
	}
	container, err := s.client.LoadContainer(ctx, string(id))
	if err != nil {
		return nil, nil, fmt.Errorf("find container: %w", err)
	}
	spec, err := container.Spec(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read runtime spec: %w", err)
	}
	in := &input{from: c.Stdin, ended: make(chan struct{})}
	name := "exec-" + strings.ToLower(rand.Text())
	p, err := t.Exec(ctx, name, execProcess(spec, c), s.streams(in, c))
	if err != nil {
		_, err = execError(id, err)
		return nil, nil, err
	}
	return p, in, nil
}

// execProcess is the application's process with another command.
func execProcess(s *specs.Spec, c engine.Command) *specs.Process {
	p := *s.Process
	p.Args, p.Terminal = c.Args, c.TTY
	p.Env = append(append([]string{}, p.Env...), c.Env...)
	return &p
}

// fifoDir is where the pipes of commands are.
func fifoDir(dir string) string { return filepath.Join(runDir(dir), "fifo") }

// endCommands ends the commands that an earlier driver was running in an instance when it was killed: whoever
// waited for them has been told that they are lost, and they would wait for input for as long as the instance
// lives. It asks a shim only if pipes of a command are left: with many instances that takes its time, and
// those that serve wait for it.
func (s *session) endCommands(ctx context.Context, t client.Task) error {
	if left, err := os.ReadDir(fifoDir(s.cfg.Dir)); err == nil && len(left) == 0 || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	processes, err := t.Pids(ctx)
	if err != nil {
		return fmt.Errorf("list commands: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, execEnd)
	defer cancel()
	var errs []error
	for _, process := range processes {
		var details options.ProcessDetails
		if process.Info == nil || typeurl.UnmarshalTo(process.Info, &details) != nil || details.ExecID == "" {
			continue // the application's
		}
		if err := endCommand(ctx, t, details.ExecID); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("end command: %w", err))
		}
	}
	return errors.Join(errs...)
}

// endCommand is client.WithProcessKill for what another client made: that leaves alone a process whose number it
// does not know.
func endCommand(ctx context.Context, t client.Task, id string) error {
	p, err := t.LoadProcess(ctx, id, nil)
	if err != nil {
		return err
	}
	ended, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if err := p.Kill(ctx, unix.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	<-ended // also when ctx is done
	_, err = p.Delete(ctx)
	return err
}

// streams connects a command's streams through pipes in a directory that a reboot empties.
func (s *session) streams(in *input, c engine.Command) cio.Creator {
	out, errs := c.Stdout, c.Stderr
	if out == nil {
		out = io.Discard
	}
	if errs == nil {
		errs = io.Discard
	}
	opts := []cio.Opt{cio.WithStreams(in, out, errs), cio.WithFIFODir(fifoDir(s.cfg.Dir))}
	if c.TTY {
		opts = append(opts, cio.WithTerminal)
	}
	return cio.NewCreator(opts...)
}

// runExec starts a command and waits until it has ended.
func runExec(ctx context.Context, p client.Process, in *input, c engine.Command) (int, error) {
	ended, err := p.Wait(context.WithoutCancel(ctx))
	if err != nil {
		return 0, fmt.Errorf("wait for command: %w", err)
	}
	if err := p.Start(ctx); err != nil {
		return execError("", err)
	}
	resize := c.Resize
	if !c.TTY {
		resize = nil
	}
	inputEnded := in.ended
	for {
		select {
		case status := <-ended:
			if err := status.Error(); err != nil {
				return 0, fmt.Errorf("wait for command: %w", err)
			}
			p.IO().Wait()
			return int(status.ExitCode()), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-inputEnded:
			inputEnded = nil
			_ = p.CloseIO(ctx, client.WithStdinCloser) // it may have ended meanwhile
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			_ = p.Resize(ctx, uint32(size.Columns), uint32(size.Rows)) // the same
		}
	}
}

// The exit codes of commands that do not come to run.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// execError makes what the runtime says about a command fit for the user.
func execError(id apron.InstanceID, err error) (exitCode int, _ error) {
	switch {
	case errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err):
		return 0, errors.Join(notRunning(id), err)
	case errdefs.IsUnavailable(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return 0, fmt.Errorf("start command: %w", err)
	}
	why := startReason(err)
	exitCode = exitNotExecutable
	if strings.Contains(why, "executable file not found") || strings.Contains(why, "no such file or directory") {
		exitCode = exitNotFound
	}
	return exitCode, apron.Faultf(apron.Invalid, "The command could not be started: %s", why)
}

// input tells when a reader has come to its end, which the pipe behind it cannot tell a process.
type input struct {
	from  io.Reader // nil: empty
	ended chan struct{}
	done  bool
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (n int, err error) {
	err = io.EOF
	if i.from != nil {
		n, err = i.from.Read(p)
	}
	if err != nil && !i.done {
		i.done = true
		close(i.ended)
	}
	return n, err
}
