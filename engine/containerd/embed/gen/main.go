// Command gen builds the programs that package embed embeds: the runc shim and runc, at the versions
// of go.mod. It does nothing when go.mod, go.sum, the Go version and its own flags are as they were at
// the last build, so running it before every build costs almost nothing. runc needs a C compiler and
// libseccomp's headers and static library.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// program is one thing to build.
type program struct {
	name string   // file name without .zst
	pkg  string   // import path of its main package
	cgo  string   // CGO_ENABLED
	args []string // further arguments of go build
}

func programs() []program {
	return []program{
		{
			name: "apron-shim", pkg: "./engine/containerd/shim",
			cgo: "0", args: []string{"-trimpath", "-ldflags", "-s -w"},
		},
		{
			name: "runc", pkg: "github.com/opencontainers/runc", cgo: "1",
			args: []string{"-trimpath", "-tags", "seccomp netgo osusergo urfave_cli_no_docs", "-ldflags", "-s -w -extldflags -static"},
		},
	}
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find go.mod: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(gomod)))
	bin := filepath.Join(root, "engine", "containerd", "embed", "bin")
	stamp, err := stampOf(root)
	if err != nil {
		return err
	}
	stampFile := filepath.Join(bin, ".stamp")
	if old, err := os.ReadFile(stampFile); err == nil && string(old) == stamp && built(bin) {
		return nil
	}
	if err := checkSeccomp(ctx); err != nil {
		return err
	}
	for _, p := range programs() {
		if err := build(ctx, root, bin, p); err != nil {
			return err
		}
	}
	return replace(stampFile, []byte(stamp))
}

// stampOf names everything the programs are made from.
func stampOf(root string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		h.Write(b)
	}
	for _, dir := range []string{"shim", "logfile"} { // ours, and so not known by go.sum
		files, err := filepath.Glob(filepath.Join(root, "engine", "containerd", dir, "*.go"))
		if err != nil {
			return "", fmt.Errorf("list sources: %w", err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return "", fmt.Errorf("read source: %w", err)
			}
			fmt.Fprintf(h, "%s %d ", filepath.Base(f), len(b))
			h.Write(b)
		}
	}
	fmt.Fprintf(h, "%s %s %v", runtime.Version(), runtime.GOARCH, programs())
	return hex.EncodeToString(h.Sum(nil)) + "\n", nil
}

func built(bin string) bool {
	for _, p := range programs() {
		if _, err := os.Stat(filepath.Join(bin, p.name+".zst")); err != nil {
			return false
		}
	}
	return true
}

// checkSeccomp says what to install before a compiler's error would have to be read.
func checkSeccomp(ctx context.Context) error {
	if err := exec.CommandContext(ctx, "pkg-config", "--exists", "libseccomp").Run(); err != nil {
		return errors.New("libseccomp is needed to build runc and was not found: on Debian and Ubuntu, " +
			"apt-get install gcc pkg-config libseccomp-dev")
	}
	return nil
}

func build(ctx context.Context, root, bin string, p program) error {
	tmp, err := os.MkdirTemp("", "apron-gen-")
	if err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, p.name)
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", out}, p.args...), p.pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+p.cgo)
	if log, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", p.pkg, err, log)
	}
	exe, err := os.ReadFile(out)
	if err != nil {
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderCRC(true))
	if err != nil {
		return fmt.Errorf("compress %s: %w", p.name, err)
	}
	if _, err := w.Write(exe); err != nil {
		return fmt.Errorf("compress %s: %w", p.name, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("compress %s: %w", p.name, err)
	}
	file := filepath.Join(bin, p.name+".zst")
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, packed.Bytes()) {
		return nil // an untouched file keeps the binary's cached link valid
	}
	return replace(file, packed.Bytes())
}

// replace writes a file so that a reader sees the old or the new content.
func replace(file string, content []byte) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil { //nolint:gosec // part of the source tree: for everyone to read
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
