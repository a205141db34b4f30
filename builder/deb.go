package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// tree writes a root file system as one archive, each path once: what is written first stays.
type tree struct {
	w    *tar.Writer
	seen map[string]bool
}

func newTree(w io.Writer) *tree { return &tree{w: tar.NewWriter(w), seen: map[string]bool{}} }

// file adds a regular file, and the directories above it that nobody has added.
func (t *tree) file(name string, mode int64, content []byte) error {
	return t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, bytes.NewReader(content))
}

// link adds a symbolic link.
func (t *tree) link(name, target string) error {
	return t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

// dir adds a directory.
func (t *tree) dir(name string, mode int64) error {
	return t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

// add adds an entry whose name is relative and clean but for a slash at a directory's end.
func (t *tree) add(h *tar.Header, content io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	if t.seen[name] {
		return nil
	}
	if above := path.Dir(name); above != "." && !t.seen[above] {
		if err := t.dir(above, 0o755); err != nil {
			return err
		}
	}
	t.seen[name] = true
	h.Uname, h.Gname = "", "" // the numbers are what counts
	h.Format = tar.FormatUnknown
	if err := t.w.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	if _, err := io.Copy(t.w, content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (t *tree) close() error { return t.w.Close() }

// merged are the directories that Debian has below /usr, with links to them in the root (UsrMerge).
func merged() []string { return []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} }

// unwanted reports whether a path of a package is left out: documentation and translations, but not
// licences, and link-time optimisation, which is half of a compiler's size.
func unwanted(name string) bool {
	switch path.Base(name) {
	case "copyright":
		return false
	case "lto1", "lto-dump", "lto-wrapper", "x86_64-linux-gnu-lto-dump-12":
		return strings.HasPrefix(name, "usr/")
	}
	for _, dir := range []string{"doc", "man", "info", "locale", "lintian", "bug", "doc-base", "linda"} {
		below := "usr/share/" + dir + "/"
		if strings.HasPrefix(name, below) && name != below {
			return true
		}
	}
	return false
}

// unpack adds what a package contains. pick, unless nil, is shown every file first and may take it
// for itself.
func (t *tree) unpack(ctx context.Context, file string, pick func(h *tar.Header, content io.Reader) (taken bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("unpack package: %w", err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpack package: %w", err)
	}
	err = t.copy(tar.NewReader(out), pick)
	if err == nil {
		_, err = io.Copy(io.Discard, out) // padding; with the pipe full it would not end
	}
	if err != nil {
		cancel()
		_ = out.Close() // or a process that dpkg-deb has started would go on trying to write, and be waited for
	}
	if waited := cmd.Wait(); err == nil && waited != nil {
		err = fmt.Errorf("%w: %s", waited, lastLine(errs.String()))
	}
	if err != nil {
		return fmt.Errorf("unpack package %s: %w", path.Base(file), err)
	}
	return nil
}

func (t *tree) copy(r *tar.Reader, pick func(*tar.Header, io.Reader) (bool, error)) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !mergeUsr(h) || unwanted(h.Name) {
			continue
		}
		if pick != nil {
			if taken, err := pick(h, r); taken || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := t.add(h, r); err != nil {
			return err
		}
	}
}

// mergeUsr cleans an entry's name and moves it below /usr if need be. It reports false for what has
// no place in a tree.
func mergeUsr(h *tar.Header) bool {
	name := path.Clean("/" + h.Name)[1:]
	if name == "" {
		return false
	}
	moved := moveUsr(name)
	if slices.Contains(merged(), name) {
		return false // the directory itself: it is a link
	}
	switch h.Typeflag {
	case tar.TypeLink:
		h.Linkname = moveUsr(path.Clean("/" + h.Linkname)[1:])
	case tar.TypeSymlink:
		if moved != name && strings.HasPrefix(h.Linkname, "../") { // relative to where it was
			h.Linkname = path.Join("/", path.Dir(name), h.Linkname) //nolint:gosec // goes from one archive into another: nothing is followed
		}
	case tar.TypeReg, tar.TypeDir:
	default:
		return false // no package a runtime is made from has devices
	}
	if h.Typeflag == tar.TypeDir {
		moved += "/"
	}
	h.Name = moved
	return true
}

func moveUsr(name string) string {
	for _, dir := range merged() {
		if strings.HasPrefix(name, dir+"/") {
			return "usr/" + name
		}
	}
	return name
}
