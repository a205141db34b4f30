package router_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/router"
)

func TestRoutesByHost(t *testing.T) {
	b := start(t, nil)
	web, api, any := route("web.example.com"), route("api.example.com"), route("*.wild.example.com")
	web.Backends = []apron.Backend{backend(t, "i1", says("web"))}
	api.Service, api.Backends = "api", []apron.Backend{backend(t, "i2", says("api"))}
	any.Service, any.Backends = "any", []apron.Backend{backend(t, "i3", says("any"))}
	b.publish(web, api, any)
	for _, tt := range []struct {
		host   string
		status int
		body   string
	}{
		{"web.example.com", 200, "web"},
		{"WEB.Example.COM", 200, "web"},
		{"web.example.com.", 200, "web"},
		{"web.example.com:8080", 200, "web"},
		{"api.example.com", 200, "api"},
		{"a.wild.example.com", 200, "any"},
		{"a.b.wild.example.com", 404, ""},
		{"wild.example.com", 404, ""},
		{"other.example.com", 404, ""},
		{"example.com", 404, ""},
		{"127.0.0.1", 404, ""},
		{"[::1]:80", 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://router/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		res, err := b.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != tt.status || string(body) != tt.body {
			t.Errorf("%s: %d %q %v, want %d %q", tt.host, res.StatusCode, body, err, tt.status, tt.body)
		}
		if got := res.Header.Get("Server"); got != "envoy" {
			t.Errorf("%s: server %q", tt.host, got)
		}
	}
}

func TestWhatTheInstanceSees(t *testing.T) {
	seen := make(chan *http.Request, 1)
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) { seen <- r })))
	b.do("POST", "http://web.example.com/a%2Fb//c?x=%zz;y&&z", strings.NewReader("body"),
		"X-Forwarded-For", "192.0.2.1, 192.0.2.2", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example.com",
		"X-Request-Id", "mine", "Connection", "X-Hop", "X-Hop", "secret", "Keep-Alive", "9", "X-App", "1")
	r := wait(t, "request", seen)
	if r.Host != "web.example.com" || r.RequestURI != "/a%2Fb//c?x=%zz;y&&z" || r.Proto != "HTTP/1.1" {
		t.Errorf("host %q, target %q, %s", r.Host, r.RequestURI, r.Proto)
	}
	got := map[string]string{}
	for k, v := range r.Header {
		got[k] = strings.Join(v, "|")
	}
	want := map[string]string{
		"X-Forwarded-For": "192.0.2.1, 192.0.2.2, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Request-Id": "mine",
		"X-Forwarded-Port":         b.addrs.HTTP[strings.LastIndexByte(b.addrs.HTTP, ':')+1:],
		"X-Envoy-External-Address": "127.0.0.1", "X-Envoy-Expected-Rq-Timeout-Ms": "120000",
		"X-App": "1", "Content-Length": "4", "User-Agent": "Go-http-client/1.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}

	b.get("http://web.example.com/")
	if id := wait(t, "request", seen).Header.Get("X-Request-Id"); len(id) != 36 || id[14] != '4' {
		t.Errorf("made request id %q", id)
	}
}

func TestWhatTheUserSees(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Server", "app")
		h.Set("X-App", "1")
		h["Content-Type"] = nil
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "<html>")
	})))
	got := b.get("http://web.example.com/")
	b.want(got, http.StatusTeapot, "<html>")
	took := got.Header.Get("X-Envoy-Upstream-Service-Time")
	got.Header.Del("Date")
	want := http.Header{
		"Server": {"envoy"}, "X-App": {"1"}, "X-Envoy-Upstream-Service-Time": {took}, "Content-Length": {"6"},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" || took == "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestStreamsBothWays(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintln(w, "echo", lines.Text())
			_ = rc.Flush()
		}
	})))
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://web.example.com/", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { fmt.Fprintln(feed, "line 0") }()
	res, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answers := bufio.NewReader(res.Body)
	for i := range 10 {
		if i > 0 {
			fmt.Fprintln(feed, "line", i)
		}
		// The answer to each line is here before the next one is sent.
		got, err := answers.ReadString('\n')
		if want := fmt.Sprintf("echo line %d\n", i); got != want || err != nil {
			t.Fatalf("got %q %v, want %q", got, err, want)
		}
	}
	_ = feed.Close()
	if _, err := answers.ReadByte(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestLargeBodies(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})))
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	for name, body := range map[string]io.Reader{
		"known length": bytes.NewReader(want), "chunked": io.MultiReader(bytes.NewReader(want)),
	} {
		if got := b.do("POST", "http://web.example.com/", body); got.Status != 200 || got.Body != string(want) {
			t.Errorf("%s: status %d, %d bytes", name, got.Status, len(got.Body))
		}
	}
}

func TestTrailersAndInformationalResponses(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "42")
	})))
	res, err := b.http.Get("http://web.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if string(body) != "body" || err != nil || res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("body %q %v, trailer %v", body, err, res.Trailer)
	}
}

func TestWebSocket(t *testing.T) {
	b := start(t, func(c *router.Config) { c.RequestLimit = 300 * time.Millisecond })
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, msg, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if c.Write(r.Context(), kind, append([]byte("echo "), msg...)) != nil {
				return
			}
		}
	})))
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	//nolint:bodyclose // websocket.Dial: the body is never the caller's to close
	c, _, err := websocket.Dial(ctx, "ws://web.example.com/chat", &websocket.DialOptions{HTTPClient: &http.Client{Transport: b.http.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(500 * time.Millisecond) // beyond the limit of a request
	for i := 0; time.Now().Before(deadline) || i < 100; i++ {
		msg := fmt.Sprint("message ", i)
		if err := c.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != "echo "+msg {
			t.Fatalf("got %q %v", got, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}

func TestHTTP10(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	conn, err := net.Dial("tcp", b.addrs.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprint(conn, "GET / HTTP/1.0\r\nHost: web.example.com\r\n\r\n")
	got, err := io.ReadAll(conn) // until the router closes
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.0 200 OK\r\n") || !strings.HasSuffix(string(got), "\r\n\r\nhello") {
		t.Errorf("got %q %v", got, err)
	}
}

// A user of HTTP/1.0 has no upgrades.
func TestNoUpgradeInHTTP10(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q", r.Header["Connection"], r.Header["Upgrade"])
	})))
	c := b.dial()
	fmt.Fprint(c, "GET / HTTP/1.0\r\nHost: web.example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	b.want(b.read(bufio.NewReader(c), "GET"), 200, "[] []")
}
