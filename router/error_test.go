package router_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/router"
)

func TestErrorAnswers(t *testing.T) {
	b := start(t, func(c *router.Config) { c.RequestLimit = 150 * time.Millisecond })
	broken := backend(t, "broken", func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	slow := backend(t, "slow", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	routes := []apron.Route{
		route("none.example.com"),
		route("refused.example.com", at("refused", closedPort(t))),
		route("broken.example.com", broken),
		route("slow.example.com", slow),
	}
	for i := range routes {
		routes[i].Service = apron.ServiceID(routes[i].Hosts[0])
	}
	b.publish(routes...)
	reset := "upstream connect error or disconnect/reset before headers. reset reason: "
	for _, tt := range []struct {
		host   string
		method string
		status int
		body   string
	}{
		{"none", "GET", 503, "no healthy upstream"},
		{"refused", "GET", 503, reset + "connection failure, transport failure reason: delayed connect error: 111"},
		{"refused", "POST", 503, reset + "connection failure, transport failure reason: delayed connect error: 111"},
		{"broken", "GET", 503, reset + "connection termination"},
		{"broken", "POST", 503, reset + "connection termination"},
		{"slow", "GET", 504, "upstream request timeout"},
		{"slow", "POST", 504, "upstream request timeout"},
		{"slow", "HEAD", 504, ""},
	} {
		var body io.Reader
		if tt.method == "POST" {
			body = strings.NewReader("some body")
		}
		got := b.do(tt.method, "http://"+tt.host+".example.com/", body)
		if got.Status != tt.status || got.Body != tt.body || got.Header.Get("Server") != "envoy" {
			t.Errorf("%s %s: %+v, want %d %q", tt.method, tt.host, got, tt.status, tt.body)
		}
	}
}

func TestSlowUploadEndsAtTheLimit(t *testing.T) {
	b := start(t, func(c *router.Config) { c.RequestLimit = 100 * time.Millisecond })
	b.publish(route("web.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})))
	conn, err := net.Dial("tcp", b.addrs.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	begin := time.Now()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 100\r\n\r\nonly this")
	_ = conn.SetReadDeadline(time.Now().Add(waitLimit))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusGatewayTimeout || time.Since(begin) > 2*time.Second {
		t.Errorf("status %d after %v", res.StatusCode, time.Since(begin))
	}
}

// A response that is cut short must not look complete.
func TestResponseCutByTheInstance(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})))
	if got := b.get("http://web.example.com/"); got.Status != 200 || !strings.Contains(got.Body, "unexpected EOF") {
		t.Errorf("got %d %q", got.Status, got.Body)
	}
}
