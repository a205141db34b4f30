package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
)

// maxArchiveBytes bounds what is unpacked from an archive: five times App Runner's image limit.
const maxArchiveBytes = 50 << 30

// Archive is an image, or an index of images, that comes from a file. Close it after use.
type Archive struct {
	Image remote.Taggable // a v1.Image or a v1.ImageIndex
	dir   string          // what was unpacked; empty: nothing
}

// Close removes what was unpacked. The image cannot be read afterwards.
func (a *Archive) Close() error {
	if a.dir == "" {
		return nil
	}
	return os.RemoveAll(a.dir)
}

// Load opens path as a binary to be packed when it is one, and as an archive otherwise.
func Load(path string, opts PackOptions) (*Archive, error) {
	if magic, err := readMagic(path); err == nil && bytes.HasPrefix(magic, []byte("\x7fELF")) {
		img, err := PackBinary(path, opts)
		if err != nil {
			return nil, err
		}
		return &Archive{Image: img}, nil
	}
	return LoadArchive(path)
}

// LoadArchive opens what `docker save` writes, or an OCI image layout as a directory or a tar file,
// either tar compressed with gzip or zstd or not. It must hold exactly one image or index, or one
// image for linux/amd64 among others. What has to be unpacked goes to the directory for temporary
// files.
func LoadArchive(path string) (_ *Archive, err error) {
	a := &Archive{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("load image from %s: %w", path, errors.Join(err, a.Close()))
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		a.Image, err = openLayout(path)
		return a, err
	}
	file, err := a.plain(path)
	if err != nil {
		return nil, err
	}
	kind, err := archiveKind(file)
	switch {
	case err != nil:
		return nil, err
	case kind == dockerArchive:
		a.Image, err = openDocker(file)
	case kind == ociArchive:
		a.Image, err = a.unpackLayout(file)
	default:
		err = errors.New("neither a docker archive nor an OCI image layout")
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

func readMagic(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 4)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return b[:n], nil
}

// plain returns the path of the tar file, decompressed beside the other unpacked files if need be.
func (a *Archive) plain(path string) (string, error) {
	magic, err := readMagic(path)
	if err != nil {
		return "", err
	}
	isGzip, isZstd := bytes.HasPrefix(magic, []byte("\x1f\x8b")), bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd"))
	if !isGzip && !isZstd {
		return path, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var r io.Reader
	if isGzip {
		r, err = gzip.NewReader(bufio.NewReader(f))
	} else {
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f, zstd.WithDecoderMaxMemory(256<<20)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		return "", err
	}
	if err := a.makeDir(); err != nil {
		return "", err
	}
	out := filepath.Join(a.dir, "archive.tar")
	return out, writeFile(func() (*os.File, error) { return os.Create(out) }, r)
}

func (a *Archive) makeDir() (err error) {
	if a.dir == "" {
		a.dir, err = os.MkdirTemp("", "apron-image-*")
	}
	return err
}

// writeFile fills a new file from r, up to the limit for archives.
func writeFile(create func() (*os.File, error), r io.Reader) error {
	f, err := create()
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, maxArchiveBytes+1))
	if n > maxArchiveBytes {
		err = errors.Join(err, errors.New("the archive is too large"))
	}
	return errors.Join(err, f.Close())
}

type kind int

const (
	unknownArchive kind = iota
	dockerArchive
	ociArchive
)

// archiveKind looks for the file that tells the formats apart. Newer docker writes both; its own
// manifest.json is the one that names just what the archive holds.
func archiveKind(file string) (kind, error) {
	found := unknownArchive
	err := eachFile(file, func(name string, _ io.Reader) (bool, error) {
		switch name {
		case "manifest.json":
			found = dockerArchive
			return false, nil
		case "index.json":
			found = ociArchive
		}
		return true, nil
	})
	return found, err
}

// eachFile calls fn with every regular file of a tar until it returns false.
func eachFile(file string, fn func(name string, r io.Reader) (more bool, err error)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	tr := tar.NewReader(bufio.NewReader(f))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not a tar archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if more, err := fn(path.Clean(h.Name), tr); err != nil || !more {
			return err
		}
	}
}

// openDocker opens the one image of what `docker save` wrote.
func openDocker(file string) (v1.Image, error) {
	m, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		return nil, err
	}
	if len(m) != 1 {
		return nil, fmt.Errorf("%d images in it; save just one", len(m))
	}
	return tarball.ImageFromPath(file, nil)
}

// unpackLayout unpacks an OCI layout and opens it. Names cannot lead out of the directory.
func (a *Archive) unpackLayout(file string) (remote.Taggable, error) {
	if err := a.makeDir(); err != nil {
		return nil, err
	}
	dir := filepath.Join(a.dir, "layout")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = eachFile(file, func(name string, r io.Reader) (bool, error) {
		if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
			return false, err
		}
		return true, writeFile(func() (*os.File, error) { return root.Create(name) }, r)
	})
	if err != nil {
		return nil, err
	}
	return openLayout(dir)
}

// openLayout opens the image or index an OCI layout stands for.
func openLayout(dir string) (remote.Taggable, error) {
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	parts := m.Manifests
	if len(parts) > 1 {
		parts = nil
		for _, p := range m.Manifests {
			if p.Platform != nil && p.Platform.OS == platformOS && p.Platform.Architecture == platformArch {
				parts = append(parts, p)
			}
		}
	}
	if len(parts) != 1 {
		return nil, fmt.Errorf("%d images in it; one must be chosen", len(m.Manifests))
	}
	switch part := parts[0]; {
	case part.MediaType.IsIndex():
		return idx.ImageIndex(part.Digest)
	case part.MediaType.IsImage():
		return idx.Image(part.Digest)
	default:
		return nil, fmt.Errorf("not an image but %s", part.MediaType)
	}
}
