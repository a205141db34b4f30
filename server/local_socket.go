package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// localSocket is where a running server answers commands on the same machine that need more than the
// store: whoever may open the data directory may use it.
func localSocket(data string) string { return filepath.Join(data, "run", "serve.sock") }

// peerKey is the key of a connection's peer in a request's context.
type peerKey struct{}

// serveLocal answers on the local socket until ctx is done and every command has ended. A server
// without it, because the data directory's path is too long for one, goes on.
func (cp *controlPlane) serveLocal(ctx context.Context) error {
	path := localSocket(cp.cfg.Data)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		cp.log.Warn("commands on this machine cannot reach the server", "err", err)
		<-ctx.Done()
		return ctx.Err()
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("protect socket: %w", err), l.Close())
	}
	var commands sync.WaitGroup // whose connections are no longer the HTTP server's
	defer commands.Wait()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", cp.serveStatus)
	mux.HandleFunc("GET /logs", func(w http.ResponseWriter, r *http.Request) { cp.serveLogs(ctx, w, r) })
	mux.HandleFunc("POST /exec", func(w http.ResponseWriter, r *http.Request) {
		commands.Add(1)
		defer commands.Done()
		cp.serveExec(ctx, w, r)
	})
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(cp.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(c))
		},
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { // every request ends with ctx, or is short
		soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopped <- srv.Shutdown(soft)
	})
	err = srv.Serve(l)
	if stop() {
		return fmt.Errorf("serve the local socket: %w", err)
	}
	if err := <-stopped; err != nil {
		return errors.Join(err, srv.Close())
	}
	return ctx.Err()
}

// peerOf returns the name of the user at the other end of a unix socket (unix(7), SO_PEERCRED).
func peerOf(c net.Conn) string {
	const nobody = "unknown"
	sock, ok := c.(*net.UnixConn)
	if !ok {
		return nobody
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return nobody
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return nobody
	}
	id := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// dialLocal connects to the running server's local socket.
func (l Local) dialLocal(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", localSocket(l.Data))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("no server runs with the data directory %s", l.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the server: %w", err)
	}
	return conn, nil
}

// getLocal asks the running server for path. The caller closes the answer's body.
func (l Local) getLocal(ctx context.Context, path string) (*http.Response, error) {
	cl := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dialLocal(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://serve"+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := cl.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("ask the server: it answers %s", resp.Status), resp.Body.Close())
	}
	return resp, nil
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client went away
}
