package router_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"apron"
	"apron/router"
)

func TestRequestTimeoutOption(t *testing.T) {
	b := start(t, nil)
	told := make(chan string, 10)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms")
		select {
		case <-r.Context().Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
	quick, patient := route("quick.example.com", backend(t, "i1", hang)), route("patient.example.com", backend(t, "i2", hang))
	quick.Options.RequestTimeout = 100 * time.Millisecond
	patient.Service = "patient"
	b.publish(quick, patient)
	b.want(b.get("http://quick.example.com/"), 504, "upstream request timeout")
	b.want(b.get("http://patient.example.com/"), 200, "")
	if a, z := <-told, <-told; a != "100" || z != "120000" {
		t.Errorf("told %s and %s", a, z)
	}
}

func TestQueueOptions(t *testing.T) {
	b := start(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	r := route("web.example.com", backend(t, "i1", func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	r.Concurrency = 1
	r.Options.QueueTimeout = 50 * time.Millisecond
	b.publish(r)
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/") }()
	wait(t, "first request", entered)
	begin := time.Now()
	b.want(b.get("http://web.example.com/"), 429, "Too Many Requests")
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("refused after %v", took)
	}
	r.Options.QueueTimeout = time.Hour
	r.Options.Queue = -1
	b.publish(r)
	b.want(b.get("http://web.example.com/"), 429, "Too Many Requests") // at once, or the test takes an hour
	close(leave)
	b.want(wait(t, "first answer", first), 200, "")
}

func TestNoWebSocketOption(t *testing.T) {
	b := start(t, nil)
	r := route("web.example.com", backend(t, "i1", says("hello")))
	r.Options.NoWebSocket = true
	b.publish(r)
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	b.want(b.do("GET", "http://web.example.com/", nil, upgrade...), 403, "")
	b.want(b.get("http://web.example.com/"), 200, "hello")
}

// An upgrade to HTTP/2 would be a tunnel for requests that nobody checks.
func TestNoUpgradeToH2C(t *testing.T) {
	seen := make(chan *http.Request, 1)
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) { seen <- r })))
	b.want(b.do("GET", "http://web.example.com/", nil, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAAP__"), 200, "")
	if h := wait(t, "request", seen).Header; h["Upgrade"] != nil || h["Connection"] != nil || h["Http2-Settings"] != nil {
		t.Errorf("header %v", h)
	}
}

// h2cBackend starts an instance that speaks nothing but HTTP/2.
func h2cBackend(t testing.TB, id apron.InstanceID, h http.Handler) apron.Backend {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return at(id, srv.Listener.Addr().String())
}

// secure is a router with a TLS listener, and what a user needs to trust it.
func secure(t *testing.T, name string) (*bench, *tls.Config) {
	b := start(t, func(c *router.Config) { c.HTTPS = "127.0.0.1:0" })
	chain, key := selfSigned(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if err := b.client.SetCertificates(ctx, []router.Certificate{{CertPEM: chain, KeyPEM: key}}); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return b, &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}
}

// Users of HTTP/1 and 2, with and without TLS, reach instances that speak HTTP/1 and 2.
func TestProtocols(t *testing.T) {
	b, trust := secure(t, "*.example.com")
	trust.ServerName = "one.example.com"
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %v", r.Proto, r.Header.Get("X-Forwarded-Proto"), body, err)
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	})
	one, two := route("one.example.com", backend(t, "i1", echo)), route("two.example.com", h2cBackend(t, "i2", echo))
	two.Service = "two"
	two.Options.Protocol = apron.ProtocolH2C
	b.publish(one, two)
	for _, user := range []string{"http/1.1", "h2", "h2c", "https/1.1"} {
		secured := user == "h2" || user == "https/1.1"
		tr := &http.Transport{TLSClientConfig: trust.Clone(), Protocols: new(http.Protocols)}
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			if strings.HasSuffix(addr, ":443") {
				return d.DialContext(ctx, network, b.addrs.HTTPS)
			}
			return d.DialContext(ctx, network, b.addrs.HTTP)
		}
		switch user {
		case "h2":
			tr.Protocols.SetHTTP2(true)
		case "h2c":
			tr.Protocols.SetUnencryptedHTTP2(true)
		default:
			tr.Protocols.SetHTTP1(true)
		}
		client := &http.Client{Transport: tr, Timeout: waitLimit}
		for host, proto := range map[string]string{"one": "HTTP/1.1", "two": "HTTP/2.0"} {
			scheme := "http"
			if secured {
				scheme = "https"
			}
			for range 3 {
				body := strings.Repeat("x", 100_000)
				res, err := client.Post(scheme+"://"+host+".example.com/a?b", "text/plain", io.MultiReader(strings.NewReader(body)))
				if err != nil {
					t.Errorf("%s to %s: %v", user, host, err)
					continue
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if want := proto + " " + scheme + " " + body + " <nil>"; res.StatusCode != 200 || string(got) != want || err != nil {
					t.Errorf("%s to %s: %d %.50q %v", user, host, res.StatusCode, got, err)
				}
				if res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Late") != "1" {
					t.Errorf("%s to %s: trailer %v", user, host, res.Trailer)
				}
			}
		}
		tr.CloseIdleConnections()
	}
}

