package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"apron"
	"apron/router"
)

func TestMain(m *testing.M) {
	if playRole() {
		return
	}
	goleak.VerifyTestMain(m)
}

// waitLimit is how long a test waits for what must happen.
const waitLimit = 20 * time.Second

// bench is a running router with a client, and an HTTP client of a user.
type bench struct {
	testing.TB
	cfg    router.Config
	client *router.Client
	addrs  router.Addresses
	http   *http.Client
	stop   func() error // ends the router

	forsake func() error // ends client
}

// start runs a router in a new data directory.
func start(t testing.TB, change func(*router.Config)) *bench {
	t.Helper()
	b := newBench(t, change)
	b.run()
	b.client, b.forsake = b.connect(router.ClientConfig{})
	b.learnAddresses()
	return b
}

// newBench is start without the router.
func newBench(t testing.TB, change func(*router.Config)) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // a unix socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := router.Config{Dir: dir, HTTP: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	b := &bench{TB: t, cfg: cfg}
	b.http = b.user(1000)
	return b
}

// process starts one of the processes of playRole, which is killed when the test ends.
func (b *bench) process(role ...string) *os.Process {
	b.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd.Process
}

// user returns an HTTP client that resolves every host to the router.
func (b *bench) user(conns int) *http.Client {
	tr := &http.Transport{
		MaxIdleConnsPerHost: conns, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, b.addrs.HTTP)
		},
	}
	b.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: waitLimit, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// run starts the router's process as a goroutine.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx, b.cfg) }()
	b.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(waitLimit):
			return errors.New("the router did not end")
		}
	})
	stop := b.stop
	b.Cleanup(func() {
		if err := stop(); err != nil {
			b.Error(err)
		}
	})
}

// connect starts a client. Its stop function ends it and returns what Run did.
func (b *bench) connect(cfg router.ClientConfig) (c *router.Client, stop func() error) {
	b.Helper()
	cfg.Socket, cfg.Log = router.SocketPath(b.cfg.Dir), slog.New(slog.DiscardHandler)
	c = router.NewClient(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	b.Cleanup(func() { _ = stop() })
	return c, stop
}

func (b *bench) learnAddresses() {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	a, err := b.client.Addresses(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.addrs = a
}

// publish makes routes the router's table.
func (b *bench) publish(routes ...apron.Route) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if err := b.client.Publish(ctx, apron.RouteTable{Routes: routes}); err != nil {
		b.Fatal(err)
	}
}

// route returns a route of service web to the backends.
func route(host string, backends ...apron.Backend) apron.Route {
	return apron.Route{
		Hosts: []string{host}, Service: "web", ServiceName: "web", Revision: "r1", Backends: backends,
	}
}

// backend starts a server and returns it as an instance.
func backend(t testing.TB, id apron.InstanceID, h http.HandlerFunc) apron.Backend {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return at(id, srv.Listener.Addr().String())
}

func at(id apron.InstanceID, addr string) apron.Backend {
	return apron.Backend{Instance: id, Addr: netip.MustParseAddrPort(addr)}
}

// closedPort returns an address that refuses connections.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// answer is what a user got.
type answer struct {
	Status int
	Body   string
	Header http.Header
}

// get sends a request and returns the answer, or the error in place of the body.
func (b *bench) get(url string) answer {
	return b.do(http.MethodGet, url, nil)
}

func (b *bench) do(method, url string, body io.Reader, header ...string) answer {
	req, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		return answer{Body: err.Error()}
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := b.http.Do(req)
	if err != nil {
		return answer{Body: err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{Status: res.StatusCode, Body: string(got) + err.Error(), Header: res.Header}
	}
	return answer{Status: res.StatusCode, Body: string(got), Header: res.Header}
}

// want fails the test unless the answer has the status and body.
func (b *bench) want(got answer, status int, body string) {
	b.Helper()
	if got.Status != status || got.Body != body {
		b.Errorf("got %d %q, want %d %q", got.Status, got.Body, status, body)
	}
}

// wait fails the test unless c is closed or sent to in time.
func wait[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(waitLimit):
		t.Fatalf("%s: did not happen", what)
		panic("unreachable")
	}
}

// files returns the names in a directory that hold prefix, for messages.
func files(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, filepath.Base(e.Name()))
	}
	return strings.Join(names, " ")
}
