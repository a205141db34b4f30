package registry

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener accepts the one connection it is given.
type pipeListener struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serve runs h behind a connection in memory and returns the client's end.
func serve(t *testing.T, h http.HandlerFunc) net.Conn {
	client, server := net.Pipe()
	l := &pipeListener{make(chan net.Conn, 1), make(chan struct{})}
	l.conn <- server
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { client.Close(); srv.Close(); synctest.Wait() })
	return client
}

func TestSlowUploadFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got string
		conn := serve(t, func(w http.ResponseWriter, req *http.Request) {
			x := newExchange(w, req)
			b, err := io.ReadAll(x.body(req.Body, func() error { return nil }))
			if err != nil || x.broken != nil {
				t.Errorf("got %v, %v", err, x.broken)
			}
			got = string(b)
			time.Sleep(2 * stallTimeout) // fake time: work after the body must not look like a lost client
			if err := req.Context().Err(); err != nil {
				t.Errorf("the deadline of the body outlived it: %v", err)
			}
			x.WriteHeader(http.StatusAccepted)
		})
		send(t, conn, "PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		for range 10 {
			time.Sleep(stallTimeout - time.Second)
			send(t, conn, "x")
		}
		if answer := readSome(t, conn); !strings.HasPrefix(answer, "HTTP/1.1 202 ") || got != "xxxxxxxxxx" {
			t.Errorf("got %q, body %q", answer, got)
		}
	})
}

func TestStalledUploadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		conn := serve(t, func(w http.ResponseWriter, req *http.Request) {
			x := newExchange(w, req)
			if _, err := io.ReadAll(x.body(req.Body, func() error { return nil })); err == nil {
				t.Error("a stalled body was read to its end")
			}
			x.WriteHeader(http.StatusInternalServerError)
		})
		send(t, conn, "PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx")
		if answer := readSome(t, conn); !strings.HasPrefix(answer, "HTTP/1.1 408 ") {
			t.Errorf("got %q", answer)
		}
		if took := time.Since(begin); took != stallTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestStalledDownloadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		conn := serve(t, func(w http.ResponseWriter, req *http.Request) {
			x := newExchange(w, req)
			var err error
			for err == nil {
				_, err = x.Write(make([]byte, 32<<10))
			}
			ended <- err
		})
		begin := time.Now()
		send(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := <-ended; err == nil { // the client never reads
			t.Error("a response went nowhere")
		}
		if took := time.Since(begin); took != stallTimeout {
			t.Errorf("took %s", took)
		}
	})
}

// The connection is shared with everything else on the listener: after an answer of the registry it
// must be as it was.
func TestDeadlinesEndWithTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, func(w http.ResponseWriter, req *http.Request) {
			x := newExchange(w, req)
			defer x.end()
			send(t, x, "ok")
		})
		for range 2 {
			send(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if answer := readSome(t, conn); !strings.HasSuffix(answer, "ok") {
				t.Errorf("got %q", answer)
			}
			time.Sleep(10 * stallTimeout)
		}
	})
}

func send(t *testing.T, w io.Writer, s string) {
	if _, err := io.WriteString(w, s); err != nil {
		t.Error(err)
	}
}

func readSome(t *testing.T, conn net.Conn) string {
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Error(err)
	}
	return string(b[:n])
}

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	write := func(path string, age time.Duration) string {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const repos = "123456789012/docker/registry/v2/repositories/"
	const year = 365 * 24 * time.Hour
	gone := []string{
		write(repos+"web/_uploads/1/data", year),
		write(repos+"team/blobs/_uploads/2/hashstates/sha256/0", year),
	}
	stay := []string{
		write(repos+"web/_uploads/3/data", time.Hour),
		write(repos+"web/_manifests/tags/_uploads/current/link", year),
		write(repos+"web/_layers/sha256/_uploads/x/link", year),
		write("123456789012/docker/registry/v2/blobs/sha256/_uploads/aa/data", year),
		write("secret", year),
	}
	old := filepath.Join(dir, repos, "web/_uploads/4")
	write(repos+"web/_uploads/4/startedat", year)
	stay = append(stay, write(repos+"web/_uploads/4/data", time.Minute))
	for _, path := range gone { // directories are as old as their files
		for d := filepath.Dir(path); d != dir; d = filepath.Dir(d) {
			if err := os.Chtimes(d, now.Add(-year), now.Add(-year)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chtimes(old, now.Add(-year), now.Add(-year)); err != nil {
		t.Fatal(err)
	}
	if err := purgeUploads(t.Context(), dir, now.Add(-uploadAge)); err != nil {
		t.Fatal(err)
	}
	for _, path := range gone {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	for _, path := range stay {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// The bridge rests on the name of an internal key of the handlers. Should an update change it, the
// handlers would fall back to the process's own logrus logger, and say so here.
func TestLogBridge(t *testing.T) {
	var log strings.Builder
	r, err := New(t.Context(), Config{
		Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Authenticate: func(context.Context, string, string) (string, bool, error) { return "123456789012", true, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	captureStandardLogger(t)
	// A file where the store wants a directory: the handlers fail through no fault of the client.
	if err := os.WriteFile(filepath.Join(r.cfg.Dir, "123456789012"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", "/v2/web/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("AKIAEXAMPLE", "hush")
	w := &responseRecorder{header: http.Header{}}
	r.ServeHTTP(w, req)
	if w.status != http.StatusInternalServerError {
		t.Errorf("got status %d", w.status)
	}
	got := log.String()
	for _, want := range []string{"level=ERROR", "repository=web", "status=500", "not a directory"} {
		if !strings.Contains(got, want) {
			t.Errorf("log %q, want %s in it", got, want)
		}
	}
	if strings.Contains(got, "hush") {
		t.Error("the log holds a secret")
	}
}

type responseRecorder struct {
	header http.Header
	status int
}

func (r *responseRecorder) Header() http.Header         { return r.header }
func (r *responseRecorder) WriteHeader(status int)      { r.status = status }
func (r *responseRecorder) Write(p []byte) (int, error) { return len(p), nil }
