package registry_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// client makes single HTTP calls.
type client struct {
	t    testing.TB
	s    *server
	auth *authn.Basic // nil: none
}

type answer struct {
	*http.Response
	body string
}

func (c client) do(method, path string, body io.Reader, header map[string]string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.s.URL+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.auth != nil {
		req.SetBasicAuth(c.auth.Username, c.auth.Password)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	cl := &http.Client{
		Transport:     freshTransport(c.t),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := cl.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{res, string(b)}
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestCalls(t *testing.T) {
	s := start(t, t.TempDir())
	img := randomImage(t, 64, 1)
	if err := remote.Write(s.ref(t, "web:v1"), img, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	if got := (client{t, s, asAlice()}).do("POST", "/v2/web/blobs/uploads/?digest="+sha("0123456789"), strings.NewReader("0123456789"), nil); got.StatusCode != http.StatusAccepted {
		t.Fatal(got.Status)
	} else if got := (client{t, s, asAlice()}).do("PUT", got.Header.Get("Location")+"&digest="+sha("0123456789"), strings.NewReader("0123456789"), nil); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status, got.body)
	}
	digits := "/v2/web/blobs/" + sha("0123456789")
	const oci = "application/vnd.oci.image.manifest.v1+json"
	basic := func(u, p string) *authn.Basic { return &authn.Basic{Username: u, Password: p} }
	rows := []struct {
		name, method, path string
		auth               *authn.Basic
		body               string
		header             map[string]string
		code               int
		want               string            // part of the body
		wantHeader         map[string]string // exact
	}{
		{"version", "GET", "/v2/", asAlice(), "", nil, 200, "{}", map[string]string{"Docker-Distribution-API-Version": "registry/2.0"}},
		{"no credentials", "GET", "/v2/", nil, "", nil, 401, `"UNAUTHORIZED"`, map[string]string{
			"WWW-Authenticate": `Basic realm="apron"`, "Docker-Distribution-API-Version": "registry/2.0",
		}},
		{"wrong secret", "GET", "/v2/", basic("AKIAALICE", "x"), "", nil, 401, `"UNAUTHORIZED"`, nil},
		{"bearer", "GET", "/v2/", nil, "", map[string]string{"Authorization": "Bearer x"}, 401, `"UNAUTHORIZED"`, nil},
		{"keys cannot be checked", "GET", "/v2/", basic("AKIABROKEN", "x"), "", nil, 503, `"UNAVAILABLE"`, nil},
		{"empty catalog", "GET", "/v2/_catalog", asBob(), "", nil, 200, `{"repositories":[]}`, nil},
		{"catalog", "GET", "/v2/_catalog", asAlice(), "", nil, 200, `{"repositories":["web"]}`, nil},
		{"catalog page too long", "GET", "/v2/_catalog?n=100000", asAlice(), "", nil, 400, "PAGINATION_NUMBER_INVALID", nil},
		{"tags", "GET", "/v2/web/tags/list", asAlice(), "", nil, 200, `{"name":"web","tags":["v1"]}`, nil},
		{"tags of nothing", "GET", "/v2/nope/tags/list", asAlice(), "", nil, 404, "NAME_UNKNOWN", nil},
		{"manifest", "GET", "/v2/web/manifests/v1", asAlice(), "", map[string]string{"Accept": oci + ", application/vnd.docker.distribution.manifest.v2+json"}, 200, "schemaVersion", map[string]string{"Docker-Content-Digest": digestOf(t, img)}},
		{"no such tag", "GET", "/v2/web/manifests/nope", asAlice(), "", nil, 404, "MANIFEST_UNKNOWN", nil},
		{"no such repository", "GET", "/v2/nope/manifests/v1", asAlice(), "", nil, 404, "MANIFEST_UNKNOWN", nil},
		{"bad digest", "GET", "/v2/web/manifests/sha256:xyz", asAlice(), "", nil, 400, "DIGEST_INVALID", nil},
		{"bad name", "GET", "/v2/Web/manifests/v1", asAlice(), "", nil, 404, "", nil},
		{"not a manifest", "PUT", "/v2/web/manifests/v2", asAlice(), "{}", map[string]string{"Content-Type": oci}, 400, "MANIFEST_INVALID", nil},
		{"manifest of unknown blobs", "PUT", "/v2/web/manifests/v2", asAlice(), `{"schemaVersion":2,"mediaType":"` + oci + `","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"` + sha("{}") + `"},"layers":[]}`, map[string]string{"Content-Type": oci}, 400, "MANIFEST_BLOB_UNKNOWN", nil},
		{"manifest without media type", "PUT", "/v2/web/manifests/v2", asAlice(), `{"schemaVersion":2}`, nil, 400, "MANIFEST_INVALID", nil},
		{"manifest of schema 1", "PUT", "/v2/web/manifests/v2", asAlice(), `{"schemaVersion":1}`, map[string]string{"Content-Type": "application/vnd.docker.distribution.manifest.v1+json"}, 400, "MANIFEST_INVALID", nil},
		{"manifest that is no JSON", "PUT", "/v2/web/manifests/v2", asAlice(), `[`, map[string]string{"Content-Type": oci}, 400, "MANIFEST_INVALID", nil},
		{"manifest too large", "PUT", "/v2/web/manifests/v2", asAlice(), strings.Repeat(" ", 5<<20), map[string]string{"Content-Type": oci}, 413, "SIZE_INVALID", nil},
		{"blob", "GET", digits, asAlice(), "", nil, 200, "0123456789", nil},
		{"range", "GET", digits, asAlice(), "", map[string]string{"Range": "bytes=2-4"}, 206, "234", map[string]string{"Content-Range": "bytes 2-4/10"}},
		{"open range", "GET", digits, asAlice(), "", map[string]string{"Range": "bytes=7-"}, 206, "789", nil},
		{"range past the end", "GET", digits, asAlice(), "", map[string]string{"Range": "bytes=20-"}, 416, "", nil},
		{"no such blob", "GET", "/v2/web/blobs/" + sha("nope"), asAlice(), "", nil, 404, "BLOB_UNKNOWN", nil},
		{"no such upload", "PATCH", "/v2/web/blobs/uploads/0b2c53a4-6b5c-4d5e-8f69-2a8f1d6b2f10?_state=x", asAlice(), "x", nil, 404, "BLOB_UPLOAD_INVALID", nil},
		{"wrong method", "POST", "/v2/web/manifests/v1", asAlice(), "", nil, 405, "", nil},
		{"outside", "GET", "/elsewhere", asAlice(), "", nil, 404, "", nil},
		{"above", "GET", "/v2/../secret", asAlice(), "", nil, 301, "", nil},
		{"above, escaped", "GET", "/v2/%2e%2e/%2e%2e/secret", asAlice(), "", nil, 301, "", nil},
		{"delete nothing", "DELETE", "/v2/web/manifests/" + sha("nope"), asAlice(), "", nil, 404, "MANIFEST_UNKNOWN", nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var body io.Reader
			if row.body != "" {
				body = strings.NewReader(row.body)
			}
			got := client{t, s, row.auth}.do(row.method, row.path, body, row.header)
			if got.StatusCode != row.code {
				t.Errorf("got %s, want %d: %s", got.Status, row.code, got.body)
			}
			if !strings.Contains(got.body, row.want) {
				t.Errorf("body %s, want %s in it", got.body, row.want)
			}
			for k, want := range row.wantHeader {
				if v := got.Header.Get(k); v != want {
					t.Errorf("%s: %s, want %s", k, v, want)
				}
			}
		})
	}
	if got := s.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "store is away") {
		t.Errorf("only what an operator must act on belongs in the log, got:\n%s", got)
	}
}

