package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"apron"
	"apron/engine"
	"apron/logs"
)

// execProtocol is what the connection of a command is upgraded to: see frameKind.
const execProtocol = "apron-exec"

// commandFrame is what to run, and where.
type commandFrame struct {
	Service  apron.ServiceID
	Instance string // the id or its beginning; empty: any that is ready
	Args     []string
	Env      []string
	TTY      bool
}

// exitFrame is how a command ended, or why it could not run: with a code then, if it could not be started.
type exitFrame struct {
	Code  int
	Error string
}

// serveExec takes the connection over and runs one command.
func (cp *controlPlane) serveExec(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != execProtocol {
		http.Error(w, "the connection must be upgraded to "+execProtocol, http.StatusUpgradeRequired)
		return
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection cannot be upgraded", http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+execProtocol+"\r\n\r\n")
	if err != nil {
		return // the client went away
	}
	out := &frameWriter{w: conn}
	code, err := cp.runCommand(ctx, buffered.Reader, out, peer)
	end := exitFrame{Code: code}
	if err != nil {
		end.Error = userText(err)
		cp.log.Debug("command in an instance failed", "err", err)
	}
	b, err := json.Marshal(end)
	if err != nil {
		return // an integer and a string
	}
	_ = out.write(frameExit, b) // the client went away
}

// userText returns what may be shown of an error.
func userText(err error) string {
	if f, ok := errors.AsType[*apron.Fault](err); ok {
		return f.Msg
	}
	return err.Error()
}

// runCommand reads a command, runs it, and notes in the service's events who ran it.
func (cp *controlPlane) runCommand(ctx context.Context, in *bufio.Reader, out *frameWriter, peer string) (int, error) {
	kind, b, err := readFrame(in)
	if err != nil {
		return 0, fmt.Errorf("read command: %w", err)
	}
	var c commandFrame
	if err := json.Unmarshal(b, &c); kind != frameCommand || err != nil {
		return 0, errors.New("read command: it is not one")
	}
	execer, ok := engine.Engine(cp.engine).(engine.Execer)
	if !ok {
		return 0, apron.Faultf(apron.Invalid, "The engine cannot run commands in instances.")
	}
	id, err := cp.pickInstance(ctx, c.Service, c.Instance)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams := newInput(in, cancel)
	defer streams.stdin.Close()
	cp.audit(c.Service, fmt.Sprintf("%s runs a command in instance %s: %s", peer, id, quoteArgs(c.Args)))
	code, err := execer.Exec(ctx, id, engine.Command{
		Args: c.Args, Env: c.Env, TTY: c.TTY, Stdin: streams.stdin, Resize: streams.resize,
		Stdout: out.stream(frameOutput), Stderr: out.stream(frameErrors),
	})
	if err != nil {
		cp.audit(c.Service, fmt.Sprintf("The command of %s in instance %s did not run to its end: %s", peer, id, userText(err)))
		return code, err
	}
	cp.audit(c.Service, fmt.Sprintf("The command of %s in instance %s ended with exit code %d", peer, id, code))
	return code, nil
}

// audit adds a line to the service's events, which everyone who may see the service reads.
func (cp *controlPlane) audit(service apron.ServiceID, line string) {
	if err := cp.logs.Append(logs.Stream{Service: service, Name: logs.Events}, time.Now(), "[AppRunner] "+line); err != nil {
		cp.log.Error("write service log", "service", service, "err", err)
	}
}

// quoteArgs shows an argument vector so that it can be told where one argument ends.
func quoteArgs(args []string) string {
	quoted := make([]string, 0, len(args))
	for _, a := range args {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"'\$*?;&|<>()`, r) || r == 0x7f }) {
			a = fmt.Sprintf("%q", a)
		}
		quoted = append(quoted, a)
	}
	return strings.Join(quoted, " ")
}

// pickInstance returns the instance of the service whose id begins with prefix; with an empty prefix one
// that is ready, rather of the revision that serves than of another, which is about to leave or to come.
func (cp *controlPlane) pickInstance(ctx context.Context, service apron.ServiceID, prefix string) (apron.InstanceID, error) {
	svc, err := cp.store.Service(ctx, service)
	if err != nil {
		return "", fmt.Errorf("read service: %w", err)
	}
	all, err := instancesOf(ctx, cp.engine, service)
	if err != nil {
		return "", err
	}
	var found []apron.InstanceID
	for _, i := range all {
		switch {
		case !strings.HasPrefix(string(i.ID), prefix) || prefix == "" && i.State != apron.InstanceReady:
		case i.Revision == svc.Active:
			found = slices.Insert(found, 0, i.ID)
		default:
			found = append(found, i.ID)
		}
	}
	switch {
	case len(found) == 0 && prefix == "":
		return "", apron.Faultf(apron.NotFound, "The service has no instance that is ready.")
	case len(found) == 0:
		return "", apron.Faultf(apron.NotFound, "The service has no instance %s.", prefix)
	case len(found) > 1 && prefix != "":
		return "", apron.Faultf(apron.Invalid, "Several instances of the service have ids that begin with %s.", prefix)
	}
	return found[0], nil
}

