// Package embed holds the programs the containerd driver starts for every instance, compressed: the
// runc shim and runc. They are there when the binary was built with make; see bin/README.md.
package embed

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/zstd"
)

//go:embed bin
var bin embed.FS

// The programs.
const (
	Shim = "apron-shim" // package main in engine/containerd/shim
	Runc = "runc"
)

// maxProgramBytes bounds what Extract writes for one program.
const maxProgramBytes = 256 << 20

// Has reports whether this binary was built with a program. Unlike Compressed it copies nothing.
func Has(program string) bool {
	f, err := bin.Open(path.Join("bin", program+".zst"))
	if err != nil {
		return false // the only error of an embedded file system: not there
	}
	_ = f.Close() // it was only looked for
	return true
}

// Compressed returns a program as it is embedded, or nil when this binary was built without it.
func Compressed(program string) []byte {
	b, err := bin.ReadFile(path.Join("bin", program+".zst"))
	if err != nil {
		return nil // the only error of an embedded file system: not there
	}
	return b
}

// Extract writes a program to w. Damage is found by the checksum zstd keeps.
func Extract(w io.Writer, program string) error {
	f, err := bin.Open(path.Join("bin", program+".zst"))
	if err != nil {
		return fmt.Errorf("open embedded %s: %w", program, err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("read embedded %s: %w", program, err)
	}
	defer r.Close()
	n, err := io.CopyN(w, r, maxProgramBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("extract embedded %s: %w", program, err)
	}
	if n == 0 || n == maxProgramBytes {
		return fmt.Errorf("extract embedded %s: %d bytes is not a program's size", program, n)
	}
	return nil
}
