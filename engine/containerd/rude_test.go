package containerd_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// rudeHost stands in front of the test's registry and answers blobs in its place when told to.
type rudeHost struct {
	*images // pushes to it

	mu    sync.Mutex
	blobs []*http.Request // GET requests of blobs, in order
	rude  func(w http.ResponseWriter, r *http.Request, blob []byte) (ok bool)
}

// newRudeHost puts a rude host before r's registry.
func newRudeHost(t testing.TB, r *rig) *rudeHost {
	t.Helper()
	behind := "http://" + r.images.host
	h := &rudeHost{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		in, err := http.NewRequestWithContext(req.Context(), req.Method, behind+req.URL.RequestURI(), req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		in.Header, in.ContentLength = req.Header.Clone(), req.ContentLength
		res, err := http.DefaultTransport.RoundTrip(in)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
			return
		}
		if h.answer(w, req, body) {
			return
		}
		maps.Copy(w.Header(), res.Header)
		if l := w.Header().Get("Location"); l != "" {
			w.Header().Set("Location", strings.TrimPrefix(l, behind))
		}
		w.WriteHeader(res.StatusCode)
		_, _ = w.Write(body)
	}))
	t.Cleanup(srv.Close)
	h.images = &images{host: strings.TrimPrefix(srv.URL, "http://"), layer: r.images.layer}
	return h
}

func (h *rudeHost) answer(w http.ResponseWriter, req *http.Request, body []byte) bool {
	if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") {
		return false
	}
	h.mu.Lock()
	h.blobs = append(h.blobs, req)
	rude := h.rude
	h.mu.Unlock()
	return rude != nil && rude(w, req, body)
}

// behave sets what answers blobs, and forgets who asked.
func (h *rudeHost) behave(rude func(w http.ResponseWriter, r *http.Request, blob []byte) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs, h.rude = nil, rude
}

// ranges returns the Range of every request for blobs since behave, but for those of configurations.
func (h *rudeHost) ranges(t testing.TB, image v1.Image) []string {
	t.Helper()
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, r := range h.blobs {
		if !strings.HasSuffix(r.URL.Path, config.String()) {
			list = append(list, r.Header.Get("Range"))
		}
	}
	return list
}

// cutAfter sends the first n bytes of a blob larger than that, with one changed if asked, and breaks off.
func cutAfter(n int, damage bool) func(http.ResponseWriter, *http.Request, []byte) bool {
	return func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
		if len(blob) <= n {
			return false
		}
		if r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		part := bytes.Clone(blob[:n])
		if damage {
			part[n/2] ^= 1
		}
		_, _ = w.Write(part)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
