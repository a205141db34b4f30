package registry_test

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"apron/registry"
)

// age makes everything that is stored look as if nobody had touched it for two days.
func (s *server) age(t testing.TB) {
	t.Helper()
	then := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return os.Chtimes(path, then, then)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) push(t testing.TB, ref string, img v1.Image) {
	t.Helper()
	if err := remote.Write(s.ref(t, ref), img, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
}

// delete deletes the manifest of an image from a repository.
func (s *server) delete(t testing.TB, repository string, img v1.Image) {
	t.Helper()
	c := client{t, s, asAlice()}
	if got := c.do("DELETE", "/v2/"+repository+"/manifests/"+digestOf(t, img), nil, nil); got.StatusCode != http.StatusAccepted {
		t.Fatal(got.Status)
	}
}

func (s *server) collect(t testing.TB) registry.Collected {
	t.Helper()
	got, err := s.reg.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantWhole pulls an image and compares every digest.
func (s *server) wantWhole(t testing.TB, ref string) {
	t.Helper()
	img, err := remote.Image(s.ref(t, ref), options(t, asAlice())...)
	if err != nil {
		t.Errorf("%s: %v", ref, err)
		return
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("%s: %v", ref, err)
	}
}

// files returns how many files the registry keeps for blobs and links to layers.
func (s *server) files(t testing.TB) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (strings.Contains(path, "/blobs/") || strings.Contains(path, "/_layers/")) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCollect(t *testing.T) {
	s := start(t, t.TempDir())
	if got := s.collect(t); got.Blobs != 0 {
		t.Errorf("an empty registry: %+v", got)
	}
	stays, goes := randomImage(t, 1000, 2), randomImage(t, 1000, 2)
	shared, err := stays.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if goes, err = mutate.AppendLayers(goes, shared[0]); err != nil {
		t.Fatal(err)
	}
	s.push(t, "web:v1", stays)
	before := s.files(t)
	s.push(t, "web:v2", goes)
	s.push(t, "copy:v2", goes)
	s.delete(t, "web", goes)
	s.age(t)
	if got := s.collect(t); got.Blobs != 0 {
		t.Errorf("removed %+v of an image that another repository has", got)
	}
	s.delete(t, "copy", goes)
	s.push(t, "fresh:v1", randomImage(t, 100, 1))
	fresh := s.files(t)
	got := s.collect(t)
	if want := 4; got.Blobs != want || got.Bytes < 2000 { // manifest, configuration, two layers of its own
		t.Errorf("removed %+v, want %d blobs", got, want)
	}
	// Of the second image nothing is left: what fresh:v1 has came after it. copy keeps its link to the
	// layer that web:v1 has.
	if after, pushed := s.files(t), 5; after != before+pushed+1 || after >= fresh {
		t.Errorf("%d files, %d before the image that was deleted", after, before)
	}
	s.wantWhole(t, "web:v1")
	s.wantWhole(t, "fresh:v1")
	s.push(t, "web:v2", goes)
	s.wantWhole(t, "web:v2")
}

// TestCollectKeepsPartsOfAnIndex has manifests that are referred to by others, and refer themselves.
func TestCollectKeepsPartsOfAnIndex(t *testing.T) {
	s := start(t, t.TempDir())
	inner := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: randomImage(t, 500, 1)})
	outer := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: inner}, mutate.IndexAddendum{Add: randomImage(t, 500, 2)})
	if err := remote.WriteIndex(s.ref(t, "web:v1"), outer, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	s.age(t)
	if got := s.collect(t); got.Blobs != 0 {
		t.Errorf("removed %+v", got)
	}
	back, err := remote.Index(s.ref(t, "web:v1"), options(t, asAlice())...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(back); err != nil {
		t.Error(err)
	}
}

// TestCollectKeepsWhatIsBeingPushed has a client at every stage of a push.
func TestCollectKeepsWhatIsBeingPushed(t *testing.T) {
	s := start(t, t.TempDir())
	c := client{t, s, asAlice()}
	img := randomImage(t, 1000, 1)
	s.push(t, "web:v1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	s.delete(t, "web", img)

	s.age(t)
	if got := c.do("HEAD", "/v2/web/blobs/"+layer.String(), nil, nil); got.StatusCode != http.StatusOK {
		t.Fatal(got.Status)
	}
	if got := s.collect(t); got.Blobs != 2 { // manifest and configuration, which nobody has asked for
		t.Errorf("removed %+v", got)
	}
	if got := c.do("HEAD", "/v2/web/blobs/"+layer.String(), nil, nil); got.StatusCode != http.StatusOK {
		t.Errorf("a layer the client was told of is gone: %s", got.Status)
	}

	s.age(t)
	if got := c.do("POST", "/v2/copy/blobs/uploads/?mount="+layer.String()+"&from=web", nil, nil); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status)
	}
	if got := s.collect(t); got.Blobs != 0 {
		t.Errorf("removed %+v that was mounted", got)
	}

	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	begun := c.do("POST", "/v2/web/blobs/uploads/", nil, nil)
	sent := c.do("PATCH", begun.Header.Get("Location"), strings.NewReader(string(config)), nil)
	s.age(t) // the client pauses for two days
	done := c.do("PUT", sent.Header.Get("Location")+"&digest="+name.String(), nil, nil)
	if done.StatusCode != http.StatusCreated {
		t.Fatal(done.Status)
	}
	// Only the layer is old; the manifest makes it fresh.
	put := c.do("PUT", "/v2/web/manifests/v1", strings.NewReader(string(raw)), map[string]string{"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"})
	if put.StatusCode != http.StatusCreated {
		t.Fatal(put.Status, put.body)
	}
	if got := s.collect(t); got.Blobs != 0 {
		t.Errorf("removed %+v of an image that was just pushed", got)
	}
	s.wantWhole(t, "web:v1")
}

