package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"apron/engine/containerd/embed"
)

const shimName = "containerd-shim-runc-v2"

// Binaries returns the absolute paths of the programs that run instances, extracting the embedded
// ones below dir if need be. A binary built without them uses those in PATH; the error then names
// what is missing. Safe for concurrent use, across processes.
func Binaries(dir string) (shim, runc string, err error) {
	if shim, err = binary(dir, embed.Shim, shimName); err != nil {
		return "", "", err
	}
	if runc, err = binary(dir, embed.Runc, "runc"); err != nil {
		return "", "", err
	}
	return shim, runc, nil
}

// embedded reports whether this binary brings both programs.
func embedded() bool {
	return embed.Has(embed.Shim) && embed.Has(embed.Runc)
}

func binary(dir, program, name string) (string, error) {
	packed := embed.Compressed(program)
	if packed == nil {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("this binary was built without %s and there is none in PATH: build with make, or install it", name)
		}
		return filepath.Abs(path)
	}
	// Named by content: instances started by an older binary go on using the one they know.
	sum := sha256.Sum256(packed)
	home := filepath.Join(dir, "bin", hex.EncodeToString(sum[:8]))
	path := filepath.Join(home, name)
	if usable(path) {
		return path, nil
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("make directory for %s: %w", name, err)
	}
	return path, extract(path, program)
}

func usable(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm() == 0o755 && st.Size() > 0
}

// extract writes a program whole or not at all: it gets its name only after it is on disk.
func extract(path, program string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".extract-*")
	if err != nil {
		return fmt.Errorf("extract %s: %w", program, err)
	}
	defer func() {
		_ = f.Close() // for the way out with an error; otherwise it is closed already
		if rm := os.Remove(f.Name()); err == nil && !errors.Is(rm, fs.ErrNotExist) {
			err = rm
		}
	}()
	if err := embed.Extract(f, program); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("extract %s: %w", program, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("extract %s: %w", program, err)
	}
	return nil
}
