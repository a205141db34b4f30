package router_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"apron/router"
)

func TestLoadAndAccessRecords(t *testing.T) {
	b := start(t, nil)
	loads, records := make(chan router.Load, 1000), make(chan router.Access, 1000)
	b.client, _ = b.connect(router.ClientConfig{
		OnLoad: func(l router.Load) { loads <- l },
		OnAccess: func(list []router.Access, _ uint64) {
			for _, a := range list {
				records <- a
			}
		},
	})
	entered, leave := make(chan struct{}), make(chan struct{})
	r := route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-leave
		fmt.Fprint(w, "hello")
	}))
	r.Concurrency = 2
	r.Options.AccessLog = true
	b.publish(r)
	answers := make(chan answer, 3)
	for range 3 {
		go func() { answers <- b.get("http://web.example.com/secret?token=1") }()
	}
	wait(t, "request", entered)
	wait(t, "request", entered)
	inFlight, queued := 0, 0
	var last router.RouteLoad
	unknown := uint64(0)
	follow := func(l router.Load) {
		unknown = max(unknown, l.Ended["unknown-host"])
		for _, i := range l.Instances {
			inFlight = i.InFlight
		}
		for _, q := range l.Routes {
			last, queued = q, q.Queued
		}
	}
	for inFlight != 2 || queued != 1 {
		follow(wait(t, "two in flight, one waiting", loads))
	}
	close(leave)
	wait(t, "request", entered)
	for range 3 {
		b.want(wait(t, "answer", answers), 200, "hello")
	}
	for inFlight != 0 || queued != 0 {
		follow(wait(t, "none in flight", loads))
	}
	for last.Answered[2] != 3 {
		follow(wait(t, "three answered", loads))
	}
	if last.Took <= 0 {
		t.Errorf("route %+v", last)
	}
	for range 3 {
		a := wait(t, "record", records)
		if a.Service != "web" || a.Revision != "r1" || a.Instance != "i1" || a.Method != "GET" || a.Host != "web.example.com" ||
			a.Status != 200 || a.Bytes != 5 || a.Duration <= 0 || a.Upstream <= 0 || a.Upstream > a.Duration ||
			a.Target != "/secret?token=1" || a.Client != "127.0.0.1" || a.Protocol != "HTTP/1.1" || len(a.RequestID) != 36 ||
			a.UserAgent != "Go-http-client/1.1" {
			t.Errorf("record %+v", a)
		}
	}
	b.get("http://other.example.com/")
	for unknown != 1 {
		follow(wait(t, "an unknown host", loads))
	}
}

// On its way out the router lets requests end, and tunnels not.
func TestExitDrains(t *testing.T) {
	b := start(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tunnel" {
			c, err := websocket.Accept(w, r, nil)
			if err == nil {
				_, _, _ = c.Read(context.Background())
				_ = c.CloseNow()
			}
			return
		}
		entered <- struct{}{}
		<-leave
		fmt.Fprint(w, "done")
	})))
	//nolint:bodyclose // websocket.Dial: the body is never the caller's to close
	tunnel, _, err := websocket.Dial(t.Context(), "ws://web.example.com/tunnel", &websocket.DialOptions{HTTPClient: &http.Client{Transport: b.http.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tunnel.CloseNow() }()
	first, stopped := make(chan answer, 1), make(chan error, 1)
	go func() { first <- b.get("http://web.example.com/") }()
	wait(t, "request", entered)
	go func() { stopped <- b.stop() }()
	for { // until it accepts no more
		c, err := net.Dial("tcp", b.addrs.HTTP)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(leave)
	b.want(wait(t, "answer", first), 200, "done")
	if err := wait(t, "the router's end", stopped); err != nil {
		t.Error(err)
	}
	if _, _, err := tunnel.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the tunnel: %v, want to be told that the router goes away", err)
	}
}

func TestExitIsBounded(t *testing.T) {
	b := start(t, func(c *router.Config) { c.ExitLimit = 50 * time.Millisecond })
	entered := make(chan struct{})
	b.publish(route("web.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})))
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/") }()
	wait(t, "request", entered)
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	if got := wait(t, "answer", first); got.Status != 0 {
		t.Errorf("got %+v", got)
	}
}

func BenchmarkProxy(b *testing.B) {
	h := start(b, nil)
	payload := strings.Repeat("x", 1024)
	h.publish(route("web.example.com", backend(b, "i1", says(payload))))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if got := h.get("http://web.example.com/"); got.Status != 200 {
				b.Errorf("got %+v", got)
				return
			}
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	h := start(b, nil)
	in := backend(b, "i1", says("x"))
	for b.Loop() {
		h.publish(route("web.example.com", in))
	}
}

// The record of a request that reached no instance does not name the request before it.
func TestRecordOfAnotherRequest(t *testing.T) {
	records := make(chan router.Access, 10)
	b := start(t, nil)
	b.client, _ = b.connect(router.ClientConfig{OnAccess: func(list []router.Access, _ uint64) {
		for _, a := range list {
			records <- a
		}
	}})
	r := route("web.example.com", backend(t, "i1", says("hello")))
	r.Options.AccessLog, r.Options.NoWebSocket = true, true
	b.publish(r)
	c := b.dial()
	in := bufio.NewReader(c)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\nX-Request-Id: first\r\n\r\n")
	b.want(b.read(in, "GET"), 200, "hello")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\nX-Request-Id: second\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	b.want(b.read(in, "GET"), 403, "")
	for _, want := range []string{"first", ""} {
		if a := wait(t, "record", records); a.RequestID != want {
			t.Errorf("got %+v, want request id %q", a, want)
		}
	}
}
