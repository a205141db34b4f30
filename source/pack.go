package source

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// PackOptions says how a packed binary is started. The zero value runs it without arguments.
type PackOptions struct {
	Port uint16   // exposed port; 0: none is declared
	Env  []string // NAME=value
	Args []string // arguments of the binary
}

const (
	// packArch is the architecture of the binaries that are packed.
	packArch = "amd64"
	// packUser is who a packed binary runs as: the number that distroless images call nonroot.
	packUser = "65532:65532"
	// maxBinaryBytes bounds a binary, which is held in memory while it is packed.
	maxBinaryBytes = 1 << 30
)

// PackBinary makes an image of one statically linked linux/amd64 executable: the binary as entry
// point, user 65532, /tmp, and the machine's CA certificates if it has any. The same binary, options
// and certificates give the same digest.
func PackBinary(path string, opts PackOptions) (v1.Image, error) {
	layer, entry, err := packLayer(path)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: layer, MediaType: types.OCIUncompressedLayer,
		History: v1.History{CreatedBy: "apron push", Created: v1.Time{Time: epoch()}},
	})
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = platformOS, packArch, v1.Time{Time: epoch()}
	cfg.Config = v1.Config{
		User: packUser, Entrypoint: []string{entry}, Cmd: opts.Args, WorkingDir: "/",
		Env: append([]string{"PATH=/app"}, opts.Env...),
	}
	if opts.Port != 0 {
		cfg.Config.ExposedPorts = map[string]struct{}{strconv.Itoa(int(opts.Port)) + "/tcp": {}}
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	return img, nil
}

// epoch is the time of everything in a packed image: the same content must give the same digest.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// packLayer returns the image's one layer and the path of the binary in it. The layer is not
// compressed: it travels to a registry nearby, and an engine unpacks it sooner.
func packLayer(path string) (v1.Layer, string, error) {
	binary, err := readBinary(path)
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	b.Grow(len(binary) + 512<<10)
	w := &layerWriter{Writer: tar.NewWriter(&b)}
	w.dir("app", 0o755)
	w.dir("tmp", 0o1777)
	w.dir("etc", 0o755)
	w.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"))
	w.file("etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"))
	if bundle := certificates(); bundle != nil {
		w.dir("etc/ssl", 0o755)
		w.dir("etc/ssl/certs", 0o755)
		w.file("etc/ssl/certs/ca-certificates.crt", 0o644, bundle)
	}
	entry := "app/" + filepath.Base(path)
	w.file(entry, 0o755, binary)
	if err := errors.Join(w.err, w.Close()); err != nil {
		return nil, "", err
	}
	return static.NewLayer(b.Bytes(), types.OCIUncompressedLayer), "/" + entry, nil
}

// layerWriter writes tar entries that depend on nothing but their content; err is the first error.
type layerWriter struct {
	*tar.Writer
	err error
}

func (w *layerWriter) dir(name string, mode int64) {
	w.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (w *layerWriter) file(name string, mode int64, content []byte) {
	w.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content)
}

func (w *layerWriter) entry(h *tar.Header, content []byte) {
	if w.err != nil {
		return
	}
	h.ModTime = epoch()
	if w.err = w.WriteHeader(h); w.err == nil {
		_, w.err = w.Write(content)
	}
}

// certificates returns the machine's CA bundle, or nil when it has none.
func certificates() []byte {
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",             // openSUSE
	} {
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			return b
		}
	}
	return nil
}

// readBinary reads an executable that needs nothing but a kernel.
func readBinary(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBinaryBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxBinaryBytes {
		return nil, errors.New("the binary is larger than 1 GiB")
	}
	return b, checkELF(bytes.NewReader(b))
}

// checkELF reports why an executable would not start in an image that holds nothing else.
func checkELF(r io.ReaderAt) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("not a Linux executable: %w", err)
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("built for %s, not for linux/amd64 (Go: set GOOS=linux GOARCH=amd64)", f.Machine)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return errors.New("an object file or core dump, not an executable")
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("dynamically linked, so it needs libraries of this machine (Go: build with CGO_ENABLED=0)")
		}
	}
	if f.Entry == 0 {
		return errors.New("a shared library, not an executable")
	}
	return nil
}
