package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// TestHTTPS asks a service over TLS, trusting nothing but Apron's own authority, with HTTP/1.1 and
// HTTP/2.
func TestHTTPS(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), nil))
	ca, err := os.ReadFile(filepath.Join(h.data, "certs", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("ca.pem holds no certificate")
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: http2,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", h.local.HTTPS)
			},
		}
		client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+aws.ToString(svc.ServiceUrl)+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "proto=https ") {
			t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
		}
		if got := resp.ProtoMajor == 2; got != http2 {
			t.Errorf("asked with HTTP/2 %v, answered with %s", http2, resp.Proto)
		}
	}
}
