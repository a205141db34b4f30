package containerd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

	"apron"
	"apron/engine"
	"apron/engine/enginetest"
)

func TestExec(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	t.Run("streams", func(t *testing.T) {
		big := strings.Repeat("0123456789abcdef", 64<<10)
		var out, errs bytes.Buffer
		code, err := r.driver.Exec(t.Context(), i.ID, engine.Command{
			Args: []string{"/app", "copy", "to", "stderr"}, Env: []string{"GREETING=!"}, Stdin: strings.NewReader(big), Stdout: &out, Stderr: &errs,
		})
		if code != 5 || err != nil || out.String() != big || errs.String() != "to stderr!" {
			t.Errorf("exit code %d, %v, %d bytes of output, errors %q", code, err, out.Len(), errs.String())
		}
	})
	t.Run("no streams", func(t *testing.T) {
		if code, err := r.driver.Exec(t.Context(), i.ID, engine.Command{Args: []string{"/app", "copy"}}); code != 5 || err != nil {
			t.Errorf("exit code %d, %v", code, err)
		}
	})
	t.Run("terminal", func(t *testing.T) { testExecTerminal(t, r, i.ID) })
	t.Run("killed", func(t *testing.T) { testExecKilled(t, r, i.ID) })
	for name, row := range map[string]struct {
		id   apron.InstanceID
		args []string
		code int
		kind apron.FaultKind
	}{
		"no such program":         {i.ID, []string{"/nope"}, 127, apron.Invalid},
		"no such program in PATH": {i.ID, []string{"nope"}, 127, apron.Invalid},
		"a directory":             {i.ID, []string{"/etc"}, 126, apron.Invalid},
		"not executable":          {i.ID, []string{"/etc/hosts"}, 126, apron.Invalid},
		"no command":              {i.ID, nil, 0, apron.Invalid},
		"no such instance":        {"ffffffffffffffffffffffffffffffff", []string{"/app"}, 0, apron.NotFound},
	} {
		code, err := r.driver.Exec(t.Context(), row.id, engine.Command{Args: row.args})
		if code != row.code || apron.KindOf(err) != row.kind {
			t.Errorf("%s: exit code %d, %v (kind %v), want %d", name, code, err, apron.KindOf(err), row.code)
		}
		t.Logf("%s: %v", name, err)
	}
	mustGet(t, i, "/") // none of it bothered the application
	if left, err := filepath.Glob("/run/" + r.bridge(t) + "/fifo/*"); err != nil || len(left) != 0 {
		t.Errorf("pipes are left: %q, %v", left, err)
	}
	r.noneLeft(t, w, spec.Revision)
}

// testExecTerminal has a conversation: sizes come back as the program sees them.
func testExecTerminal(t *testing.T, r *rig, id apron.InstanceID) {
	in, toIn := io.Pipe()
	fromOut, out := io.Pipe()
	sizes := make(chan engine.Size, 1)
	sizes <- engine.Size{Columns: 100, Rows: 40}
	done := make(chan error, 1)
	go func() {
		code, err := r.driver.Exec(t.Context(), id, engine.Command{
			Args: []string{"/app", "terminal"}, TTY: true, Resize: sizes, Stdin: in, Stdout: out,
		})
		if code != 0 {
			err = errors.Join(err, errors.New("exit code is not 0"))
		}
		out.Close()
		done <- err
	}()
	lines := bufio.NewScanner(fromOut)
	expect := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.TrimSpace(lines.Text()) == want {
				return
			}
		}
		t.Fatalf("the terminal ended without saying %q", want)
	}
	expect("100x40")
	sizes <- engine.Size{Columns: 80, Rows: 25}
	expect("80x25")
	if _, err := io.WriteString(toIn, "exit\n"); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // the echo
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	in.Close()
}

// testExecKilled ends the caller while a command runs.
func testExecKilled(t *testing.T, r *rig, id apron.InstanceID) {
	ctx, cancel := context.WithCancel(t.Context())
	in, toIn := io.Pipe()
	defer in.Close()
	started := make(chan struct{})
	go func() {
		_, _ = io.WriteString(toIn, "x")
		close(started)
	}()
	done := make(chan error, 1)
	go func() {
		_, err := r.driver.Exec(ctx, id, engine.Command{Args: []string{"/app", "copy"}, Stdin: in})
		done <- err
	}()
	<-started
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Exec ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Exec did not end with its context")
	}
}

// TestCommandsEndWithTheirDriver leaves what a driver leaves that is killed while a command runs: the command,
// which waits for input, and its pipes.
func TestCommandsEndWithTheirDriver(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	i := runOne(t, r.driver, w, enginetest.SpecOf(r.serveImage(t)))
	c, err := r.client(t).LoadContainer(t.Context(), string(i.ID))
	if err != nil {
		t.Fatal(err)
	}
	task, err := c.Task(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := c.Spec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	command := *spec.Process
	command.Args = []string{"/app", "copy"}
	input, end := io.Pipe()
	defer end.Close()
	pipes := filepath.Join("/run", r.bridge(t), "fifo")
	p, err := task.Exec(t.Context(), "exec-left", &command, cio.NewCreator(cio.WithStreams(input, io.Discard, io.Discard), cio.WithFIFODir(pipes)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.IO().Cancel()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	if again := w.Ready(t, i.Revision, 1)[0]; again.ID != i.ID || again.Restarts != 0 {
		t.Errorf("the instance reads %+v, was %+v", again, i)
	}
	if status, err := p.Status(t.Context()); !errdefs.IsNotFound(err) {
		t.Errorf("the command is %v, %v", status, err)
	}
	if left, err := os.ReadDir(pipes); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pipes of commands are left: %v, %v", left, err)
	}
	r.noneLeft(t, w, i.Revision)
}
