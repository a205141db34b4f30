package source_test

import (
	"archive/tar"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"apron/source"
)

// build compiles a small program.
func build(t *testing.T, dir string, env ...string) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() { println(\"hello\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "web")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, src)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS="), env...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return out
}

func digestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestPackBinary(t *testing.T) {
	bin := build(t, t.TempDir())
	opts := source.PackOptions{Port: 8080, Env: []string{"MODE=test"}, Args: []string{"-v"}}
	img, err := source.PackBinary(bin, opts)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "65532:65532", Entrypoint: []string{"/app/web"}, Cmd: []string{"-v"}, WorkingDir: "/",
		Env: []string{"PATH=/app", "MODE=test"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}
	if diff := cmp.Diff(want, cfg.Config); diff != "" {
		t.Error(diff)
	}
	if cfg.OS != "linux" || cfg.Architecture != "amd64" || len(cfg.RootFS.DiffIDs) != 1 {
		t.Errorf("configuration %+v", cfg)
	}
	modes := map[string]int64{}
	content := mutate.Extract(img)
	defer content.Close()
	for tr := tar.NewReader(content); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 {
			t.Errorf("%s is from %s", h.Name, h.ModTime)
		}
		modes[strings.TrimSuffix(h.Name, "/")] = h.Mode
	}
	for name, mode := range map[string]int64{"app/web": 0o755, "tmp": 0o1777, "etc/passwd": 0o644} {
		if modes[name] != mode {
			t.Errorf("%s has mode %o, want %o", name, modes[name], mode)
		}
	}

	// Same content, another time and place: same image.
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "web")
	if err := os.WriteFile(moved, b, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := source.PackBinary(moved, opts)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := digestOf(t, img), digestOf(t, again); a != b {
		t.Errorf("digests differ: %s, %s", a, b)
	}
}

func TestPackBinaryRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile(build(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	relocatable := append([]byte(nil), good...)
	relocatable[16] = 1 // e_type: ET_REL
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"):           "no such file",
		dir:                                    "is a directory",
		write("script", []byte("#!/bin/sh\n")): "not a Linux executable",
		write("empty", nil):                    "not a Linux executable",
		write("object", relocatable):           "not an executable",
		build(t, dir, "GOARCH=arm64"):          "not for linux/amd64",
		"/bin/ls":                              "dynamically linked",
	} {
		if _, err := source.PackBinary(path, source.PackOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestPackPushResolve(t *testing.T) {
	w := newWorld(t)
	bin := build(t, t.TempDir())
	a, err := source.Load(bin, source.PackOptions{Port: 8080})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	digest := w.push(t, alice, "web", a.Image)
	got, err := w.resolver(t, nil).Resolve(t.Context(), scopeOf(alice), ecrHost+"/web")
	if err != nil || got.Digest != digest {
		t.Errorf("got %v, %v, want %s", got, err, digest)
	}
}

func TestPushRefuses(t *testing.T) {
	w := newWorld(t)
	a, err := source.Load(build(t, t.TempDir()), source.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	_, err = source.Push(t.Context(), a.Image, w.host+"/web", alice, "hush-hush")
	if err == nil || !strings.Contains(err.Error(), "does not accept these credentials") || strings.Contains(err.Error(), "hush") {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := source.Push(t.Context(), a.Image, w.host+"/web@"+zeros, alice, "secret"); err == nil {
		t.Error("pushed to a digest")
	}
	if _, err := source.Push(t.Context(), a.Image, w.host+"/Web", alice, "secret"); err == nil {
		t.Error("pushed to what is no name")
	}
	if _, err := source.Push(t.Context(), a.Image, "http://"+w.host+"/web:v1", alice, "secret"); err != nil {
		t.Errorf("with a scheme: %v", err)
	}
}
