package source_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/source"
)

// layerOf returns an image with one layer of the content, and the layer's digest.
func layerOf(t testing.TB, content []byte) (v1.Image, string) {
	t.Helper()
	img, err := mutate.AppendLayers(image(t, "linux", "amd64", types.OCIManifestSchema1), static.NewLayer(content, types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	return img, fmt.Sprintf("sha256:%x", sha256.Sum256(content))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 8)
	}
	return b
}

func blobOnly(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }

// TestBlob reads one blob past everything that can happen to it on the way.
func TestBlob(t *testing.T) {
	const size = 1 << 20
	content := pattern(size)
	f := newForeign(t, nil)
	img, layer := layerOf(t, content)
	digest := f.push(t, "web:v1", img)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer elsewhere.Close()
	// cut sends so many bytes of what was asked for and breaks off.
	cut := func(w http.ResponseWriter, r *http.Request, n int) bool {
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, size-1, size))
		}
		w.Header().Set("Content-Length", strconv.Itoa(size-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content[from:min(from+n, size)])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	status := func(code, until int) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n <= until {
				w.WriteHeader(code)
			}
			return n <= until
		}
	}
	for name, row := range map[string]struct {
		rude     func(w http.ResponseWriter, r *http.Request, n int) bool
		offset   int64
		requests int
		fault    string // text of an Invalid Fault
		trouble  string // text of an UnavailableError
	}{
		"good":                  {nil, 0, 1, "", ""},
		"the rest":              {nil, 1000, 1, "", ""},
		"nothing left":          {nil, size - 1, 1, "", ""},
		"500, 502, 429":         {status(502, 3), 0, 4, "", ""},
		"always 503":            {status(503, 99), 0, 5, "", "answers 503 Service Unavailable"},
		"refused":               {status(403, 99), 0, 1, "not authorized", ""},
		"gone":                  {status(404, 99), 0, 1, "is incomplete: the registry lacks a part of it", ""},
		"501":                   {status(501, 99), 0, 1, "status 501", ""},
		"breaks off once":       {func(w http.ResponseWriter, r *http.Request, n int) bool { return n == 1 && cut(w, r, 100_000) }, 0, 2, "", ""},
		"breaks off often":      {func(w http.ResponseWriter, r *http.Request, n int) bool { return n < 9 && cut(w, r, 100_000) }, 0, 9, "", ""},
		"breaks off for ever":   {func(w http.ResponseWriter, r *http.Request, _ int) bool { return cut(w, r, 1) }, 0, 5, "", "breaks off a part of the image"},
		"closes the connection": {func(http.ResponseWriter, *http.Request, int) bool { panic(http.ErrAbortHandler) }, 0, 5, "", "cannot be reached"},
		"stalls once": {func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(size))
				_, _ = w.Write(content[:70_000])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
			return n == 1
		}, 0, 2, "", ""},
		"stalls for ever": {func(w http.ResponseWriter, r *http.Request, _ int) bool {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}, 0, 5, "", "breaks off a part of the image"},
		"stalls in an error": {func(w http.ResponseWriter, r *http.Request, _ int) bool {
			w.WriteHeader(http.StatusForbidden)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}, 0, 1, "not authorized", ""},
		"knows no ranges": {func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			_, _ = w.Write(content)
			return true
		}, 12_345, 1, "", ""},
		"another range": {func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", size-1, size))
			w.WriteHeader(http.StatusPartialContent)
			return true
		}, 4, 1, "another part", ""},
		"without end": {func(w http.ResponseWriter, r *http.Request, _ int) bool {
			for r.Context().Err() == nil {
				if _, err := w.Write(content); err != nil {
					break
				}
			}
			return true
		}, 0, 1, "delivers more than it should", ""},
		"redirected": {func(w http.ResponseWriter, r *http.Request, _ int) bool {
			http.Redirect(w, r, elsewhere.URL+"/?signature=sesame", http.StatusTemporaryRedirect)
			return true
		}, 77, 1, "", ""},
		"redirected to nowhere": {func(w http.ResponseWriter, r *http.Request, _ int) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/?signature=sesame", http.StatusTemporaryRedirect)
			return true
		}, 0, 5, "", "accepts no connections"},
		"redirected for ever": {func(w http.ResponseWriter, r *http.Request, _ int) bool {
			http.Redirect(w, r, r.URL.Path+"?signature=sesame", http.StatusFound)
			return true
		}, 0, 10, "redirects without end", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResolver(t, source.Config{StallTimeout: 200 * time.Millisecond})
			repository, err := r.Open(t.Context(), f.host+"/web@"+digest)
			if err != nil {
				t.Fatal(err)
			}
			f.behave(row.rude)
			var got []byte
			body, err := repository.Blob(t.Context(), layer, size, row.offset)
			if err == nil {
				got, err = io.ReadAll(body)
				body.Close()
			}
			wantNoSecret(t, err)
			var trouble *source.UnavailableError
			switch {
			case row.fault != "":
				wantFault(t, err, row.fault)
			case row.trouble != "":
				if !errors.As(err, &trouble) || !strings.Contains(trouble.Msg, row.trouble) || errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want %q", err, row.trouble)
				}
			case err != nil || !bytes.Equal(got, content[row.offset:]):
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if n := len(f.requests()); n != row.requests {
				t.Errorf("%d requests, want %d", n, row.requests)
			}
		})
	}
}

