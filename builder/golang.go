package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// hostGo is the Go toolchain of this machine, if it has one: newer, as a rule, than the
// distribution's, and free of charge.
type hostGo struct {
	Root    string // GOROOT; empty: there is none
	Version string
}

var goVersion = regexp.MustCompile(`^go(\d+(?:\.\d+)*)$`)

// findGo looks for the toolchain that the go command on the path belongs to.
func findGo(ctx context.Context) hostGo {
	command, err := exec.LookPath("go")
	if err != nil {
		return hostGo{}
	}
	cmd := exec.CommandContext(ctx, command, "env", "GOROOT")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	if err != nil {
		return hostGo{}
	}
	root := strings.TrimSpace(string(out))
	text, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		return hostGo{}
	}
	first, _, _ := strings.Cut(string(text), "\n")
	m := goVersion.FindStringSubmatch(strings.TrimSpace(first))
	if m == nil {
		return hostGo{} // a development version
	}
	return hostGo{Root: root, Version: m[1]}
}

// goTree writes a toolchain below /usr/local/go, without what building applications does not need.
func (g hostGo) goTree(ctx context.Context, t *tree) error {
	root, err := os.OpenRoot(g.Root)
	if err != nil {
		return fmt.Errorf("read the Go toolchain: %w", err)
	}
	defer root.Close()
	tree := root.FS()
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case name == "test" || name == "doc" || name == "api" || name == "misc" || d.Name() == "testdata" && d.IsDir():
			return fs.SkipDir
		case !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "usr/local/go/" + name, Mode: mode, Size: info.Size(), ModTime: info.ModTime().Truncate(0)}
		return errors.Join(t.add(h, f), f.Close())
	})
	if err != nil {
		return fmt.Errorf("read the Go toolchain: %w", err)
	}
	return errors.Join(t.link("usr/local/bin/go", "../go/bin/go"), t.link("usr/local/bin/gofmt", "../go/bin/gofmt"))
}