// The strict parser comes first whatever the instance speaks.
func TestH2CInstancesAreGuarded(t *testing.T) {
	b := start(t, nil)
	two := route("two.example.com", h2cBackend(t, "i2", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%q %v", body, err)
	})))
	two.Options.Protocol = apron.ProtocolH2C
	b.publish(two)
	c := b.dial()
	r := bufio.NewReader(c)
	for _, body := range []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"} {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: two.example.com\r\n%s", body)
		if strings.HasPrefix(body, "Expect") {
			if got := b.read(r, "POST"); got.Status != 100 {
				t.Errorf("got %+v", got)
			}
			fmt.Fprint(c, "hello")
		}
		b.want(b.read(r, "POST"), 200, `"hello" <nil>`)
	}
	fmt.Fprint(c, "HEAD / HTTP/1.1\r\nHost: two.example.com\r\n\r\n")
	b.want(b.read(r, "HEAD"), 200, "")
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: two.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	if got := b.read(r, "POST"); got.Status != 400 && got.Status != 0 {
		t.Errorf("a malformed body: %+v", got)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
	c = b.dial()
	fmt.Fprint(c, "GET / HTTP/1.0\r\nHost: two.example.com\r\n\r\n")
	b.want(b.read(bufio.NewReader(c), "GET"), 200, `"" <nil>`)
}

func TestGRPC(t *testing.T) {
	b, trust := secure(t, "*.example.com")
	trust.ServerName = "grpc.example.com"
	service := health.NewServer()
	srv := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer-bin", "\x00\x01", "x-user", strings.Join(md["x-user"], ",")))
		return handle(ctx, req)
	}))
	healthpb.RegisterHealthServer(srv, service)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	r := route("grpc.example.com", at("i1", ln.Addr().String()))
	r.Options.Protocol = apron.ProtocolH2C
	b.publish(r)
	for name, tt := range map[string]struct {
		addr  string
		creds credentials.TransportCredentials
	}{
		"prior knowledge": {b.addrs.HTTP, insecure.NewCredentials()},
		"TLS":             {b.addrs.HTTPS, credentials.NewTLS(trust)},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+tt.addr, grpc.WithTransportCredentials(tt.creds), grpc.WithAuthority("grpc.example.com"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
			defer cancel()
			client := healthpb.NewHealthClient(conn)
			var trailer metadata.MD
			res, err := client.Check(metadata.AppendToOutgoingContext(ctx, "x-user", "me"), &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer))
			if err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
				t.Fatalf("got %v %v", res, err)
			}
			if trailer.Get("x-user")[0] != "me" || trailer.Get("x-trailer-bin")[0] != "\x00\x01" {
				t.Errorf("trailer %v", trailer)
			}
			for range 20 { // an answer of nothing but trailers stays one
				if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
					t.Errorf("got %v", err)
				}
			}
			stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: name})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []healthpb.HealthCheckResponse_ServingStatus{3, 1, 2, 1, 2} { // unknown, then what is set
				if i > 0 {
					service.SetServingStatus(name, want)
				}
				if got, err := stream.Recv(); err != nil || got.GetStatus() != want {
					t.Fatalf("message %d: %v %v, want %v", i, got, err, want)
				}
			}
		})
	}
}

// Requests without TLS are sent to the same host and path with it.
func TestRedirect(t *testing.T) {
	b := start(t, func(c *router.Config) { c.HTTPS, c.Redirect, c.Explain = "127.0.0.1:0", true, true })
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	_, port, err := net.SplitHostPort(b.addrs.HTTPS)
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"http/1.1", "h2c"} {
		tr := b.http.Transport.(*http.Transport).Clone()
		if protocol == "h2c" {
			tr.Protocols = new(http.Protocols)
			tr.Protocols.SetUnencryptedHTTP2(true)
		}
		for url, want := range map[string]string{
			"http://web.example.com:8080/a%2Fb?c=d": "https://web.example.com:" + port + "/a%2Fb?c=d",
			"http://web.example.com":                "https://web.example.com:" + port + "/",
			"http://other.example.com/":             "",
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			status, reason := http.StatusMovedPermanently, "redirect"
			if want == "" {
				status, reason = http.StatusNotFound, "unknown-host"
			}
			if got := res.Header.Get("Location"); res.StatusCode != status || got != want || res.Header.Get("X-Apron-Reason") != reason {
				t.Errorf("%s %s: %d %q %v", protocol, url, res.StatusCode, got, res.Header)
			}
		}
		tr.CloseIdleConnections()
	}
}
