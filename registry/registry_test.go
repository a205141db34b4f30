package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"apron/registry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Every store of the distribution handlers starts one of these and has no way to end it: a
		// process has as many as accounts that ever used the registry.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

const (
	alice = "123456789012"
	bob   = "210987654321"
)

func authenticate(_ context.Context, user, password string) (string, bool, error) {
	if user == "AKIABROKEN" {
		return "", false, errors.New("store is away")
	}
	switch user + " " + password {
	case "AKIAALICE alice-secret":
		return alice, true, nil
	case "AKIABOB bob:secret":
		return bob, true, nil
	default:
		return "", false, nil
	}
}

func asAlice() *authn.Basic { return &authn.Basic{Username: "AKIAALICE", Password: "alice-secret"} }

func asBob() *authn.Basic { return &authn.Basic{Username: "AKIABOB", Password: "bob:secret"} }

type pushed struct{ Account, Repository, Tag, Digest string }

// server is a registry behind a real HTTP server.
type server struct {
	*httptest.Server
	host string
	dir  string
	log  *lockedBuffer
	reg  *registry.Registry
	stop func()

	mu     sync.Mutex
	pushes []pushed
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, dir string) *server {
	t.Helper()
	return startWith(t, dir, nil)
}

// startWith starts a registry whose configuration change may change.
func startWith(t testing.TB, dir string, change func(*registry.Config)) *server {
	t.Helper()
	s := &server{dir: dir, log: &lockedBuffer{}}
	cfg := registry.Config{
		Dir: dir, Authenticate: authenticate,
		OnPush: func(account, repository, tag, digest string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pushes = append(s.pushes, pushed{account, repository, tag, digest})
		},
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	reg, err := registry.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.reg = reg
	s.Server = httptest.NewServer(reg)
	s.host = strings.TrimPrefix(s.URL, "http://")
	s.stop = sync.OnceFunc(func() {
		s.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *server) seen() []pushed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]pushed(nil), s.pushes...)
}

func (s *server) ref(t testing.TB, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(s.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func options(t testing.TB, auth authn.Authenticator) []remote.Option {
	return []remote.Option{
		remote.WithAuth(auth), remote.WithContext(t.Context()), remote.WithTransport(freshTransport(t)),
		remote.WithRetryPredicate(func(error) bool { return false }),
	}
}

func freshTransport(t testing.TB) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func randomImage(t testing.TB, size int64, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func wantStatus(t testing.TB, err error, status int) {
	t.Helper()
	var te *transport.Error
	if !errors.As(err, &te) || te.StatusCode != status {
		t.Errorf("got error %v, want status %d", err, status)
	}
}

func TestPushPull(t *testing.T) {
	for _, mt := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		t.Run(string(mt), func(t *testing.T) {
			s := start(t, t.TempDir())
			img := mutate.MediaType(randomImage(t, 4096, 3), mt)
			ref := s.ref(t, "team/web:v1")
			if err := remote.Write(ref, img, options(t, asAlice())...); err != nil {
				t.Fatal(err)
			}
			got, err := remote.Image(ref, options(t, asAlice())...)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := digestOf(t, got), digestOf(t, img); got != want {
				t.Errorf("pulled %s, want %s", got, want)
			}
			gotType, err := got.MediaType()
			if err != nil || gotType != mt {
				t.Errorf("media type %s, %v", gotType, err)
			}
			layers, err := got.Layers()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range layers {
				rc, err := l.Compressed()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, rc); err != nil { // ggcr verifies the digest
					t.Error(err)
				}
				rc.Close()
			}
			want := []pushed{{alice, "team/web", "v1", digestOf(t, img)}}
			if diff := cmp.Diff(want, s.seen()); diff != "" {
				t.Error(diff)
			}
			if got := s.log.String(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

func TestIndex(t *testing.T) {
	s := start(t, t.TempDir())
	idx, err := random.Index(1024, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref := s.ref(t, "multi:latest")
	if err := remote.WriteIndex(ref, idx, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(ref, options(t, asAlice())...)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := digestOf(t, got), digestOf(t, idx); got != want {
		t.Errorf("pulled %s, want %s", got, want)
	}
	seen := s.seen()
	if len(seen) != 4 {
		t.Fatalf("announced %v, want three parts and the index", seen)
	}
	for i, p := range seen {
		if last := i == 3; (p.Tag == "latest") != last || p.Tag == "" == last {
			t.Errorf("announcement %d: %+v", i, p)
		}
	}
}

func TestCatalogTagsAndDelete(t *testing.T) {
	s := start(t, t.TempDir())
	img := randomImage(t, 512, 1)
	for _, ref := range []string{"web:a", "web:b", "team/api:a"} {
		if err := remote.Write(s.ref(t, ref), img, options(t, asAlice())...); err != nil {
			t.Fatal(err)
		}
	}
	reg, err := name.NewRegistry(s.host)
	if err != nil {
		t.Fatal(err)
	}
	repos, err := remote.Catalog(t.Context(), reg, options(t, asAlice())...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"team/api", "web"}, repos); diff != "" {
		t.Error(diff)
	}
	web := reg.Repo("web")
	tags, err := remote.List(web, options(t, asAlice())...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, tags); diff != "" {
		t.Error(diff)
	}

	if err := remote.Delete(web.Tag("a"), options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	_, err = remote.Head(web.Tag("a"), options(t, asAlice())...)
	wantStatus(t, err, http.StatusNotFound)
	if _, err := remote.Head(web.Tag("b"), options(t, asAlice())...); err != nil {
		t.Error(err)
	}
	if err := remote.Delete(web.Digest(digestOf(t, img)), options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	_, err = remote.Head(web.Tag("b"), options(t, asAlice())...)
	wantStatus(t, err, http.StatusNotFound)
	if _, err := remote.Head(s.ref(t, "team/api:a"), options(t, asAlice())...); err != nil {
		t.Errorf("deleting from one repository reached another: %v", err)
	}
}
