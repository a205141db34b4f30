package router_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"apron"
	"apron/router"
)

// Each way in which the router ends a request is counted as what it is.
func TestEveryEndIsCounted(t *testing.T) {
	b := start(t, func(c *router.Config) {
		c.StallLimit, c.QueueLimit, c.Explain = 200*time.Millisecond, 50*time.Millisecond, true
	})
	loads := make(chan router.Load, 1000)
	b.client, _ = b.connect(router.ClientConfig{OnLoad: func(l router.Load) { loads <- l }})
	entered := map[string]chan struct{}{"full": make(chan struct{}, 1), "leaves": make(chan struct{}, 1)}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		if c := entered[strings.TrimSuffix(r.Host, ".example.com")]; c != nil {
			c <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	answers := func(text string) string {
		return scripted(t, func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, text) })
	}
	routes := map[string]apron.Route{
		"none":      {},
		"refused":   {Backends: []apron.Backend{at("i1", closedPort(t))}},
		"resets":    {Backends: []apron.Backend{at("i2", answers(""))}},
		"malformed": {Backends: []apron.Backend{at("i3", answers("hello\r\n\r\n"))}},
		"short":     {Backends: []apron.Backend{at("i4", answers("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"))}},
		"slow":      {Backends: []apron.Backend{backend(t, "i5", hang)}, Options: apron.RouteOptions{RequestTimeout: 100 * time.Millisecond}},
		"hangs":     {Backends: []apron.Backend{backend(t, "i6", hang)}},
		"full":      {Backends: []apron.Backend{backend(t, "i7", hang)}, Concurrency: 1},
		"leaves":    {Backends: []apron.Backend{backend(t, "i9", hang)}},
		"no-ws":     {Backends: []apron.Backend{backend(t, "i8", says("x"))}, Options: apron.RouteOptions{NoWebSocket: true}},
	}
	var list []apron.Route
	for name, r := range routes {
		r.Hosts, r.Service = []string{name + ".example.com"}, apron.ServiceID(name)
		list = append(list, r)
	}
	b.publish(list...)
	get := func(host, fields string) string {
		return "GET / HTTP/1.1\r\nHost: " + host + ".example.com\r\n" + fields + "\r\n"
	}
	post := func(host, body string) string {
		return "POST / HTTP/1.1\r\nHost: " + host + ".example.com\r\nTransfer-Encoding: chunked\r\n\r\n" + body
	}
	first := b.dial() // takes the only slot
	fmt.Fprint(first, get("full", ""))
	wait(t, "request", entered["full"])
	for _, tt := range []struct {
		reason, request string
		status          int // 0: none is sent
	}{
		{"refused-request", "GET / HTTP/9.9\r\n\r\n", 505},
		{"unknown-host", get("unknown", ""), 404},
		{"forbidden", get("no-ws", "Connection: upgrade\r\nUpgrade: websocket\r\n"), 403},
		{"overload", get("full", ""), 429},
		{"no-instance", get("none", ""), 503},
		{"connect", get("refused", ""), 503},
		{"reset", get("resets", ""), 503},
		{"protocol", get("malformed", ""), 502},
		{"limit", get("slow", ""), 504},
		{"body", post("hangs", "zz"), 400},
		{"slow-user", post("hangs", "5\r\nhe"), 408},
		{"user-gone", get("leaves", ""), 0},
		{"cut", get("short", ""), 200},
	} {
		c := b.dial()
		fmt.Fprint(c, tt.request)
		if tt.status == 0 {
			wait(t, "request", entered["leaves"])
			_ = c.Close()
		} else {
			got := b.read(bufio.NewReader(c), "GET")
			if reason := got.Header.Get("X-Apron-Reason"); got.Status != tt.status || tt.status != 200 && tt.reason != "refused-request" && reason != tt.reason {
				t.Errorf("%s: %d, reason %q", tt.reason, got.Status, reason)
			}
		}
		for counted := false; !counted; {
			counted = wait(t, tt.reason+" is counted", loads).Ended[tt.reason] == 1
		}
	}
}

