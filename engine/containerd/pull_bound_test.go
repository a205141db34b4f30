package containerd_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"apron"
	"apron/engine/enginetest"
)

// bomb is a layer that is small to fetch and large on a disk: zeros, which compress to a thousandth, or
// one file with a hole, of which even the archive has no zeros.
func bomb(t testing.TB, size int64, hole bool) v1.Layer {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	h := &tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}
	if hole { // GNU.sparse (tar manual, appendix D): a map of no data up to the size
		h.Format, h.Size = tar.FormatPAX, 512
		h.Name = "GNUSparseFile.0/bomb"
		h.PAXRecords = map[string]string{
			"GNU_sparse_major": "1", "GNU_sparse_minor": "0", "GNU_sparse_name": "bomb", "GNU_sparse_realsize": strconv.FormatInt(size, 10),
		}
	}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	content := io.LimitReader(zeros{}, size)
	if hole {
		text := fmt.Sprintf("1\n%d\n0\n", size)
		content = strings.NewReader(text + strings.Repeat("\x00", 512-len(text)))
	}
	if _, err := io.Copy(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The writer refuses keys of this name; the reader does not.
	raw := bytes.ReplaceAll(archive.Bytes(), []byte("GNU_sparse_"), []byte("GNU.sparse."))
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestUnpacksToTooMuch pulls images that are within the bound of what is fetched and beyond that of
// what it becomes: in one layer, with holes, and in several.
func TestUnpacksToTooMuch(t *testing.T) {
	r := newRig(t)
	r.driver.stop()
	r.cfg.MaxUnpackedBytes = 48 << 20
	r.driver = startDriver(t, r.cfg)
	small := bomb(t, 10<<20, false)
	for name, row := range map[string]struct {
		layers []v1.Layer
		fits   bool
	}{
		"zeros":             {layers: []v1.Layer{bomb(t, 64<<20, false)}},
		"a hole":            {layers: []v1.Layer{bomb(t, 1<<40, true)}},
		"all together":      {layers: []v1.Layer{bomb(t, 30<<20, false), bomb(t, 31<<20, false)}},
		"within the bound":  {layers: []v1.Layer{small}, fits: true},
		"a hole that fits":  {layers: []v1.Layer{bomb(t, 20<<20, true)}, fits: true},
		"and several there": {layers: []v1.Layer{small, bomb(t, 11<<20, false)}, fits: true},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := mutate.AppendLayers(empty.Image, row.layers...)
			if err != nil {
				t.Fatal(err)
			}
			file := must(img.ConfigFile()).DeepCopy()
			file.OS, file.Architecture, file.Config = "linux", "amd64", serveConfig()
			if img, err = mutate.ConfigFile(img, file); err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(r.images.tag(t, "bomb"), img, remote.WithTransport(http.DefaultTransport)); err != nil {
				t.Fatal(err)
			}
			spec := enginetest.SpecOf(r.images.pushed(t, "bomb", img))
			err = r.driver.Prepare(t.Context(), spec)
			if row.fits {
				if err != nil {
					t.Error(err)
				}
			} else if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "its layers unpack to more than is allowed") {
				t.Errorf("got %v", err)
			}
			if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
				t.Error(err)
			}
			r.wantNothingKept(t)
		})
	}
}