// instancesOf returns the instances of a service that are there now; "": of all services.
func instancesOf(ctx context.Context, e engine.Engine, service apron.ServiceID) ([]apron.Instance, error) {
	watch, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var all []apron.Instance
	synced := false
	err := e.Watch(watch, func() { synced = true; cancel() }, func(i apron.Instance) {
		if service == "" || i.Service == service {
			all = append(all, i)
		}
	})
	if !synced {
		return nil, fmt.Errorf("ask the engine for its instances: %w", err)
	}
	return all, nil
}

// commandInput is what a client sends to its command.
type commandInput struct {
	stdin  *io.PipeReader
	resize <-chan engine.Size
}

// newInput reads frames until the connection ends, which it tells by gone: nobody waits for the
// command any more. The goroutine ends with the connection.
func newInput(from io.Reader, gone func()) commandInput {
	r, w := io.Pipe()
	sizes := make(chan engine.Size, 1)
	go func() {
		defer gone()
		defer w.Close()
		defer close(sizes)
		for {
			kind, b, err := readFrame(from)
			if err != nil {
				return
			}
			switch {
			case kind == frameInput:
				_, _ = w.Write(b) // a command that has stopped reading misses nothing
			case kind == frameInputEnd:
				_ = w.Close() // never fails
			case kind == frameResize && len(b) == 4:
				size := engine.Size{Columns: binary.BigEndian.Uint16(b), Rows: binary.BigEndian.Uint16(b[2:])}
				select { // only the newest counts
				case <-sizes:
				default:
				}
				sizes <- size
			}
		}
	}()
	return commandInput{stdin: r, resize: sizes}
}

// Command is what to run in an instance.
type Command = engine.Command

// TerminalSize is the size of the terminal of a command.
type TerminalSize = engine.Size

// ExecOptions says where a command is run.
type ExecOptions struct {
	Service  apron.ServiceID
	Instance string // the id or its beginning; empty: any that is ready
}

// Exec runs a command in an instance through the server on this machine and returns its exit code. One
// that could not be started is an error and has a code too, see engine.Execer.
func (l Local) Exec(ctx context.Context, o ExecOptions, c Command) (exitCode int, err error) {
	conn, err := l.dialLocal(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in, err := upgrade(ctx, conn)
	if err != nil {
		return 0, err
	}
	b, err := json.Marshal(commandFrame{Service: o.Service, Instance: o.Instance, Args: c.Args, Env: c.Env, TTY: c.TTY})
	if err != nil {
		return 0, fmt.Errorf("encode command: %w", err)
	}
	out := &frameWriter{w: conn}
	if err := out.write(frameCommand, b); err != nil {
		return 0, err
	}
	go sendInput(out, c.Stdin) // ends with its reader or the connection; nobody can wait for a terminal
	done := make(chan struct{})
	defer close(done)
	go sendSizes(out, c.Resize, done)
	code, err := receive(in, c)
	if err != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return code, err
}

// upgrade turns an HTTP connection into one of frames.
func upgrade(ctx context.Context, conn net.Conn) (*bufio.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://serve/exec", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", execProtocol)
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	return in, nil
}

func sendInput(to *frameWriter, from io.Reader) {
	if from != nil {
		_, _ = io.Copy(to.stream(frameInput), from) // the command sees the end of what came
	}
	_ = to.write(frameInputEnd, nil) // the connection is gone: the reader of answers tells
}

func sendSizes(to *frameWriter, sizes <-chan engine.Size, done <-chan struct{}) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			b := binary.BigEndian.AppendUint16(nil, s.Columns)
			_ = to.write(frameResize, binary.BigEndian.AppendUint16(b, s.Rows)) // the same
		case <-done:
			return
		}
	}
}

// receive passes on what a command writes, until it has ended.
func receive(in io.Reader, c engine.Command) (int, error) {
	for {
		kind, b, err := readFrame(in)
		if err != nil {
			return 0, fmt.Errorf("the server went away while the command ran: %w", err)
		}
		switch {
		case kind == frameOutput && c.Stdout != nil:
			_, err = c.Stdout.Write(b)
		case kind == frameErrors && c.Stderr != nil:
			_, err = c.Stderr.Write(b)
		case kind == frameExit:
			var end exitFrame
			if err := json.Unmarshal(b, &end); err != nil {
				return 0, fmt.Errorf("read exit code: %w", err)
			}
			if end.Error != "" {
				return end.Code, errors.New(end.Error)
			}
			return end.Code, nil
		}
		if err != nil {
			return 0, fmt.Errorf("write output: %w", err)
		}
	}
}
