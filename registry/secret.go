package registry

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// loadSecret returns the secret that signs the state in upload URLs, made at the first start and
// kept: an upload begun before a restart goes on after it.
func loadSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeSecret(path)
	case err != nil:
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < 32 {
		return "", fmt.Errorf("read secret: %s is damaged; remove it to have a new one made", path)
	}
	return secret, nil
}

// makeSecret writes a new secret in one step, so that a crash leaves none or all of it.
func makeSecret(path string) (string, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}
	secret := hex.EncodeToString(b[:])
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails once it has been renamed
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write secret: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", fmt.Errorf("write secret: %w", err)
	}
	return secret, nil
}
