package registry

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestSpaceEndsDuringAnUpload fills the disk while a client sends what it has not said the size of.
func TestSpaceEndsDuringAnUpload(t *testing.T) {
	r, err := New(t.Context(), Config{
		Dir: t.TempDir(), MinFreeBytes: 1 << 30,
		Authenticate: func(context.Context, string, string) (string, bool, error) { return "123456789012", true, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var free atomic.Int64
	free.Store(2 << 30)
	r.free = func(string) (int64, error) { return free.Load(), nil }
	srv := httptest.NewServer(r)
	defer srv.Close()
	send := func(method, url string, body io.Reader, length int64) (status int, location, answer string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		req.SetBasicAuth("AKIAEXAMPLE", "hush")
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header.Get("Location"), string(b)
	}
	_, at, _ := send("POST", srv.URL+"/v2/web/blobs/uploads/", http.NoBody, 0)
	if strings.HasPrefix(at, "/") {
		at = srv.URL + at
	}
	req := httptest.NewRequestWithContext(t.Context(), "PATCH", at, strings.NewReader("x"))
	req.ContentLength = 1 << 31
	req.SetBasicAuth("AKIAEXAMPLE", "hush")
	w := httptest.NewRecorder()
	if r.ServeHTTP(w, req); w.Code != http.StatusInsufficientStorage {
		t.Errorf("a body that says it is too large: %d, %s", w.Code, w.Body)
	}
	filler := &filler{left: 3 * spaceEvery, at: spaceEvery + 1, full: func() { free.Store(1) }}
	if status, _, body := send("PATCH", at, filler, -1); status != http.StatusInsufficientStorage || !strings.Contains(body, "nearly full") {
		t.Errorf("a disk that fills up: %d, %s", status, body)
	}
}

// filler is a body of zeros that calls full after some of it.
type filler struct {
	left, at int
	full     func()
}

func (f *filler) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), f.left)
	clear(p[:n])
	f.left -= n
	if f.at -= n; f.at <= 0 {
		f.full()
	}
	return n, nil
}

func FuzzReferences(f *testing.F) {
	f.Add([]byte(`{"config":{"digest":"sha256:aa"},"layers":[{"digest":"sha256:bb"}],"manifests":[{"digest":"sha256:cc","x":[{"digest":"sha512:dd"}]}]}`))
	f.Add([]byte(`[{"digest":"sha256:../../etc"},{"digest":1},{"digest":":x"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := references(b)
		if err == nil != json.Valid(b) {
			t.Errorf("%q: %v", b, err)
		}
		for _, digest := range found {
			if dir := blobDir(digest); !strings.HasPrefix(dir, "blobs/") || strings.Contains(dir, "..") {
				t.Errorf("%q leads to %q", digest, dir)
			}
		}
	})
}
