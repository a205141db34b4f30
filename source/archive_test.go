package source_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"apron/source"
)

// layoutDir writes an OCI layout.
func layoutDir(t testing.TB, parts ...mutate.IndexAddendum) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := layout.Write(dir, mutate.AppendManifests(empty.Index, parts...)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tarOf writes a directory into a tar file, compressed if wrap says so.
func tarOf(t testing.TB, dir string, wrap func(io.Writer) io.WriteCloser) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var w io.WriteCloser = f
	if wrap != nil {
		w = wrap(f)
		defer w.Close()
	}
	tw := tar.NewWriter(w)
	defer tw.Close()
	if err := tw.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return out
}

func gzipWriter(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func zstdWriter(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w)
	if err != nil {
		panic(err)
	}
	return z
}

func TestLoadArchive(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	img := image(t, "linux", "amd64", types.OCIManifestSchema1)
	arm := image(t, "linux", "arm64", types.OCIManifestSchema1)
	idx := index(part(img, "linux/amd64"), part(arm, "linux/arm64"))
	docker := filepath.Join(t.TempDir(), "docker.tar")
	tag, err := name.NewTag("example.com/web:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(docker, tag, mutate.MediaType(img, types.DockerManifestSchema2)); err != nil {
		t.Fatal(err)
	}
	cfgOf := func(i v1.Image) string {
		h, err := i.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		return h.String()
	}
	single, multi := layoutDir(t, part(img, "")), layoutDir(t, part(idx, ""))
	flat := layoutDir(t, part(arm, "linux/arm64"), part(img, "linux/amd64"))
	w := newWorld(t)
	for what, row := range map[string]struct{ path, digest string }{
		"layout":          {single, digestOf(t, img)},
		"layout of index": {multi, digestOf(t, idx)},
		"flat layout":     {flat, digestOf(t, img)},
		"tar":             {tarOf(t, single, nil), digestOf(t, img)},
		"tar of index":    {tarOf(t, multi, nil), digestOf(t, idx)},
		"tar.gz":          {tarOf(t, multi, gzipWriter), digestOf(t, idx)},
		"tar.zst":         {tarOf(t, multi, zstdWriter), digestOf(t, idx)},
		"docker":          {docker, ""},
	} {
		t.Run(what, func(t *testing.T) {
			a, err := source.Load(row.path, source.PackOptions{})
			if err != nil {
				t.Fatal(err)
			}
			digest := w.push(t, alice, "web:"+strings.NewReplacer(" ", "-", ".", "-").Replace(what), a.Image)
			if row.digest != "" && digest != row.digest {
				t.Errorf("pushed %s, want %s", digest, row.digest)
			}
			if i, ok := a.Image.(v1.Image); ok && cfgOf(i) != cfgOf(img) {
				t.Errorf("another image: %s", cfgOf(i))
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLoadArchiveRefuses(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	img := image(t, "linux", "amd64", types.OCIManifestSchema1)
	other := image(t, "linux", "amd64", types.OCIManifestSchema1)
	escape := filepath.Join(t.TempDir(), "escape.tar")
	writeTar(t, escape, "index.json", "{}", "oci-layout", "{}", "../../outside", "x")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("hello ", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	plainTar := filepath.Join(t.TempDir(), "plain.tar")
	writeTar(t, plainTar, "hello", "world")
	for path, want := range map[string]string{
		filepath.Join(temp, "absent"): "no such file",
		t.TempDir():                   "index.json",
		text:                          "not a tar archive",
		plainTar:                      "neither a docker archive nor an OCI image layout",
		escape:                        "escapes",
		layoutDir(t):                  "0 images",
		layoutDir(t, part(img, ""), part(other, "")):                                        "2 images",
		layoutDir(t, part(index(part(img, "")), "linux/s390x"), part(other, "linux/arm64")): "2 images",
	} {
		if a, err := source.LoadArchive(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want %q", path, a, err, want)
		}
	}
	err := filepath.WalkDir(temp, func(path string, _ fs.DirEntry, err error) error {
		if path != temp {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func writeTar(t testing.TB, path string, nameAndContent ...string) {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for i := 0; i < len(nameAndContent); i += 2 {
		h := &tar.Header{Name: nameAndContent[i], Mode: 0o600, Size: int64(len(nameAndContent[i+1]))}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, nameAndContent[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzLoad opens any file as an archive or binary: an image or an error, and nothing outside of the
// directory for temporary files.
func FuzzLoad(f *testing.F) {
	seed := filepath.Join(f.TempDir(), "seed")
	for _, files := range [][]string{
		{"index.json", `{"schemaVersion":2,"manifests":[]}`, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`},
		{"index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"` + zeros + `"}]}`},
		{"manifest.json", `[{"Config":"c","RepoTags":null,"Layers":["l"]}]`, "c", `{"rootfs":{"diff_ids":["` + zeros + `"]}}`, "l", ""},
		{"manifest.json", `null`},
	} {
		writeTar(f, seed, files...)
		b, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		t.Setenv("TMPDIR", filepath.Join(dir, "tmp"))
		if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "image")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := source.Load(file, source.PackOptions{}); err == nil {
			_, _ = a.Image.RawManifest() // may well be broken, but must not panic
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
			t.Errorf("outside: %v, %v", left, err)
		}
	})
}
