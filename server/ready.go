package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// A process that another one starts tells it on a pipe how far it is: a line for each step of its
// start, which says how long the next one may take, and an empty line when it is ready. So a process
// that hangs is noticed soon, however long the whole start takes on a slow machine, or with many
// instances to find again.
const (
	readyEnv = "APRON_READY_FD" // has the number of the descriptor; unset: nobody wants to know
	readyFD  = 3
)

// stepPatience is how long a process may take for a step of its start that does not say how long it
// takes, and one that was found running to serve its socket. A machine that compiles on all its cores
// is slow.
const stepPatience = 30 * time.Second

// awaitReady reads what a started process says until it is ready; end of file means that it died
// before. Each step is also one of this process's own start, if that goes on.
func awaitReady(ctx context.Context, ready *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	said := bufio.NewReader(io.LimitReader(ready, 64<<10))
	for patience := stepPatience; ; {
		if err := ready.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		if err := ctx.Err(); err != nil { // its deadline may have been the one before
			return fmt.Errorf("was not ready: %w", err)
		}
		line, err := said.ReadString('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			return fmt.Errorf("was not ready in time: nothing happened for %s", patience)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("was not ready: %w", ctx.Err())
		case err != nil:
			return errors.New("ended before it was ready")
		case line == "\n":
			return nil
		}
		if patience, err = time.ParseDuration(line[:len(line)-1]); err != nil {
			return fmt.Errorf("said how far it is in another way: %w", err)
		}
		sayStep(patience)
	}
}

// sayStep tells the process that started this one, if any, that a step of the start is done, and how
// long the next one may take.
func sayStep(next time.Duration) { tellStarter(next.String()) }

// sayReady tells the process that started this one, if any, that it is ready.
func sayReady() {
	tellStarter("")
	_ = os.Unsetenv(readyEnv)
}

// tellStarter leaves the pipe open: a line that comes late must not end up in the file that got its
// number.
func tellStarter(line string) {
	if os.Getenv(readyEnv) == "" {
		return
	}
	syscall.CloseOnExec(readyFD)
	_, _ = syscall.Write(readyFD, []byte(line+"\n")) // nobody listening is no reason to stop
}
