package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apron"
	"apron/router"
)

// Control planes come and go, without a word, while users send requests.
func TestControlPlaneLossIsNotNoticed(t *testing.T) {
	b := start(t, nil)
	in := newInstances(t, 0)
	b.publish(in.route)
	more, stop := b.load("web.example.com")
	for i := range 20 {
		more(100)
		c, end := b.connect(router.ClientConfig{})
		in.route.Revision = apron.RevisionID(fmt.Sprint("r", i))
		if err := c.Publish(t.Context(), apron.RouteTable{Routes: []apron.Route{in.route}}); err != nil {
			t.Error(err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	more(100) // without any
	stop()
}

func TestRestartWithoutControlPlane(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	b.publish(route("web.example.com", backend(t, "i2", says("again"))))
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b.http.CloseIdleConnections()
	if got := files(t, filepath.Join(b.cfg.Dir, "run")); got != "" {
		t.Errorf("left in run: %s", got)
	}
	if got := b.get("http://web.example.com/"); got.Status != 0 {
		t.Errorf("a stopped router answers %d", got.Status)
	}
	b.cfg.HTTP = b.addrs.HTTP // and no client connects before the request
	b.client = nil
	if err := b.forsake(); err != nil {
		t.Fatal(err)
	}
	b.run()
	deadline := time.Now().Add(waitLimit)
	for b.get("http://web.example.com/").Status == 0 && time.Now().Before(deadline) {
	}
	b.want(b.get("http://web.example.com/"), 200, "again")

	var told struct{ HTTP, Socket string }
	body, err := os.ReadFile(router.AddressFile(b.cfg.Dir))
	if err == nil {
		err = json.Unmarshal(body, &told)
	}
	if err != nil || told.HTTP != b.addrs.HTTP || told.Socket != router.SocketPath(b.cfg.Dir) {
		t.Errorf("router.json: %+v %v", told, err)
	}
	for _, name := range []string{"router/table.json", "run/router.sock", "run/router.json"} {
		info, err := os.Stat(filepath.Join(b.cfg.Dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

// Instances that cannot have outlived what ended the router are not sent requests: somebody else may have their
// addresses.
func TestRestartWithoutInstances(t *testing.T) {
	for name, end := range map[string]func(dir string) error{
		"ended": router.ForgetInstances,
		"restart of the machine": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "router/life"), []byte(`"00000000-0000-0000-0000-000000000000 1"`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(c *router.Config) { c.QueueLimit = 10 * time.Millisecond })
			var asked atomic.Int32
			there := backend(t, "i1", func(http.ResponseWriter, *http.Request) { asked.Add(1) })
			b.publish(route("web.example.com", there))
			b.want(b.get("http://web.example.com/"), 200, "")
			if err := errors.Join(b.stop(), b.forsake(), end(b.cfg.Dir)); err != nil {
				t.Fatal(err)
			}
			b.http.CloseIdleConnections()
			b.run()
			b.client, b.forsake = b.connect(router.ClientConfig{})
			b.learnAddresses()
			if got := b.get("http://web.example.com/"); got.Status != 503 || asked.Load() != 1 {
				t.Errorf("got %+v, and the address was sent %d requests more", got, asked.Load()-1)
			}
			table, err := b.client.Table(t.Context())
			if err != nil || len(table.Routes) != 1 || len(table.Routes[0].Backends) != 0 {
				t.Errorf("table %+v, %v", table, err)
			}
			b.publish(route("web.example.com", there)) // the control plane knows better
			b.want(b.get("http://web.example.com/"), 200, "")
		})
	}
}

// After a restart of the machine the router is there before the instances: who asks meanwhile waits,
// whether the first control plane knows them already or not, in HTTP/1 and HTTP/2.
func TestRequestsWaitForInstancesAfterARestart(t *testing.T) {
	b := start(t, func(c *router.Config) { c.QueueLimit = waitLimit })
	addr := closedPort(t)
	b.publish(route("web.example.com", at("i1", addr)))
	if got := b.get("http://web.example.com/"); got.Status != 503 {
		t.Errorf("an instance that is said to be ready and does not listen: %+v", got)
	}
	if err := errors.Join(b.stop(), b.forsake()); err != nil {
		t.Fatal(err)
	}
	b.http.CloseIdleConnections()
	b.cfg.HTTP = b.addrs.HTTP
	b.run()
	h2 := *b
	h2.http = b.user(1)
	h2.http.Transport.(*http.Transport).Protocols = new(http.Protocols)
	h2.http.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	answers := make(chan answer, 3)
	ask := func(ask func() answer) {
		go func() {
			got := ask()
			for deadline := time.Now().Add(waitLimit); got.Status == 0 && time.Now().Before(deadline); {
				got = ask() // the router does not listen yet
			}
			answers <- got
		}()
	}
	ask(func() answer { return b.get("http://web.example.com/") })
	ask(func() answer { return b.do("POST", "http://web.example.com/", strings.NewReader("body")) })
	ask(func() answer { return h2.get("http://web.example.com/") })

	loads := make(chan router.Load, 100)
	b.client, b.forsake = b.connect(router.ClientConfig{OnLoad: func(l router.Load) {
		select {
		case loads <- l:
		default:
		}
	}})
	for waiting := 0; waiting != 3; {
		for _, r := range wait(t, "requests to wait", loads).Routes {
			waiting = r.Queued
		}
	}
	table := route("web.example.com", at("i1", addr))
	table.Starting = true
	b.publish(table) // the control plane has found the instance, which does not listen yet
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("somebody else has %s by now: %v", addr, err)
	}
	srv := &http.Server{Handler: says("back"), ReadHeaderTimeout: waitLimit}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	if len(answers) != 0 {
		t.Errorf("%+v came before the instance", <-answers)
	}
	b.publish(route("web.example.com", at("i1", addr)))
	for range 3 {
		b.want(wait(t, "an answer", answers), 200, "back")
	}
}

// A client sends its table again to a router that came back, with a number above the router's.
func TestClientReconnects(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", says("one"))))
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b.http.CloseIdleConnections()
	b.cfg.HTTP = b.addrs.HTTP
	if err := os.RemoveAll(filepath.Join(b.cfg.Dir, "router")); err != nil {
		t.Fatal(err)
	}
	published := make(chan error, 1)
	next := route("next.example.com", backend(t, "i2", says("two")))
	go func() {
		published <- b.client.Publish(t.Context(), apron.RouteTable{Routes: []apron.Route{next}})
	}()
	b.run()
	if err := wait(t, "publish to the router that came back", published); err != nil {
		t.Fatal(err)
	}
	b.want(b.get("http://next.example.com/"), 200, "two")
	b.want(b.get("http://web.example.com/"), 404, "")
	if err := b.client.Drained(t.Context(), []apron.InstanceID{"i1"}); err != nil {
		t.Error(err)
	}
}

func TestSecondControlPlaneReplacesTheFirst(t *testing.T) {
	b := start(t, nil)
	first, _ := b.connect(router.ClientConfig{}) // replaces the one start made
	one := route("web.example.com", backend(t, "i1", says("one")))
	for range 3 {
		if err := first.Publish(t.Context(), apron.RouteTable{Routes: []apron.Route{one}}); err != nil {
			t.Fatal(err)
		}
	}
	second := router.NewClient(router.ClientConfig{Socket: router.SocketPath(b.cfg.Dir), Log: slog.New(slog.DiscardHandler)})
	third := router.NewClient(router.ClientConfig{Socket: router.SocketPath(b.cfg.Dir), Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	if _, err := second.Addresses(t.Context()); err != nil {
		t.Fatal(err)
	}
	two := route("web.example.com", backend(t, "i2", says("two")))
	if err := second.Publish(t.Context(), apron.RouteTable{Routes: []apron.Route{two}}); err != nil {
		t.Fatal(err) // numbered above the tables of the first
	}
	b.want(b.get("http://web.example.com/"), 200, "two")
	thirdEnded := make(chan error, 1)
	go func() { thirdEnded <- third.Run(ctx) }()
	if err := wait(t, "the second's end", ended); !errors.Is(err, router.ErrReplaced) {
		t.Errorf("the second client's Run: %v", err)
	}
	cancel()
	if err := wait(t, "the third's end", thirdEnded); err != nil {
		t.Errorf("the third client's Run: %v", err)
	}
}

func TestOneRouterPerDirectory(t *testing.T) {
	b := start(t, nil)
	if err := router.Run(t.Context(), b.cfg); !errors.Is(err, router.ErrRunning) {
		t.Errorf("got %v", err)
	}
}

func TestInvalidTableChangesNothing(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	if err := b.client.Publish(t.Context(), apron.RouteTable{Routes: []apron.Route{route("not a host")}}); err == nil {
		t.Error("accepted")
	}
	b.want(b.get("http://web.example.com/"), 200, "hello")
}
