package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/engine/containerd"
	"apron/engine/enginetest"
)

// kept returns what the engine keeps of blobs and downloads, and how many leases there are.
func (r *rig) kept(t testing.TB) (blobs, downloads, leases int) {
	t.Helper()
	cl, err := client.New(containerd.SocketPath(r.dir), client.WithDefaultNamespace(containerd.DefaultNamespace))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	err = cl.ContentStore().Walk(t.Context(), func(content.Info) error { blobs++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	status, err := cl.ContentStore().ListStatuses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held, err := cl.LeasesService().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return blobs, len(status), len(held)
}

// wantNothingKept waits until the collector has removed what a failed pull has brought.
func (r *rig) wantNothingKept(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		blobs, downloads, leases := r.kept(t)
		if blobs+downloads+leases == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d blobs, %d downloads and %d leases are kept", blobs, downloads, leases)
		}
	}
}

// layerSize returns the compressed size of an image's one layer.
func layerSize(t testing.TB, img v1.Image) int64 {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	size, err := layers[0].Size()
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func serveConfig() v1.Config { return v1.Config{Entrypoint: []string{"/app"}, Cmd: []string{"serve"}} }

// TestPullGoesOn interrupts a pull, then the driver, then the engine: the last try asks for no more
// than what is missing.
func TestPullGoesOn(t *testing.T) {
	r := newRig(t)
	h := newRudeHost(t, r)
	spec := enginetest.SpecOf(h.push(t, "serve", serveConfig()))
	built := h.build(t, serveConfig(), "amd64")
	const first = 200_000
	h.behave(cutAfter(first, false))
	if err := r.driver.Prepare(t.Context(), spec); err == nil || apron.KindOf(err) != 0 {
		t.Fatalf("an interrupted pull: %v, want an error that may pass", err)
	}
	if _, downloads, leases := r.kept(t); downloads != 1 || leases != 1 {
		t.Fatalf("%d downloads under %d leases are kept, want one each", downloads, leases)
	}
	r.driver.stop()
	r.child.stop(t)
	r.child = startEngine(t, r.dir)
	r.driver = startDriver(t, r.cfg)

	h.behave(nil)
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("bytes=%d-%d", first, layerSize(t, built)-1)}, h.ranges(t, built)); diff != "" {
		t.Errorf("ranges of the second try (-want +got):\n%s", diff)
	}
	if _, downloads, leases := r.kept(t); downloads+leases != 0 {
		t.Errorf("%d downloads and %d leases are kept after success", downloads, leases)
	}
	runOne(t, r.driver, enginetest.StartWatch(t, r.driver), spec)
}

// TestLostLease: an engine that is killed at the end of a pull leaves its lease, which goes when the
// image is asked for again.
func TestLostLease(t *testing.T) {
	r := newRig(t)
	spec := enginetest.SpecOf(r.images.push(t, "serve", serveConfig()))
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(containerd.SocketPath(r.dir), client.WithDefaultNamespace(containerd.DefaultNamespace))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	id := "apron-pull-" + strings.ReplaceAll(spec.Image.Digest, ":", "-")
	if _, err := cl.LeasesService().Create(t.Context(), leases.WithID(id), leases.WithExpiration(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Prepare(t.Context(), enginetest.SpecOf(spec.Image)); err != nil {
		t.Fatal(err)
	}
	if _, _, held := r.kept(t); held != 0 {
		t.Errorf("%d leases are left", held)
	}
}

// TestPull runs what needs no more than a rude registry, each from nothing.
func TestPull(t *testing.T) {
	r := newRig(t)
	h := newRudeHost(t, r)
	for _, row := range []struct {
		name string
		test func(*testing.T, *rudeHost)
	}{
		{"tampered blob", r.tamperedBlob},
		{"damaged download", r.damagedDownload},
		{"progress", r.pullReportsProgress},
		{"many of one image", r.manyPullsOfOneImage},
		{"cancelled", r.pullIsCancelled}, // last: it keeps what it has
	} {
		r.wantNothingKept(t)
		h.behave(nil)
		t.Run(row.name, func(t *testing.T) { row.test(t, h) })
		left, err := r.driver.Revisions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range left {
			if err := r.driver.Remove(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	}
}

func (r *rig) tamperedBlob(t *testing.T, h *rudeHost) {
	spec := enginetest.SpecOf(h.push(t, "serve", serveConfig()))
	h.behave(func(w http.ResponseWriter, _ *http.Request, blob []byte) bool {
		if len(blob) > 100_000 {
			blob = bytes.Clone(blob)
			blob[len(blob)/2] ^= 1
			_, _ = w.Write(blob)
			return true
		}
		return false
	})
	err := r.driver.Prepare(t.Context(), spec)
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "does not have the part's digest") {
		t.Errorf("got %v", err)
	}
	r.wantNothingKept(t)
	h.behave(nil)
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Errorf("once the registry is honest: %v", err)
	}
}

// damagedDownload goes on from bytes that are not the image's, as a power cut may leave them.
func (r *rig) damagedDownload(t *testing.T, h *rudeHost) {
	spec := enginetest.SpecOf(h.push(t, "serve", serveConfig()))
	built := h.build(t, serveConfig(), "amd64")
	h.behave(cutAfter(150_000, true))
	if err := r.driver.Prepare(t.Context(), spec); err == nil || apron.KindOf(err) != 0 {
		t.Fatalf("an interrupted pull: %v", err)
	}
	h.behave(nil)
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("bytes=150000-%d", layerSize(t, built)-1), ""}, h.ranges(t, built)); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
}

