package source_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/source"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// heard is what a Follower has told: of which service, which digest, and how.
type heard struct {
	how     string
	service apron.ServiceID
	digest  string
}

// audience follows images and hears of them. It is safe for concurrent use.
type audience struct {
	heard chan heard // buffered
	fail  atomic.Int32

	mu       sync.Mutex // guards followed
	followed []apron.FollowedImage
}

func newAudience(images ...apron.FollowedImage) *audience {
	return &audience{heard: make(chan heard, 1000), followed: images}
}

func (a *audience) list(context.Context) ([]apron.FollowedImage, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail.Add(-1) >= 0 {
		return nil, errors.New("the store is away")
	}
	return a.followed, nil
}

func (a *audience) hear(how string) func(context.Context, apron.ServiceID, string) error {
	return func(_ context.Context, id apron.ServiceID, digest string) error {
		a.heard <- heard{how, id, digest}
		return nil
	}
}

// wait returns once the audience has heard all of want, in any order and among whatever else.
func (a *audience) wait(t *testing.T, want ...heard) {
	t.Helper()
	left := map[heard]bool{}
	for _, h := range want {
		left[h] = true
	}
	limit := time.After(patience)
	for len(left) > 0 {
		select {
		case h := <-a.heard:
			delete(left, h)
		case <-limit:
			t.Fatalf("never heard %v", left)
		}
	}
}

// follow runs a Follower until the test ends.
func follow(t *testing.T, r *source.Resolver, a *audience, interval time.Duration) *source.Follower {
	t.Helper()
	f := source.NewFollower(source.FollowerConfig{
		Resolver: r, Followed: a.list, Pushed: a.hear("pushed"), Noticed: a.hear("noticed"), Interval: interval,
		Log: slog.New(slog.DiscardHandler), Jitter: func(d time.Duration) time.Duration { return d / 2 },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return f
}

func followed(id apron.ServiceID, identifier string) apron.FollowedImage {
	return apron.FollowedImage{Service: id, Scope: scopeOf(alice), Identifier: identifier}
}

// Everybody who follows the tag hears of a push to it, by whatever name they know it.
func TestFollowPushes(t *testing.T) {
	w := newWorld(t)
	before := w.push(t, alice, "web:latest", image(t, "linux", "amd64", types.OCIManifestSchema1))
	a := newAudience(
		followed("one", ecrHost+"/web"), followed("two", alice+".dkr.ecr.eu-west-1.amazonaws.com/web:latest"),
		followed("address", w.host+"/web:latest"), followed("pinned", ecrHost+"/web@"+before),
		followed("other tag", ecrHost+"/web:v1"), followed("other repository", ecrHost+"/api"), followed("broken", "::"),
		apron.FollowedImage{Service: "bob", Scope: scopeOf(bob), Identifier: bob + ".dkr.ecr.us-east-1.amazonaws.com/web"},
	)
	f := follow(t, w.resolver(t, nil), a, 0)
	a.wait(t, heard{"noticed", "one", before}, heard{"noticed", "two", before}, heard{"noticed", "address", before})

	a.fail.Store(1) // told again
	f.Push(alice, "web", "", "sha256:part")
	f.Push(alice, "web", "latest", "sha256:overtaken")
	f.Push(alice, "web", "latest", "sha256:new")
	f.Push(alice, "web", "v2", "sha256:nobody's")
	a.wait(t, heard{"pushed", "one", "sha256:new"}, heard{"pushed", "two", "sha256:new"}, heard{"pushed", "address", "sha256:new"})
	f.Push(bob, "web", "latest", "sha256:bobs")
	for h := range a.heard {
		if h == (heard{"pushed", "bob", "sha256:bobs"}) {
			break
		}
		t.Errorf("somebody heard %v", h)
	}
}

// elsewhere is another registry: the tag web:1, and how it was asked for.
type elsewhere struct {
	*httptest.Server
	heads, unchanged, others atomic.Int32
	down                     atomic.Bool

	mu     sync.Mutex // guards digest
	digest string
}

func newElsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{digest: "sha256:" + strings.Repeat("1", 64)}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *elsewhere) move(digit string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.digest = "sha256:" + strings.Repeat(digit, 64)
	return e.digest
}

func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case e.down.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method != http.MethodHead || r.URL.Path != "/v2/team/web/manifests/1":
		e.others.Add(1)
		w.WriteHeader(http.StatusNotFound)
	case r.Header.Get("If-None-Match") == `"`+e.digest+`"`:
		e.heads.Add(1)
		e.unchanged.Add(1)
		w.WriteHeader(http.StatusNotModified)
	default:
		e.heads.Add(1)
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		w.Header().Set("Content-Length", "7")
		w.Header().Set("Docker-Content-Digest", e.digest)
	}
}

// Tags of other registries are looked at again and again, with one request for all who follow one,
// which costs no more than a status while nothing has changed.
func TestFollowOtherRegistries(t *testing.T) {
	e := newElsewhere(t)
	host := strings.TrimPrefix(e.URL, "http://")
	r, err := source.New(source.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := newAudience(followed("one", host+"/team/web:1"), followed("two", host+"/team/web:1"))
	first := e.move("1")
	follow(t, r, a, 20*time.Millisecond)
	a.wait(t, heard{"noticed", "one", first}, heard{"noticed", "two", first})
	for e.unchanged.Load() < 3 {
		a.wait(t, heard{"noticed", "one", first})
	}
	if heads, unchanged := e.heads.Load(), e.unchanged.Load(); heads-unchanged != 1 {
		t.Errorf("%d of %d requests were not conditional, want the first alone", heads-unchanged, heads)
	}
	second := e.move("2")
	a.wait(t, heard{"noticed", "one", second}, heard{"noticed", "two", second})

	e.down.Store(true)
	third := e.move("3")
	a.mu.Lock()
	a.followed = append(a.followed, followed("late", host+"/team/web:1"))
	a.mu.Unlock()
	e.down.Store(false)
	a.wait(t, heard{"noticed", "one", third}, heard{"noticed", "late", third})
	if n := e.others.Load(); n != 0 {
		t.Errorf("%d requests for something else", n)
	}
}

func TestChanged(t *testing.T) {
	w := newWorld(t)
	digest := w.push(t, alice, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	r := w.resolver(t, nil)
	for _, known := range []string{"", digest, "sha256:" + strings.Repeat("0", 64)} {
		if got, err := r.Changed(t.Context(), scopeOf(alice), ecrHost+"/web:v1", known); err != nil || got != digest {
			t.Errorf("known %q: %q, %v, want %s", known, got, err, digest)
		}
	}
	if got, err := r.Changed(t.Context(), scopeOf(alice), ecrHost+"/none@"+digest, ""); err != nil || got != digest {
		t.Errorf("pinned: %q, %v", got, err)
	}
	for _, name := range []string{ecrHost + "/web:none", "::", bob + ".dkr.ecr.us-east-1.amazonaws.com/web:v1"} {
		if _, err := r.Changed(t.Context(), scopeOf(alice), name, digest); apron.KindOf(err) != apron.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
