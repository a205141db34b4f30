package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A new router takes the public listeners over from the one that runs: it connects to the latter's
// heir socket and says so. The old one ends its stream to the control plane, gives up its locks and
// sends the listeners' descriptors. Once the new one serves, it says so as well; the old one then
// accepts nothing more, lets its requests end, and follows the new one over the same connection as
// it did the control plane (elder.go). Connections that come in between wait in the kernel's queue,
// which belongs to the listener and not to a process.

const (
	heirHello  = "apron: take over 1\n" // the first thing an heir says
	heirServes = "serves\n"             // the second
	heirLimit  = 10 * time.Second       // for each of them, and for the answer
)

// heirPath returns where the router with data directory dir waits for its successor.
func heirPath(dir string) string { return filepath.Join(dir, "run", "router-heir.sock") }

// office is what makes a process the router of a data directory: its locks and sockets.
type office struct {
	cfg       Config
	stateDir  string
	addresses Addresses
	unlock    []func()
	control   net.Listener // of the control plane
	heirs     net.Listener
}

// take makes this process the router.
func (o *office) take(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			o.leave()
		}
	}()
	locks := []func() (func(), error){func() (func(), error) { return lock(filepath.Join(o.stateDir, "lock")) }}
	if o.cfg.Hold != nil {
		locks = append(locks, o.cfg.Hold)
	}
	for _, hold := range locks {
		unlock, err := hold()
		if err != nil {
			return err
		}
		o.unlock = append(o.unlock, unlock)
	}
	if o.control, err = listenSocket(ctx, o.cfg.Socket); err != nil {
		return err
	}
	o.heirs, err = listenSocket(ctx, heirPath(o.cfg.Dir))
	return err
}

// leave gives all of it up. It may be called again.
func (o *office) leave() {
	for _, ln := range []net.Listener{o.control, o.heirs} {
		if ln != nil {
			_ = ln.Close() // it is closed already where the control plane was served
		}
	}
	if len(o.unlock) > 0 {
		_ = os.Remove(AddressFile(o.cfg.Dir)) // whoever finds it left over tries the socket
	}
	for _, unlock := range o.unlock {
		unlock()
	}
	o.control, o.heirs, o.unlock = nil, nil, nil
}

// hold follows control planes until ctx is done or an heir has taken over, and then calls replaced.
func (o *office) hold(ctx context.Context, c *control, public listeners, replaced func()) error {
	for ctx.Err() == nil {
		heir, err := o.serve(ctx, c)
		if heir == nil {
			return err
		}
		o.leave()
		if err = public.handOver(heir); err == nil {
			o.cfg.Log.Info("another router has taken over")
			c.retired.Store(true)
			replaced()
			c.attend(ctx, heir) // it is this router's control plane from here on
			return nil
		}
		_ = heir.Close() // all that was to be said has been
		o.cfg.Log.Error("hand the listeners over", "err", err)
		if err := o.resume(ctx); err != nil {
			return err
		}
	}
	return nil
}

// resume makes this process the router again after a successor has failed.
func (o *office) resume(ctx context.Context) error {
	if err := errors.Join(o.take(ctx), announce(o.cfg, o.addresses)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("go on after a successor failed: %w", err)
	}
	return nil
}

// serve follows control planes until ctx is done or an heir has introduced itself, whom it returns.
func (o *office) serve(ctx context.Context, c *control) (heir *net.UnixConn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed, planes, heirs := make(chan error, 1), o.control, o.heirs
	go func() { followed <- c.serve(ctx, planes) }()
	stop := context.AfterFunc(ctx, func() { _ = heirs.Close() })
	defer stop()
	for {
		conn, closed := heirs.Accept()
		if closed != nil {
			cancel()
			return nil, <-followed
		}
		heir := conn.(*net.UnixConn)
		if err := expect(heir, heirHello); err != nil {
			o.cfg.Log.Warn("successor refused", "err", err)
			_ = heir.Close()
			continue
		}
		cancel()
		return heir, <-followed
	}
}

// expect reads exactly text.
func expect(c net.Conn, text string) error {
	if err := c.SetReadDeadline(time.Now().Add(heirLimit)); err != nil {
		return err
	}
	b := make([]byte, len(text))
	for n := 0; n < len(b); {
		k, err := c.Read(b[n:])
		if err != nil {
			return fmt.Errorf("wait for %q: %w", text, err)
		}
		n += k
	}
	if string(b) != text {
		return fmt.Errorf("wait for %q: got %q", text, b)
	}
	return nil
}

// inheritance is sent along with the descriptors and says which of them are which.
type inheritance struct{ HTTP, HTTPS bool }

// handOver sends the listeners to an heir and returns when it serves.
func (l listeners) handOver(heir *net.UnixConn) error {
	what, err := json.Marshal(inheritance{HTTP: l.http != nil, HTTPS: l.https != nil})
	if err != nil {
		return fmt.Errorf("encode what is handed over: %w", err)
	}
	if err := heir.SetWriteDeadline(time.Now().Add(heirLimit)); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	err = withFDs([]net.Listener{l.http, l.https}, nil, func(fds []int) error {
		_, _, err := heir.WriteMsgUnix(what, unix.UnixRights(fds...), nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("send the listeners: %w", err)
	}
	return expect(heir, heirServes)
}

// withFDs calls fn with the descriptors of the listeners, which stay open meanwhile.
func withFDs(list []net.Listener, fds []int, fn func(fds []int) error) error {
	if len(list) == 0 {
		return fn(fds)
	}
	if list[0] == nil {
		return withFDs(list[1:], fds, fn)
	}
	raw, err := list[0].(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	inner := raw.Control(func(fd uintptr) { err = withFDs(list[1:], append(fds, int(fd)), fn) })
	return errors.Join(inner, err)
}

// inherit asks the router that runs for its listeners. old is the connection to it, on which to say
// that they are served; it is nil when no router runs.
func inherit(ctx context.Context, cfg Config) (l listeners, old *net.UnixConn, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", heirPath(cfg.Dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return listeners{}, nil, nil
	}
	if err != nil {
		return listeners{}, nil, fmt.Errorf("reach the router that runs: %w", err)
	}
	old = conn.(*net.UnixConn)
	defer func() {
		if err != nil {
			l.close()
			err = errors.Join(fmt.Errorf("take over: %w", err), old.Close())
		}
	}()
	if err := old.SetDeadline(time.Now().Add(heirLimit)); err != nil {
		return l, nil, err
	}
	if _, err := old.Write([]byte(heirHello)); err != nil {
		return l, nil, err
	}
	what, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(2*4))
	n, oobn, _, _, err := old.ReadMsgUnix(what, oob)
	if err != nil {
		return l, nil, err
	}
	var in inheritance
	if err := json.Unmarshal(what[:n], &in); err != nil {
		return l, nil, err
	}
	l, err = in.listeners(oob[:oobn])
	return l, old, err
}

// listeners turns descriptors that were received into listeners.
func (in inheritance) listeners(oob []byte) (l listeners, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return l, err
	}
	var fds []int
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return l, err
		}
		fds = append(fds, got...)
	}
	for _, x := range []struct {
		sent bool
		to   *net.Listener
	}{{in.HTTP, &l.http}, {in.HTTPS, &l.https}} {
		if !x.sent {
			continue
		}
		if len(fds) == 0 {
			return l, errors.New("a listener is missing")
		}
		f := os.NewFile(uintptr(fds[0]), "listener")
		fds = fds[1:]
		*x.to, err = net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil { // FileListener has one of its own
			return l, err
		}
	}
	return l, nil
}