// A tunnel without traffic ends; one with traffic does not, however long it is.
func TestTunnelLimit(t *testing.T) {
	b := start(t, func(c *router.Config) { c.TunnelLimit, c.RequestLimit = 300*time.Millisecond, 100*time.Millisecond })
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, msg, err := c.Read(context.Background())
			if err != nil || c.Write(context.Background(), kind, msg) != nil {
				_ = c.CloseNow()
				return
			}
		}
	})))
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	//nolint:bodyclose // websocket.Dial: the body is never the caller's to close
	c, _, err := websocket.Dial(ctx, "ws://web.example.com/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: b.http.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	for begin := time.Now(); time.Since(begin) < 600*time.Millisecond; {
		if err := c.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("an idle tunnel: %v", err)
	}
}

// The same of HTTP/2, where an answer may be cut short without the connection.
func TestEveryEndOfHTTP2IsCounted(t *testing.T) {
	b := start(t, func(c *router.Config) { c.StallLimit, c.Explain = 300*time.Millisecond, true })
	loads := make(chan router.Load, 1000)
	b.client, _ = b.connect(router.ClientConfig{OnLoad: func(l router.Load) { loads <- l }})
	left := make(chan struct{}, 10)
	b.publish(
		route("silent.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			left <- struct{}{}
		})),
		route("endless.example.com", backend(t, "i2", func(w http.ResponseWriter, _ *http.Request) {
			for piece := make([]byte, 1<<16); ; {
				if _, err := w.Write(piece); err != nil {
					left <- struct{}{}
					return
				}
			}
		})),
		route("short.example.com", at("i3", scripted(t, func(c net.Conn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
		}))),
		apron.Route{
			Hosts: []string{"slow.example.com"}, Service: "slow", Options: apron.RouteOptions{RequestTimeout: 100 * time.Millisecond},
			Backends: []apron.Backend{backend(t, "i4", func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})},
		},
	)
	tr := b.http.Transport.(*http.Transport)
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	seen := map[string]uint64{}
	for _, tt := range []struct {
		reason, host string
		uploads      bool
		status       int
		read         bool // of the answer as much as comes
		leave        bool
	}{
		{reason: "slow-user", host: "silent", uploads: true, status: 408},
		{reason: "slow-user", host: "endless", status: 200},
		{reason: "user-gone", host: "endless", status: 200, leave: true},
		{reason: "cut", host: "short", status: 200, read: true},
		{reason: "limit", host: "slow", status: 200, read: true},
	} {
		var body io.Reader
		if tt.uploads {
			in, out := io.Pipe()
			defer out.Close()
			go func() { _, _ = io.WriteString(out, "a beginning") }()
			body = in
		}
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+tt.host+".example.com/", body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := b.http.Do(req)
		if err != nil {
			t.Fatalf("%s of %s: %v", tt.reason, tt.host, err)
		}
		if res.StatusCode != tt.status || res.ProtoMajor != 2 {
			t.Errorf("%s of %s: %s %s", tt.reason, tt.host, res.Proto, res.Status)
		}
		if tt.leave {
			leave()
		}
		if tt.read {
			if got, err := io.ReadAll(res.Body); err == nil || string(got) != "x" {
				t.Errorf("%s of %s: %q and no error", tt.reason, tt.host, got)
			}
		}
		for counted := false; !counted; {
			counted = wait(t, tt.reason+" of "+tt.host+" is counted", loads).Ended[tt.reason] == seen[tt.reason]+1
		}
		seen[tt.reason]++
		_ = res.Body.Close()
		leave()
		if tt.host == "silent" || tt.host == "endless" {
			wait(t, "the instance is told", left)
		}
	}
}

// A user of a stream that goes both ways may be silent as long as its requests may take.
func TestSilentStream(t *testing.T) {
	const stall = 100 * time.Millisecond
	b := start(t, func(c *router.Config) { c.StallLimit = stall })
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	})))
	tr := b.http.Transport.(*http.Transport)
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://web.example.com/", in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	time.Sleep(5 * stall) // the silence
	if _, err := io.WriteString(out, "still here"); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != "still here" {
		t.Errorf("%q %v", got, err)
	}
}
