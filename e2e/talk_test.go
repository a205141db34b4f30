package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// talk is a deployed testdata/talk.
type talk struct {
	*home
	host string // of the service, without a port
	ca   string // file of the authority that signs for it
}

// TestClients has those deal with a service that users do: curl in each of its versions of HTTP, load
// generators, libraries, and a browser where there is one.
func TestClients(t *testing.T) {
	h := newHome(t)
	file := filepath.Join(t.TempDir(), "talk")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/talk")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v %s", err, out)
	}
	image, _, err := h.local.Push(t.Context(), file, "talk:1", 8080)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(h.data, "certs", "ca.pem")
	web := talk{home: h, host: aws.ToString(h.running(t, input("talk", image, nil)).ServiceUrl), ca: ca}
	in := input("talk-h2c", image, nil)
	in.Tags = append(in.Tags, types.Tag{Key: aws.String("apron:app-protocol"), Value: aws.String("h2c")})
	rpc := talk{home: h, host: aws.ToString(h.running(t, in).ServiceUrl), ca: ca}

	t.Run("curl", web.curl)
	t.Run("curl to h2c", rpc.curl)
	t.Run("load", web.load)
	t.Run("WebSocket", web.webSocket)
	t.Run("gRPC", rpc.grpc)
	t.Run("browser", web.browser)
}

// run runs a program that must succeed, and returns its standard output.
func (c talk) run(t *testing.T, stdin io.Reader, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		needed(t, program+" is not installed (.ci/need test installs it)")
	}
	var out, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", program, args, err, stderr.Bytes(), out.Bytes())
	}
	return out.String()
}

// needed skips a test for want of something, which CI has.
func needed(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func port(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// curl asks in every version of HTTP it has, with and without TLS, and sends a body of a known and of
// an unknown length.
func (c talk) curl(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for _, v := range []struct{ flag, version string }{
		{"--http1.0", "1"},
		{"--http1.1", "1.1"},
		{"--http2", "1.1"},
		{"--http2-prior-knowledge", "2"},
		{"--http1.1 TLS", "1.1"},
		{"--http2 TLS", "2"},
	} {
		flag, secure := strings.CutSuffix(v.flag, " TLS")
		scheme, at := "http", port(t, c.local.HTTP)
		if secure {
			scheme, at = "https", port(t, c.local.HTTPS)
		}
		curl := func(stdin io.Reader, path string, more ...string) string {
			return c.run(t, stdin, "curl", append([]string{
				"-sS", "--fail", "--max-time", "60", flag, "--cacert", c.ca, "--resolve", c.host + ":" + at + ":127.0.0.1",
				"-w", "\n%{http_version} %{http_code}", scheme + "://" + c.host + ":" + at + path,
			}, more...)...)
		}
		end := "\n" + v.version + " 200"
		for name, x := range map[string]struct {
			path, want string
			stdin      io.Reader
			more       []string
		}{
			"get":     {path: "/", want: "hello"},
			"head":    {path: "/", more: []string{"--head", "-o", "/dev/null"}},
			"post":    {path: "/echo", stdin: strings.NewReader(large), want: large, more: []string{"--data-binary", "@-"}},
			"upload":  {path: "/echo", stdin: strings.NewReader(large), want: large, more: []string{"-T", "-"}},
			"forward": {path: "/echo", stdin: strings.NewReader("x"), want: "x", more: []string{"--data-binary", "@-", "-H", "Expect: 100-continue"}},
		} {
			if name == "upload" && v.version == "1" {
				continue // which has no bodies of unknown length
			}
			if got := curl(x.stdin, x.path, x.more...); got != x.want+end {
				t.Errorf("%s, %s: %d bytes that end in %q, want %d that end in %q", v.flag, name, len(got), got[max(0, len(got)-20):], len(x.want+end), end)
			}
		}
	}
}

// load has load generators send some requests, all of which must succeed.
func (c talk) load(t *testing.T) {
	plain, secure := "http://"+c.local.HTTP+"/", "https://"+c.local.HTTPS+"/"
	for _, url := range []string{plain, secure} {
		out := c.run(t, nil, "hey", "-n", "2000", "-c", "20", "-host", c.host, url)
		if !strings.Contains(out, "[200]\t2000 responses") {
			t.Errorf("hey %s:\n%s", url, out)
		}
		out = c.run(t, nil, "wrk", "-d", "1s", "-c", "20", "-t", "1", "-H", "Host: "+c.host, url)
		if !strings.Contains(out, "requests in") || strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
			t.Errorf("wrk %s:\n%s", url, out)
		}
		out = c.run(t, nil, "h2load", "-n", "2000", "-c", "4", "-m", "10", "-H", ":authority: "+c.host, url)
		if !strings.Contains(out, "2000 2xx, 0 3xx, 0 4xx, 0 5xx") || !strings.Contains(out, "2000 succeeded, 0 failed") {
			t.Errorf("h2load %s:\n%s", url, out)
		}
	}
}

// roots returns the authority that signs for the service.
func (c talk) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(c.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		t.Fatal("no certificate")
	}
	return roots
}

