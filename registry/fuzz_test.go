package registry_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apron/registry"
)

// FuzzPath sends any method, path, query and body as an authenticated client. Whatever they are, the
// answer is not a server error and nothing is written outside of the client's account.
func FuzzPath(f *testing.F) {
	for _, s := range [][4]string{
		{"GET", "/v2/", "", ""},
		{"GET", "/v2/_catalog", "n=-1&last=/../..", ""},
		{"GET", "/v2/../../210987654321/web/tags/list", "n=1", ""},
		{"PUT", "/v2/a/manifests/manifests/v1", "", `{"schemaVersion":2}`},
		{"PUT", "/v2/a/manifests/sha256:" + strings.Repeat("0", 64), "", "{}"},
		{"POST", "/v2/web/blobs/uploads/", "mount=sha256:x&from=../x", "data"},
		{"POST", "/v2/" + strings.Repeat("a", 300) + "/blobs/uploads/", "", ""},
		{"GET", "/v2/web/blobs/uploads/" + strings.Repeat("a", 300), "_state=x", ""},
		{"PATCH", "/v2/web/blobs/uploads/...", "_state=eyJ9", "x"},
		{"DELETE", "/v2/web/manifests/" + strings.Repeat("t", 128), "", ""},
		{"GET", "/v2/web/manifests/\x00", "", ""},
		{"HEAD", "/v2//web//blobs/sha512:" + strings.Repeat("f", 128), "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	dir := f.TempDir()
	reg, err := registry.New(f.Context(), registry.Config{Dir: dir, Authenticate: authenticate, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := reg.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		target := (&url.URL{Path: path, RawQuery: query}).String()
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip("net/http would not take it either")
		}
		req := (&http.Request{
			Method: method, URL: u, Header: http.Header{}, Host: "127.0.0.1:4080", RequestURI: target,
			Body: http.NoBody, ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}).WithContext(t.Context())
		if body != "" {
			req.Body = io.NopCloser(strings.NewReader(body))
		}
		req.SetBasicAuth(asAlice().Username, asAlice().Password)
		w := httptest.NewRecorder()
		reg.ServeHTTP(w, req)
		if w.Code >= http.StatusInternalServerError {
			t.Errorf("%s %q?%s: %d %s", method, path, query, w.Code, w.Body)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != alice && e.Name() != "secret" {
				t.Errorf("%s %q wrote %s", method, path, e.Name())
			}
		}
		if left, err := filepath.Glob(filepath.Join(dir, alice, "*")); err != nil || len(left) > 1 {
			t.Errorf("%s %q: %v, %v", method, path, left, err)
		}
	})
}
