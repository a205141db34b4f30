package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
