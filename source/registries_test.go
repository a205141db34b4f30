package source_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/source"
)

func TestResolvePassingTroubles(t *testing.T) {
	var status, requests atomic.Int32
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		requests.Add(1)
		if code := int(status.Load()); code != 0 {
			w.WriteHeader(code)
			return
		}
		select { // answers nothing
		case <-req.Context().Done():
		case <-stop:
		}
	}))
	defer srv.Close()
	defer close(stop)
	host := strings.TrimPrefix(srv.URL, "http://")
	w := newWorld(t)
	r := w.resolver(t, func(c *source.Config) { c.Backoff = time.Millisecond })
	hasty := w.resolver(t, func(c *source.Config) { c.Timeout = 300 * time.Millisecond })

	plain := func(what string, err error) {
		t.Helper()
		if err == nil || apron.KindOf(err) != 0 {
			t.Errorf("%s: got %v, want an error that may pass", what, err)
		}
	}
	begin := time.Now()
	_, err := hasty.Resolve(t.Context(), scopeOf(alice), host+"/web")
	plain("slow registry", err)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a slow registry held us for %s", took)
	}
	for _, code := range []int{429, 500, 502, 503} {
		status.Store(int32(code))
		requests.Store(0)
		_, err := r.Resolve(t.Context(), scopeOf(alice), host+"/web")
		plain(http.StatusText(code), err)
		if n := requests.Load(); n != 5 {
			t.Errorf("status %d: %d requests, want 5", code, n)
		}
	}
	for _, code := range []int{401, 403, 404, 410} {
		status.Store(int32(code))
		requests.Store(0)
		_, err := r.Resolve(t.Context(), scopeOf(alice), host+"/web")
		wantFault(t, err, host+"/web:latest")
		if n := requests.Load(); n != 1 {
			t.Errorf("status %d was tried again: %d requests", code, n)
		}
	}

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	_, err = r.Resolve(t.Context(), scopeOf(alice), closed+"/web")
	plain("refused connection", err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Resolve(ctx, scopeOf(alice), host+"/web")
	if plain("cancelled", err); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestResolveOtherRegistries(t *testing.T) {
	w := newWorld(t)
	digest := w.push(t, bob, "hub/library/nginx:latest", image(t, "linux", "amd64", types.OCIManifestSchema1))
	withUser := strings.Replace(w.URL, "http://", "http://"+bob+":secret@", 1)
	r, err := source.New(source.Config{Mirrors: map[string]string{"docker.io": withUser + "/hub", "public.ecr.aws": withUser + "/hub/"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name, want := range map[string]string{
		"nginx":                        "docker.io/library/nginx@" + digest,
		"public.ecr.aws/library/nginx": "public.ecr.aws/library/nginx@" + digest,
	} {
		got, err := r.Resolve(t.Context(), scopeOf(alice), name)
		if err != nil || got.Reference != want {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, want)
		}
	}
	if _, err := source.New(source.Config{Mirrors: map[string]string{"docker.io": "ftp://u:secret@x"}}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a mirror that is no URL: %v", err)
	}
}

// A registry that does not answer over TLS is not spoken to in clear text, private address or not.
func TestNoPlainHTTPByAccident(t *testing.T) {
	var seen atomic.Int32
	r, err := source.New(source.Config{Backoff: time.Millisecond, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		seen.Add(1)
		if req.URL.Scheme != "https" {
			t.Errorf("sent %s", req.URL)
		}
		return nil, errors.New("connection refused")
	})})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"10.1.2.3:5000/web", "192.168.0.1/web", "registry.example.com/web", "web.local/web", "nginx"} {
		if _, err := r.Resolve(t.Context(), scopeOf(alice), name); err == nil || apron.KindOf(err) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if seen.Load() == 0 {
		t.Error("no request was made")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
