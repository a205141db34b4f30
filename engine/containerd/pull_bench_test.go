package containerd_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/engine/enginetest"
	"apron/registry"
	"apron/source"
)

const benchAccount = "123456789012"

// benchImage pushes an image of four layers of 50 MB, which hardly compress, to a registry of the
// distribution project on disk and returns the registry's host and the image.
func benchImage(b *testing.B) (host string, image apron.Image, size int64) {
	b.Helper()
	reg, err := registry.New(b.Context(), registry.Config{
		Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler),
		Authenticate: func(context.Context, string, string) (string, bool, error) { return benchAccount, true, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(reg)
	b.Cleanup(func() {
		srv.Close()
		if err := reg.Close(); err != nil {
			b.Error(err)
		}
	})
	host = strings.TrimPrefix(srv.URL, "http://")
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for i := range 4 {
		layer, n := benchLayer(b, i)
		size += n
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer}); err != nil {
			b.Fatal(err)
		}
	}
	file := must(img.ConfigFile()).DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", serveConfig()
	if img, err = mutate.ConfigFile(img, file); err != nil {
		b.Fatal(err)
	}
	digest, err := source.Push(b.Context(), img, host+"/bench:v1", "key", "secret")
	if err != nil {
		b.Fatal(err)
	}
	return host, apron.Image{Reference: host + "/bench@" + digest, Digest: digest}, size
}

// benchLayer returns a layer of 50 files of 1 MB, and its compressed size.
func benchLayer(b *testing.B, n int) (v1.Layer, int64) {
	b.Helper()
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		b.Fatal(err)
	}
	w := tar.NewWriter(z)
	content := make([]byte, 1_000_000)
	src := rand.NewChaCha8([32]byte{byte(n)})
	for i := range 50 {
		_, _ = src.Read(content) // never fails
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("data/%d/%d", n, i), Mode: 0o644, Size: int64(len(content))}); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		b.Fatal(err)
	}
	return layer, int64(buf.Len())
}

// BenchmarkPull pulls an image of 200 MB from a registry on loopback: Prepare, which also unpacks it,
// and skopeo, which copies it to a directory as it is.
func BenchmarkPull(b *testing.B) {
	needRoot(b)
	host, image, size := benchImage(b)
	b.Run("prepare", func(b *testing.B) {
		r := newRig(b)
		r.driver.stop()
		r.cfg.Images = openImages(b, source.Config{Credentials: map[string]source.Credential{host: {User: "key", Password: "secret"}}})
		r.driver = startDriver(b, r.cfg)
		b.SetBytes(size)
		b.ResetTimer()
		fetching := time.Duration(0)
		for b.Loop() {
			spec := enginetest.SpecOf(image)
			begin, fetched := time.Now(), time.Time{}
			err := r.driver.PrepareReporting(b.Context(), spec, func(done, total int64) {
				if done == total && fetched.IsZero() {
					fetched = time.Now()
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			fetching += fetched.Sub(begin)
			if err := r.driver.Remove(b.Context(), spec.Revision); err != nil {
				b.Fatal(err)
			}
			r.wantNothingKept(b)
			b.StartTimer()
		}
		b.ReportMetric(float64(size)*float64(b.N)/fetching.Seconds()/1e6, "fetched-MB/s") // without the rest of unpacking
	})
	b.Run("skopeo", func(b *testing.B) {
		skopeo, err := exec.LookPath("skopeo")
		if err != nil {
			b.Skip("skopeo is not installed (apt-get install skopeo)")
		}
		dir := b.TempDir()
		policy := filepath.Join(dir, "policy.json")
		if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
			b.Fatal(err)
		}
		to := filepath.Join(dir, "image")
		b.SetBytes(size)
		b.ResetTimer()
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), skopeo, "--policy", policy, "copy", "--src-tls-verify=false",
				"--src-creds", "key:secret", "docker://"+host+"/bench:v1", "oci:"+to+":v1")
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			b.StopTimer()
			if err := os.RemoveAll(to); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