func TestChunkedUpload(t *testing.T) {
	s := start(t, t.TempDir())
	c := client{t, s, asAlice()}
	res := c.do("POST", "/v2/web/blobs/uploads/", nil, nil)
	loc := res.Header.Get("Location")
	if !strings.HasPrefix(loc, "/v2/web/blobs/uploads/") {
		t.Fatalf("Location %s is not relative", loc)
	}
	for _, chunk := range []struct{ body, rng, got string }{{"hello", "0-4", "0-4"}, {", wor", "5-9", "0-9"}, {"ld", "10-11", "0-11"}} {
		res = c.do("PATCH", loc, strings.NewReader(chunk.body), map[string]string{
			"Content-Range": chunk.rng, "Content-Type": "application/octet-stream",
		})
		if res.StatusCode != http.StatusAccepted || res.Header.Get("Range") != chunk.got {
			t.Fatalf("chunk %s: %s, Range %s", chunk.rng, res.Status, res.Header.Get("Range"))
		}
		loc = res.Header.Get("Location")
	}
	if got := c.do("GET", loc, nil, nil); got.StatusCode != http.StatusNoContent || got.Header.Get("Range") != "0-11" {
		t.Errorf("status of the upload: %s, Range %s", got.Status, got.Header.Get("Range"))
	}
	if got := c.do("PATCH", loc, strings.NewReader("x"), map[string]string{"Content-Range": "40-40"}); got.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("chunk out of order: %s", got.Status)
	}
	if got := c.do("PUT", loc+"&digest="+sha("something else"), nil, nil); got.StatusCode != http.StatusBadRequest {
		t.Errorf("wrong digest: %s", got.Status)
	}

	loc = c.do("POST", "/v2/web/blobs/uploads/", nil, nil).Header.Get("Location")
	loc = c.do("PATCH", loc, strings.NewReader("hello, world"), nil).Header.Get("Location")
	if got := c.do("PUT", loc+"&digest="+sha("hello, world"), nil, nil); got.StatusCode != http.StatusCreated {
		t.Errorf("finish: %s", got.Status)
	}
	if got := c.do("GET", "/v2/web/blobs/"+sha("hello, world"), nil, nil); got.body != "hello, world" {
		t.Errorf("blob: %q", got.body)
	}
}

func TestStreamedLayer(t *testing.T) {
	s := start(t, t.TempDir())
	// A body without a length, as docker sends it.
	c := client{t, s, asAlice()}
	loc := c.do("POST", "/v2/web/blobs/uploads/", nil, nil).Header.Get("Location")
	body := strings.Repeat("0123456789abcdef", 64<<10)
	res := c.do("PATCH", loc, io.MultiReader(strings.NewReader(body)), nil)
	if res.StatusCode != http.StatusAccepted {
		t.Fatal(res.Status)
	}
	h, _, err := v1.SHA256(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.do("PUT", res.Header.Get("Location")+"&digest="+h.String(), nil, nil); got.StatusCode != http.StatusCreated {
		t.Errorf("finish: %s", got.Status)
	}
}
