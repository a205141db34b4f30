package source_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"apron"
	"apron/registry"
	"apron/source"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The embedded registry's handlers start one per account and have no way to end it.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

const (
	alice   = "123456789012"
	bob     = "210987654321"
	ecrHost = alice + ".dkr.ecr.us-east-1.amazonaws.com"
)

func scopeOf(account string) apron.Scope { return apron.Scope{Account: account, Region: "us-east-1"} }

// world is an embedded registry with two accounts, whose key is the account's number twice.
type world struct {
	*httptest.Server
	host     string
	password string // what Embedded gives out; the right one by default
}

func newWorld(t testing.TB) *world {
	t.Helper()
	reg, err := registry.New(t.Context(), registry.Config{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, user, password string) (string, bool, error) {
			return user, (user == alice || user == bob) && password == "secret", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: httptest.NewServer(reg), password: "secret"}
	w.host = strings.TrimPrefix(w.URL, "http://")
	t.Cleanup(func() {
		w.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) embedded(account string) (string, string, string, bool) {
	return w.URL, account, w.password, account == alice || account == bob
}

func (w *world) resolver(t testing.TB, change func(*source.Config)) *source.Resolver {
	t.Helper()
	cfg := source.Config{Embedded: w.embedded}
	if change != nil {
		change(&cfg)
	}
	r, err := source.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (w *world) push(t testing.TB, account, name string, img remote.Taggable) string {
	t.Helper()
	digest, err := source.Push(t.Context(), img, w.host+"/"+name, account, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// image returns an image for a platform, its manifest of the media type.
func image(t testing.TB, os, arch string, mt types.MediaType) v1.Image {
	t.Helper()
	img, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg.OS, cfg.Architecture = os, arch
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return mutate.MediaType(img, mt)
}

func index(parts ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), parts...)
}

func part(img mutate.Appendable, platform string) mutate.IndexAddendum {
	add := mutate.IndexAddendum{Add: img}
	if os, arch, ok := strings.Cut(platform, "/"); ok {
		add.Platform = &v1.Platform{OS: os, Architecture: arch}
	}
	return add
}

func wantFault(t *testing.T, err error, part string) {
	t.Helper()
	var f *apron.Fault
	if !errors.As(err, &f) || f.Kind != apron.Invalid || !strings.Contains(f.Msg, part) {
		t.Errorf("got %v, want an Invalid fault with %q", err, part)
	}
	if f != nil && strings.Contains(f.Error(), "secret") {
		t.Errorf("%v tells a secret", f)
	}
}