// What breaks off is asked for from where it broke off.
func TestBlobAsksForTheRest(t *testing.T) {
	content := pattern(300_000)
	f := newForeign(t, nil)
	img, layer := layerOf(t, content)
	digest := f.push(t, "web:v1", img)
	f.behave(func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n == 1 {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:123_456])
			panic(http.ErrAbortHandler)
		}
		return false
	})
	repository, err := newResolver(t, source.Config{}).Open(t.Context(), f.host+"/web@"+digest)
	if err != nil {
		t.Fatal(err)
	}
	body, err := repository.Blob(t.Context(), layer, int64(len(content)), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	var ranges []string
	for _, r := range f.requests() {
		ranges = append(ranges, r.Header.Get("Range"))
	}
	if diff := cmp.Diff([]string{"", "bytes=123456-299999"}, ranges); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
}

func TestRetryAfter(t *testing.T) {
	f := newForeign(t, nil)
	f.push(t, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	r := newResolver(t, source.Config{})
	later := func(value string) {
		f.behave(func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 1 {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`)
			}
			return n == 1
		})
	}
	later("1")
	begin := time.Now()
	if _, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/web:v1"); err != nil || time.Since(begin) < time.Second {
		t.Errorf("%v after %s, want success after a second", err, time.Since(begin))
	}
	later("3600")
	begin = time.Now()
	_, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/web:v1")
	var trouble *source.UnavailableError
	if !errors.As(err, &trouble) || !strings.Contains(trouble.Msg, "answers 429 Too Many Requests: TOOMANYREQUESTS: slow down.") || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %s, want the registry's words at once", err, time.Since(begin))
	}
}

// A blob is given up when its context ends, wherever that finds it.
func TestBlobCancelled(t *testing.T) {
	f := newForeign(t, nil)
	img, layer := layerOf(t, pattern(1<<20))
	digest := f.push(t, "web:v1", img)
	reading := make(chan struct{})
	f.behave(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.Header().Set("Content-Length", strconv.Itoa(1<<20))
		_, _ = w.Write(pattern(70_000))
		_ = http.NewResponseController(w).Flush()
		close(reading)
		<-r.Context().Done()
		return true
	})
	repository, err := newResolver(t, source.Config{}).Open(t.Context(), f.host+"/web@"+digest)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, err := repository.Blob(ctx, layer, 1<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	go func() { <-reading; cancel() }()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestResolveOddManifests(t *testing.T) {
	f := newForeign(t, nil)
	f.push(t, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	r := newResolver(t, source.Config{})
	answer := func(header http.Header, body string) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int) bool {
			for name := range header {
				w.Header().Set(name, header.Get(name))
			}
			_, _ = io.WriteString(w, body)
			return !blobOnly(r)
		}
	}
	oci := http.Header{"Content-Type": {"application/vnd.oci.image.manifest.v1+json"}}
	for name, row := range map[string]struct {
		header http.Header
		body   string
		want   string
	}{
		"huge":           {oci, strings.Repeat(" ", 5<<20), "is larger than 4 MiB"},
		"not JSON":       {oci, "<html>", "not a container image"},
		"wrong digest":   {http.Header{"Docker-Content-Digest": {zeros}}, "{}", "does not have the digest " + zeros},
		"helm chart":     {http.Header{"Content-Type": {"application/vnd.cncf.helm.chart.v1+json"}}, "{}", "not a container image"},
		"schema 1":       {http.Header{"Content-Type": {"application/vnd.docker.distribution.manifest.v1+prettyjws"}}, `{"schemaVersion":1}`, "not a container image"},
		"no config":      {oci, `{"schemaVersion":2}`, "not a container image"},
		"huge config":    {oci, `{"config":{"digest":"` + zeros + `","size":99999999999}}`, "not a container image"},
		"config with ..": {oci, `{"config":{"digest":"../../x","size":2}}`, "not a container image"},
		"endless index": {
			http.Header{"Content-Type": {"application/vnd.oci.image.index.v1+json"}},
			`{"manifests":[` + strings.Repeat(`{"mediaType":"x/unknown","digest":"`+zeros+`"},`, 1000) + `{}]}`, "not a container image",
		},
	} {
		f.behave(answer(row.header, row.body))
		_, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/web:v1")
		wantFault(t, err, row.want)
		if n := len(f.requests()); n > 2 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	f.behave(nil)
	_, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/web:nope")
	wantFault(t, err, "does not exist. The registry says: MANIFEST_UNKNOWN: manifest unknown.")
	_, err = r.Resolve(t.Context(), scopeOf(alice), f.host+"/web@"+zeros)
	wantFault(t, err, "does not exist.")
	if apron.KindOf(err) != apron.Invalid {
		t.Error(err)
	}
}

// A tampered manifest is not taken for the one that was asked for.
func TestManifestIsVerified(t *testing.T) {
	f := newForeign(t, nil)
	digest := f.push(t, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	f.behave(func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		fmt.Fprint(w, `{"schemaVersion":2}`)
		return true
	})
	r := newResolver(t, source.Config{})
	_, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/web@"+digest)
	wantFault(t, err, "delivers something else than it should")
	repository, err := r.Open(t.Context(), f.host+"/web@"+digest)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = repository.Manifest(t.Context(), digest)
	wantFault(t, err, "delivers something else than it should")
}

// Manifest follows an index to what runs on this machine, however it is nested.
func TestManifestOfThisPlatform(t *testing.T) {
	f := newForeign(t, nil)
	r := newResolver(t, source.Config{})
	amd, arm := image(t, "linux", "amd64", types.OCIManifestSchema1), image(t, "linux", "arm64", types.OCIManifestSchema1)
	want, err := amd.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	for name, top := range map[string]v1.ImageIndex{
		"named":         index(part(arm, "linux/arm64"), part(amd, "linux/amd64")),
		"unnamed":       index(part(arm, ""), part(amd, "")),
		"nested":        index(part(arm, "linux/arm64"), part(index(part(arm, ""), part(amd, "linux/amd64")), "")),
		"nested, named": index(part(arm, "linux/arm64"), part(index(part(arm, "linux/arm64"), part(amd, "")), "linux/amd64")),
		"attestation":   index(part(image(t, "", "", types.OCIManifestSchema1), "unknown/unknown"), part(amd, "linux/amd64")),
		"docker":        mutate.IndexMediaType(index(part(amd, "linux/amd64")), types.DockerManifestList),
	} {
		digest := f.push(t, "web:v1", top)
		repository, err := r.Open(t.Context(), f.host+"/web@"+digest)
		if err != nil {
			t.Fatal(err)
		}
		mediaType, got, err := repository.Manifest(t.Context(), digest)
		if err != nil || !bytes.Equal(got, want) || mediaType != string(types.OCIManifestSchema1) {
			t.Errorf("%s: %v, %s, %s", name, err, mediaType, got)
		}
	}
	// A part of a media type nobody knows, which the registry would not have taken.
	odd := fmt.Sprintf(`{"mediaType":%q,"manifests":[{"mediaType":"application/vnd.example+json","digest":%q},{"mediaType":%q,"digest":"sha256:%x"}]}`,
		types.OCIImageIndex, zeros, types.OCIManifestSchema1, sha256.Sum256(want))
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(odd)))
	f.behave(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.HasSuffix(r.URL.Path, digest) {
			_, _ = io.WriteString(w, odd) // text/plain, as a plain file server would say
			return true
		}
		return false
	})
	repository, err := r.Open(t.Context(), f.host+"/web@"+digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := repository.Manifest(t.Context(), digest); err != nil || !bytes.Equal(got, want) {
		t.Errorf("odd parts: %v, %s", err, got)
	}

	f.behave(nil)
	digest = f.push(t, "web:v1", index(part(arm, "linux/arm64"), part(index(part(arm, "")), "")))
	repository, err = r.Open(t.Context(), f.host+"/web@"+digest)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = repository.Manifest(t.Context(), digest)
	wantFault(t, err, "does not run on linux/amd64: it is made for linux/arm64.")
}

func TestDigest(t *testing.T) {
	f := newForeign(t, nil)
	first := f.push(t, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	repository, err := newResolver(t, source.Config{}).Open(t.Context(), f.host+"/web:v1")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(known, want string, requests ...string) {
		t.Helper()
		f.behave(nil)
		if got, err := repository.Digest(t.Context(), "v1", known); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		var methods []string
		for _, r := range f.requests() {
			methods = append(methods, r.Method)
		}
		if diff := cmp.Diff(requests, methods); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	}
	ask("", first, "HEAD")
	ask(first, first, "HEAD")
	second := f.push(t, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	ask(first, second, "HEAD")

	f.behave(func(w http.ResponseWriter, r *http.Request, _ int) bool { // knows no header
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusOK)
		}
		return r.Method == http.MethodHead
	})
	if got, err := repository.Digest(t.Context(), "v1", first); err != nil || got != second {
		t.Errorf("without the header: %s, %v", got, err)
	}
	f.behave(nil)
	_, err = repository.Digest(t.Context(), "nope", "")
	wantFault(t, err, "does not exist.")
}
