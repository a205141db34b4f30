package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apron/certs"
)

const name = "us-east-1.apron.localhost"

func open(t *testing.T, dir string, now time.Time) *certs.Authority {
	t.Helper()
	a, err := certs.Open(certs.Config{Dir: dir, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wildcard(t *testing.T, a *certs.Authority) (certPEM, keyPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := a.Wildcard(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM, keyPEM
}

func TestWildcardIsTrustedByClientsOfTheAuthority(t *testing.T) {
	a := open(t, t.TempDir(), time.Now())
	pair, err := tls.X509KeyPair(wildcard(t, a))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.CAPEM()) {
		t.Fatal("CAPEM is no certificate")
	}
	for host, want := range map[string]bool{
		"abcdefghij." + name: true, name: true, "a.b." + name: false, "other.localhost": false,
	} {
		cfg := &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
		conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
		if err == nil {
			_ = conn.Close()
		}
		if got := err == nil; got != want {
			t.Errorf("handshake as %s: %v, want success %v", host, err, want)
		}
	}
}

func TestKeptAndRenewed(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first := open(t, dir, now)
	cert, key := wildcard(t, first)
	for _, step := range []struct {
		name   string
		after  time.Duration
		before func()
		ca     bool // the same authority
		leaf   bool // the same leaf
	}{
		{name: "reopened", ca: true, leaf: true},
		{name: "59 days", after: 59 * 24 * time.Hour, ca: true, leaf: true},
		{name: "61 days", after: 61 * 24 * time.Hour, ca: true},
		{name: "leaf damaged", ca: true, before: func() {
			if err := os.WriteFile(filepath.Join(dir, "leaves", name+".pem"), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "authority expired", after: 11 * 365 * 24 * time.Hour},
	} {
		if step.before != nil {
			step.before()
		}
		a := open(t, dir, now.Add(step.after))
		nextCert, nextKey := wildcard(t, a)
		if got := bytes.Equal(a.CAPEM(), first.CAPEM()); got != step.ca {
			t.Errorf("%s: same authority %v, want %v", step.name, got, step.ca)
		}
		if got := bytes.Equal(nextCert, cert) && bytes.Equal(nextKey, key); got != step.leaf {
			t.Errorf("%s: same leaf %v, want %v", step.name, got, step.leaf)
		}
		first, cert, key = a, nextCert, nextKey
	}
}

func TestKeysAreOursAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	wildcard(t, open(t, dir, time.Now()))
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && d.Name() != "ca.pem" {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesAForeignKey(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	open(t, one, time.Now())
	open(t, two, time.Now())
	if err := os.Rename(filepath.Join(one, "ca.key"), filepath.Join(two, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Open(certs.Config{Dir: two}); err == nil {
		t.Error("opened an authority with another's key")
	}
}

func TestWildcardRefusesWhatIsNoName(t *testing.T) {
	a := open(t, t.TempDir(), time.Now())
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "A.example.com", "-a.example.com", "a..b", strings.Repeat("a", 64), "*.example.com"} {
		if _, _, err := a.Wildcard(t.Context(), bad); err == nil {
			t.Errorf("made a certificate for %q", bad)
		}
	}
}
