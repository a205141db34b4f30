package router

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"apron"
)

// rig is a relay without the process around it, for what cannot be seen from outside.
type rig struct {
	testing.TB
	relay *relay
	addr  string
}

func newRig(t testing.TB, change func(*Config), options apron.RouteOptions, h http.Handler) *rig {
	t.Helper()
	cfg, err := Config{Dir: "unused", Log: slog.New(slog.DiscardHandler)}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	instance, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(instance) }()
	t.Cleanup(func() { _ = srv.Close() })
	routes := newRoutes(newDrain(), breakerLimits{depth: 10, wait: time.Second, request: cfg.RequestLimit, changed: func() {}})
	err = routes.install(apron.RouteTable{Version: 1, Routes: []apron.Route{{
		Hosts: []string{"web.example.com"}, Service: "web", Options: options,
		Backends: []apron.Backend{{Instance: "i1", Addr: netip.MustParseAddrPort(instance.Addr().String())}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(cfg, newProxy(cfg, routes, newAccessLog(func() {}), &ends{changed: func() {}}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- listeners{http: public}.serve(ctx, nil, cfg, r, newCertificates()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &rig{TB: t, relay: r, addr: public.Addr().String()}
}

func TestRelayAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	// An instance that itself allocates nothing, or its garbage would be counted.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 4096)
				answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
				for {
					if _, err := c.Read(buf); err != nil {
						_ = c.Close()
						return
					}
					_, _ = c.Write(answer)
				}
			}()
		}
	}()
	r := newRig(t, nil, apron.RouteOptions{}, http.NotFoundHandler())
	err = r.relay.routes.install(apron.RouteTable{Version: 2, Routes: []apron.Route{{
		Hosts: []string{"web.example.com"}, Service: "web",
		Backends: []apron.Backend{{Instance: "i2", Addr: netip.MustParseAddrPort(ln.Addr().String())}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for name, request := range map[string]string{
		"GET":  "GET /a/b?c=d HTTP/1.1\r\nHost: web.example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n",
		"POST": "POST /a HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 9\r\n\r\nsome body",
	} {
		send, buf := []byte(request), make([]byte, 4096)
		once := func() {
			if _, err := conn.Write(send); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		once()
		if n := testing.AllocsPerRun(2000, once); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