// TestCollectBesidePushes pushes what is about to be removed while it is: either the client is told
// that it is there, and it stays, or it sends it again.
func TestCollectBesidePushes(t *testing.T) {
	s := start(t, t.TempDir())
	img := randomImage(t, 200, 4)
	for range 15 {
		s.push(t, "web:v1", img)
		s.delete(t, "web", img)
		s.age(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.reg.Collect(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
		s.push(t, "web:v1", img)
		cancel()
		wg.Wait()
		s.wantWhole(t, "web:v1")
	}
}

// TestCollectStopsAtDamage removes nothing where it cannot tell what is used.
func TestCollectStopsAtDamage(t *testing.T) {
	s := start(t, t.TempDir())
	img, other := randomImage(t, 200, 1), randomImage(t, 200, 1)
	s.push(t, "web:v1", img)
	s.push(t, "web:v2", other)
	s.delete(t, "web", other)
	sum := strings.TrimPrefix(digestOf(t, img), "sha256:")
	if err := os.WriteFile(filepath.Join(s.dir, alice, "docker/registry/v2/blobs/sha256", sum[:2], sum, "data"), []byte("\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.age(t)
	if got, err := s.reg.Collect(t.Context()); err == nil || got.Blobs != 0 || !strings.Contains(err.Error(), alice) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	img := randomImage(t, 500, 1)
	s.push(t, "web:v1", img)
	s.stop()
	s = startWith(t, dir, func(c *registry.Config) { c.MinFreeBytes = 1 << 60 })
	c := client{t, s, asAlice()}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []answer{
		c.do("POST", "/v2/web/blobs/uploads/", nil, nil), c.do("PUT", "/v2/web/manifests/v2", strings.NewReader(string(raw)), nil),
	} {
		if got.StatusCode != http.StatusInsufficientStorage || !strings.Contains(got.body, `"code":"UNAVAILABLE","message":"the registry's disk is nearly full`) {
			t.Errorf("got %s: %s", got.Status, got.body)
		}
	}
	s.wantWhole(t, "web:v1")
	s.delete(t, "web", img)
}
