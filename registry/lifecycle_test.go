package registry_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"apron/registry"
)

func TestRestartKeepsImagesAndUploads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "registry")
	s := start(t, dir)
	img := randomImage(t, 2048, 2)
	if err := remote.Write(s.ref(t, "web:v1"), img, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	first := client{t, s, asAlice()}
	loc := first.do("POST", "/v2/web/blobs/uploads/", nil, nil).Header.Get("Location")
	half := first.do("PATCH", loc, strings.NewReader("hello, "), nil)
	if half.StatusCode != http.StatusAccepted {
		t.Fatal(half.Status)
	}
	s.stop()

	s = start(t, dir)
	if d, err := remote.Head(s.ref(t, "web:v1"), options(t, asAlice())...); err != nil || d.Digest.String() != digestOf(t, img) {
		t.Errorf("after a restart: %v, %v", d, err)
	}
	second := client{t, s, asAlice()}
	more := second.do("PATCH", half.Header.Get("Location"), strings.NewReader("world"), nil)
	if more.StatusCode != http.StatusAccepted {
		t.Fatalf("upload after a restart: %s", more.Status)
	}
	sum, _, err := v1.SHA256(strings.NewReader("hello, world"))
	if err != nil {
		t.Fatal(err)
	}
	done := second.do("PUT", more.Header.Get("Location")+"&digest="+sum.String(), nil, nil)
	if done.StatusCode != http.StatusCreated {
		t.Errorf("finish of the upload: %s", done.Status)
	}
	info, err := os.Stat(filepath.Join(dir, "secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.New(t.Context(), registry.Config{Dir: file, Authenticate: authenticate}); err == nil {
		t.Error("a file served as directory")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.New(t.Context(), registry.Config{Dir: dir, Authenticate: authenticate}); err == nil {
		t.Error("a damaged secret was accepted")
	}
	if _, err := registry.New(t.Context(), registry.Config{Dir: t.TempDir()}); err == nil {
		t.Error("a registry that lets everybody in")
	}
}

func TestClosed(t *testing.T) {
	reg, err := registry.New(t.Context(), registry.Config{Dir: t.TempDir(), Authenticate: authenticate, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	if err := reg.Close(); err != nil {
		t.Error(err)
	}
	w, req := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/v2/", nil)
	req.SetBasicAuth("AKIAALICE", "alice-secret")
	reg.ServeHTTP(w, req)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("after Close: %d", w.Code)
	}
}