func (r *rig) pullIsCancelled(t *testing.T, h *rudeHost) {
	spec := enginetest.SpecOf(h.push(t, "serve", serveConfig()))
	started := make(chan struct{}, 1)
	h.behave(func(w http.ResponseWriter, req *http.Request, blob []byte) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		_, _ = w.Write(blob[:len(blob)/2])
		_ = http.NewResponseController(w).Flush()
		select {
		case started <- struct{}{}:
		default:
		}
		<-req.Context().Done()
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-started; cancel() }()
	begin := time.Now()
	if err := r.driver.Prepare(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a cancelled pull took %s", took)
	}
}

func TestImageTooLarge(t *testing.T) {
	r := newRig(t)
	h := newRudeHost(t, r)
	spec := enginetest.SpecOf(h.push(t, "serve", serveConfig()))
	built := h.build(t, serveConfig(), "amd64")
	r.driver.stop()
	r.cfg.MaxImageBytes = 100_000
	r.driver = startDriver(t, r.cfg)
	h.behave(nil)
	err := r.driver.Prepare(t.Context(), spec)
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "The image is too large") {
		t.Errorf("got %v", err)
	}
	if got := h.ranges(t, built); len(got) != 0 {
		t.Errorf("%d layers were asked for", len(got))
	}
	r.wantNothingKept(t)
}

func (r *rig) pullReportsProgress(t *testing.T, h *rudeHost) {
	spec := enginetest.SpecOf(h.push(t, "serve", serveConfig()))
	built := h.build(t, serveConfig(), "amd64")
	size := layerSize(t, built)
	var reports [][2]int64
	report := func(done, total int64) { reports = append(reports, [2]int64{done, total}) }
	if err := r.driver.PrepareReporting(t.Context(), spec, report); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for _, p := range reports {
		if p[0] < last || p[1] != size {
			t.Errorf("reports %v, want them to grow towards %d", reports, size)
		}
		last = p[0]
	}
	if last != size || len(reports) < 2 {
		t.Errorf("%d reports, the last of %d of %d bytes", len(reports), last, size)
	}
	reports = nil
	again := enginetest.SpecOf(spec.Image)
	if err := r.driver.PrepareReporting(t.Context(), again, report); err != nil || len(reports) != 0 {
		t.Errorf("an image that was here: %v, reports %v", err, reports)
	}
}

// manyPullsOfOneImage has each part fetched once, however many revisions ask for it at once.
func (r *rig) manyPullsOfOneImage(t *testing.T, h *rudeHost) {
	image := h.push(t, "serve", serveConfig())
	built := h.build(t, serveConfig(), "amd64")
	h.behave(nil)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := r.driver.Prepare(t.Context(), enginetest.SpecOf(image)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := h.ranges(t, built); len(got) != 1 {
		t.Errorf("the layer was asked for %d times", len(got))
	}
}

// TestImageForms runs images of every form registries hold.
func TestImageForms(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	rootfs := func() []byte {
		in, err := appTar(t)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	//nolint:unparam // the library's form
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(rootfs)), nil }
	layer := func(mt types.MediaType, opts ...tarball.LayerOption) v1.Layer {
		l, err := tarball.LayerFromOpener(open, append(opts, tarball.WithMediaType(mt))...)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for name, row := range map[string]struct {
		manifest, config types.MediaType
		layer            v1.Layer
	}{
		"OCI, gzip":    {types.OCIManifestSchema1, types.OCIConfigJSON, layer(types.OCILayer)},
		"OCI, zstd":    {types.OCIManifestSchema1, types.OCIConfigJSON, layer(types.OCILayerZStd, tarball.WithCompression(compression.ZStd))},
		"OCI, plain":   {types.OCIManifestSchema1, types.OCIConfigJSON, static.NewLayer(rootfs, types.OCIUncompressedLayer)},
		"docker, gzip": {types.DockerManifestSchema2, types.DockerConfigJSON, layer(types.DockerLayer)},
	} {
		t.Run(name, func(t *testing.T) {
			img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, row.manifest), row.config)
			img, err := mutate.Append(img, mutate.Addendum{Layer: row.layer, MediaType: must(row.layer.MediaType())})
			if err != nil {
				t.Fatal(err)
			}
			file := must(img.ConfigFile()).DeepCopy()
			file.OS, file.Architecture, file.Config = "linux", "amd64", serveConfig()
			if img, err = mutate.ConfigFile(img, file); err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(r.images.tag(t, "forms"), img, remote.WithTransport(http.DefaultTransport)); err != nil {
				t.Fatal(err)
			}
			spec := enginetest.SpecOf(r.images.pushed(t, "forms", img))
			runOne(t, r.driver, w, spec)
			if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
