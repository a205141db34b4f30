package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/containerd/console"

	"apron"
	"apron/server"
)

type execCommand struct {
	Name     string   `arg:"" help:"Name of the service."`
	Command  []string `arg:"" help:"Command and its arguments, after --."`
	Instance string   `placeholder:"ID" help:"Instance to run it in: the id or its beginning. Default: any that is ready."`
	TTY      *bool    `name:"tty" negatable:"" help:"Give the command a terminal. Default: if this one is."`
}

// exitError is the error of a command that ended with another code than 0: it becomes ours.
type exitError struct {
	code int
	err  error // why it did not start; nil: it did, and has said what there is to say
}

// Error implements error.
func (e exitError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("the command ended with exit code %d", e.code)
}

// Unwrap is for package errors.
func (e exitError) Unwrap() error { return e.err }

// Run runs the command and ends with its exit code.
func (e *execCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	svc, err := findService(ctx, newClient(local), e.Name)
	if err != nil {
		return err
	}
	if svc == nil {
		return fmt.Errorf("there is no service %s", e.Name)
	}
	o := server.ExecOptions{Service: apron.ServiceID(aws.ToString(svc.ServiceId)), Instance: e.Instance}
	c := server.Command{Args: e.Command, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	terminal, err := console.ConsoleFromFile(os.Stdin)
	if e.TTY == nil {
		c.TTY = err == nil
	} else {
		c.TTY = *e.TTY
	}
	if c.TTY && err == nil {
		restore, err := share(ctx, terminal, &c)
		if err != nil {
			return err
		}
		defer restore()
	}
	code, err := local.Exec(ctx, o, c)
	if code != 0 {
		return exitError{code, err}
	}
	return err
}

// share lets the command have this terminal until restore: every key goes to it, and it learns of
// every new size.
func share(ctx context.Context, terminal console.Console, c *server.Command) (restore func(), err error) {
	if term := os.Getenv("TERM"); term != "" {
		c.Env = append(c.Env, "TERM="+term)
	}
	if err := terminal.SetRaw(); err != nil {
		return nil, fmt.Errorf("use the terminal: %w", err)
	}
	sizes := make(chan server.TerminalSize)
	c.Resize = sizes
	changed := make(chan os.Signal, 1)
	changed <- syscall.SIGWINCH // the size it has now
	signal.Notify(changed, syscall.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tellSizes(ctx, terminal, changed, sizes)
	}()
	return func() {
		cancel()
		<-done
		signal.Stop(changed)
		_ = terminal.Reset() // nothing can be done about a terminal that is gone
	}, nil
}

func tellSizes(ctx context.Context, terminal console.Console, changed <-chan os.Signal, sizes chan<- server.TerminalSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		size, err := terminal.Size()
		if err != nil {
			continue
		}
		select {
		case sizes <- server.TerminalSize{Columns: size.Width, Rows: size.Height}:
		case <-ctx.Done():
			return
		}
	}
}