func tlsOf(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// webSocket echoes messages of all sizes, and ends as the protocol wants.
func (c talk) webSocket(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	dialed := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := c.local.HTTP
			if strings.HasSuffix(addr, ":443") {
				to = c.local.HTTPS
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
		TLSClientConfig: tlsOf(c.roots(t)),
	}
	defer dialed.CloseIdleConnections()
	for _, scheme := range []string{"ws://", "wss://"} {
		//nolint:bodyclose // websocket.Dial: the body is never the caller's to close
		ws, _, err := websocket.Dial(ctx, scheme+c.host+"/socket", &websocket.DialOptions{HTTPClient: &http.Client{Transport: dialed}})
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, 125, 126, 30_000} {
			sent := bytes.Repeat([]byte{'x'}, size)
			if err := ws.Write(ctx, websocket.MessageBinary, sent); err != nil {
				t.Fatal(err)
			}
			if _, got, err := ws.Read(ctx); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%s of %d bytes: got %d, %v", scheme, size, len(got), err)
			}
		}
		if err := ws.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// grpc calls a service once and follows a stream of it, over TLS and in the clear.
func (c talk) grpc(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	config := tlsOf(c.roots(t))
	config.ServerName = c.host
	for addr, trust := range map[string]credentials.TransportCredentials{
		c.local.HTTP: insecure.NewCredentials(), c.local.HTTPS: credentials.NewTLS(config),
	} {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(trust), grpc.WithAuthority(c.host))
		if err != nil {
			t.Fatal(err)
		}
		client := grpc_health_v1.NewHealthClient(conn)
		res, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil || res.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("check: %v %v", res, err)
		}
		stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "unknown"})
		if err != nil {
			t.Fatal(err)
		}
		if first, err := stream.Recv(); err != nil || first.Status != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
			t.Errorf("watch: %v %v", first, err)
		}
		_ = conn.Close()
	}
}

// browser opens the page of the application, which does the rest, over TLS and without.
func (c talk) browser(t *testing.T) {
	if _, err := exec.LookPath("chromium"); err != nil {
		needed(t, "chromium is not installed (.ci/need test installs it)")
	}
	for scheme, addr := range map[string]string{"http": c.local.HTTP, "https": c.local.HTTPS} {
		home := t.TempDir()
		c.trust(t, home)
		ctx, cancel := context.WithCancel(t.Context())
		at := port(t, addr)
		cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
			"--disable-background-networking", "--user-data-dir="+filepath.Join(home, "profile"),
			"--host-resolver-rules=MAP "+c.host+" 127.0.0.1", "--remote-debugging-port=0",
			fmt.Sprintf("%s://%s:%s/page", scheme, c.host, at))
		cmd.Env = append(os.Environ(), "HOME="+home)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"http": "http: http/1.1 over the socket 1,2,3 echoed", "https": "https: h2 over the socket 1,2,3 echoed",
		}[scheme]
		got := ""
		poll(t, 100*time.Millisecond, "the browser to report", func() bool {
			got = c.report(t)
			return strings.HasPrefix(got, scheme+":")
		})
		if got != want {
			t.Errorf("the browser reports %q, want %q", got, want)
		}
		cancel()
		if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("chromium: %v", err) // it was told to end
		}
	}
}

// trust makes a browser with this home trust the authority, as docs/router.md says.
func (c talk) trust(t *testing.T, home string) {
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	c.run(t, nil, "certutil", "-d", "sql:"+db, "-N", "--empty-password")
	c.run(t, nil, "certutil", "-d", "sql:"+db, "-A", "-t", "C,,", "-n", "Apron", "-i", c.ca)
}

// report returns what the browser's page has reported.
func (c talk) report(t *testing.T) string {
	return c.run(t, nil, "curl", "-sS", "-H", "Host: "+c.host, "http://"+c.local.HTTP+"/report")
}
