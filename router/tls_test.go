package router_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"apron/certs"
	"apron/router"
)

func TestHTTPS(t *testing.T) {
	b := start(t, func(c *router.Config) { c.HTTPS = "127.0.0.1:0" })
	ca, err := certs.Open(certs.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var list []router.Certificate
	for _, name := range []string{"us-east-1.example.com", "eu-west-1.example.com"} {
		certPEM, keyPEM, err := ca.Wildcard(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, router.Certificate{CertPEM: certPEM, KeyPEM: keyPEM})
	}
	if err := b.client.SetCertificates(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	proto := make(chan string, 1)
	r := route("web.us-east-1.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) {
		proto <- r.Header.Get("X-Forwarded-Proto")
	}))
	r.Hosts = append(r.Hosts, "web.eu-west-1.example.com")
	b.publish(r)

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CAPEM())
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, b.addrs.HTTPS)
		},
	}
	defer tr.CloseIdleConnections()
	for _, host := range r.Hosts {
		res, err := (&http.Client{Transport: tr}).Get("https://" + host + "/")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if got := wait(t, "request", proto); res.StatusCode != 200 || res.ProtoMajor != 2 || got != "https" {
			t.Errorf("%s: %s %s, X-Forwarded-Proto %q", host, res.Proto, res.Status, got)
		}
	}
	if res, err := (&http.Client{Transport: tr}).Get("https://other.example.org/"); err == nil {
		_ = res.Body.Close()
		t.Error("a handshake for a foreign name succeeded")
	}
	bad := []router.Certificate{{CertPEM: list[0].CertPEM, KeyPEM: list[1].KeyPEM}}
	if err := b.client.SetCertificates(t.Context(), bad); err == nil {
		t.Error("a certificate with another's key was accepted")
	}
}

// Old versions, and suites without forward secrecy or authenticated encryption, are not spoken.
func TestOldTLSIsRefused(t *testing.T) {
	b, trust := secure(t, "web.example.com")
	for name, tt := range map[string]struct {
		change func(*tls.Config)
		ok     bool
	}{
		"TLS 1.1": {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		"TLS 1.2": {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
		"TLS 1.2, AES-CBC": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, false},
		"TLS 1.2, RSA only": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, false},
		"TLS 1.3": {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, true},
	} {
		cfg := trust.Clone()
		tt.change(cfg)
		c, err := tls.Dial("tcp", b.addrs.HTTPS, cfg)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

// A router that starts again serves with the certificates it had, while no control plane runs.
func TestRestartKeepsCertificates(t *testing.T) {
	b, trust := secure(t, "web.example.com")
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	if err := errors.Join(b.forsake(), b.stop()); err != nil {
		t.Fatal(err)
	}
	b.http.CloseIdleConnections()
	b.cfg.HTTP, b.cfg.HTTPS = b.addrs.HTTP, b.addrs.HTTPS
	serves := make(chan struct{})
	b.cfg.Ready = func() { close(serves) }
	b.run()
	wait(t, "the router", serves)
	c, err := tls.Dial("tcp", b.addrs.HTTPS, trust)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b.want(b.read(bufio.NewReader(c), "GET"), 200, "hello")
}
