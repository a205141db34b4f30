package containerd

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"apron"
)

func TestClearRemnant(t *testing.T) {
	dir := t.TempDir()
	s := &session{cfg: Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}}
	place := filepath.Join(dir, "engine", "root", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "42")
	message := "make container: failed to rename: rename " + filepath.Dir(place) + "/new-123 " + place + ": file exists: unknown"
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":      {nil, false},
		"another":      {errors.New("make container: no space left on device"), false},
		"elsewhere":    {errors.New("rename /var/snapshots/new-1 /var/snapshots/2: file exists"), false},
		"dressed up":   {errors.New("rename " + dir + "/engine/../snapshots/new-1 " + dir + "/engine/../snapshots/2: file exists"), false},
		"what is left": {errors.New(message), true},
	} {
		if err := os.MkdirAll(filepath.Join(place, "fs"), 0o700); err != nil {
			t.Fatal(err)
		}
		if got := s.clearRemnant(tt.err); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
		if _, err := os.Stat(place); os.IsNotExist(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShimOf(t *testing.T) {
	for cmdline, want := range map[string]apron.InstanceID{
		"/bin/shim\x00-namespace\x00apron\x00-id\x00abc\x00-address\x00/run/x\x00": "abc",
		"/bin/shim\x00-id": "", "": "",
	} {
		if got := shimOf([]byte(cmdline)); got != want {
			t.Errorf("%q: %q, want %q", cmdline, got, want)
		}
	}
}
