package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"apron"
)

// maxSocketPath is the longest path a unix socket can have on Linux (unix(7): 108 bytes with the
// final zero), less the ".ttrpc" that containerd appends for its second socket.
const maxSocketPath = 107 - len(".ttrpc")

// DefaultNamespace is the containerd namespace of Apron's images and instances.
const DefaultNamespace = "apron"

// Config is how a Driver is made. Dir and Images are required.
type Config struct {
	Dir       string       // data directory, absolute; the one given to Serve
	Socket    string       // of the engine child; empty: SocketPath(Dir)
	Log       *slog.Logger // nil: discards
	Namespace string       // containerd namespace; empty: DefaultNamespace

	// Images returns where the image of a reference (registry/repository@digest) is pulled from. A Fault
	// it returns reaches the caller of Prepare. Required for Prepare of images that are not here yet.
	Images func(ctx context.Context, reference string) (Repository, error)
	// MaxImageBytes bounds the compressed layers of an image together; zero: 10 GiB.
	MaxImageBytes int64
	// MaxUnpackedBytes bounds what they unpack to; zero: 40 GiB.
	MaxUnpackedBytes int64

	// Open lists TCP ports of this machine that instances may connect to, on its addresses other than
	// loopback; nil: none. The router's ports let services call each other.
	Open []uint16

	// Runtime is what runs instances whose spec does not say: apron.RuntimeGVisor, or apron.RuntimeRunc;
	// empty: that.
	Runtime string

	// Grace is how long an instance whose spec does not say may take to end after SIGTERM; zero: 30 s,
	// as App Runner gives.
	Grace time.Duration
	// MinFree is how many bytes should be free of the data directory's file system before unpacked images
	// that no instance uses are removed; zero: a tenth of it, and at most 10 GiB.
	MinFree int64
	// DiskLimit is how many bytes an instance may write to its disk before it is replaced; zero: 3 GiB.
	DiskLimit int64
	// Now reads the clock; nil: time.Now.
	Now func() time.Time
}

// SocketPath returns where the engine child of a data directory listens.
func SocketPath(dir string) string { return filepath.Join(dir, "run", "engine.sock") }

func (c Config) defaulted() Config {
	if c.Socket == "" {
		c.Socket = SocketPath(c.Dir)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Namespace == "" {
		c.Namespace = DefaultNamespace
	}
	if c.Runtime == "" {
		c.Runtime = apron.RuntimeRunc
	}
	if c.Grace <= 0 {
		c.Grace = 30 * time.Second
	}
	if c.DiskLimit <= 0 {
		c.DiskLimit = maxDiskBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxImageBytes <= 0 {
		c.MaxImageBytes = defaultMaxImageBytes
	}
	if c.MaxUnpackedBytes <= 0 {
		c.MaxUnpackedBytes = defaultMaxUnpackedBytes
	}
	return c
}

// checkSocket refuses a socket path the kernel would cut off.
func checkSocket(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("listen on %s: the path is %d bytes long, a unix socket allows %d here: choose a data directory with a shorter path",
			path, len(path), maxSocketPath)
	}
	return nil
}

// runDir is what shims and runc keep while instances run. It is outside of the data directory because
// shims want a short path for their sockets, and because it should not outlive a reboot.
func runDir(dir string) string { return filepath.Join("/run", bridgeName(dir)) }

// stateDir is where containerd keeps what it runs. Instances' own users must be able to walk to it,
// which rules the data directory out.
func stateDir(dir string) string { return filepath.Join(runDir(dir), "state") }

// dirHash names what a data directory owns outside of itself (bridge, cgroups, firewall table).
func dirHash(dir string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(dir)))
	return hex.EncodeToString(sum[:4])
}
