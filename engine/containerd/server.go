package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd/server"
	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
)

// ServerConfig is how the engine child is made. Dir is required.
type ServerConfig struct {
	Dir    string       // data directory, absolute
	Socket string       // unix socket to serve on; empty: SocketPath(Dir)
	Log    *slog.Logger // nil: discards
	Step   func()       // called after each step of the start, which takes seconds; nil: nobody is told
	Ready  func()       // called once the socket answers; nil: nobody is told
	Builds BuildLimits  // what builds may use
}

// Serve runs containerd, and the builder beside it, in this process until ctx is done and then returns nil. Instances live on:
// each hangs on its own shim, and the next Serve on the same directory finds them. The caller makes
// sure that only one process serves a directory. Serve may be called once per process, because
// containerd keeps part of its state in package variables.
func Serve(ctx context.Context, c ServerConfig) error {
	if c.Socket == "" {
		c.Socket = SocketPath(c.Dir)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Step == nil {
		c.Step = func() {}
	}
	if err := checkSocket(c.Socket); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(c.Socket), filepath.Join(c.Dir, "engine")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make engine directory: %w", err)
		}
	}
	if err := clearSocket(ctx, c.Socket); err != nil {
		return err
	}
	_, runc, err := Binaries(c.Dir)
	if err != nil {
		return err
	}
	c.Step()
	// containerd asks the shim about its runc without saying which, so it must be found in PATH too.
	if err := os.Setenv("PATH", filepath.Dir(runc)+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return fmt.Errorf("set PATH: %w", err)
	}
	if err := ownTemporary(c); err != nil {
		return err
	}
	srv, err := start(ctx, c)
	if err != nil {
		return err
	}
	defer srv.Stop()
	c.Step()
	if err := awaitAnswer(ctx, c.Socket, c.Log); err != nil {
		return err
	}
	c.Step()
	b, err := listenBuilds(ctx, c)
	if err != nil {
		return err
	}
	c.Log.Info("engine ready", "socket", c.Socket)
	if c.Ready != nil {
		c.Ready()
	}
	return b.run(ctx)
}

// ownTemporary gives this process, and the shims that inherit it, a place for temporary mounts that is
// theirs alone, and empties it: one that is killed while it puts a root file system together leaves a
// mount behind.
func ownTemporary(c ServerConfig) error {
	dir := filepath.Join(c.Dir, "engine", "tmp")
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("empty temporary directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return fmt.Errorf("set temporary directory: %w", err)
	}
	return nil
}

// start makes containerd and lets it listen.
func start(ctx context.Context, c ServerConfig) (*server.Server, error) {
	ctx = withLogger(context.WithoutCancel(ctx), c.Log) // stopping is Stop's job, in its order
	redirectStandardLog(c.Log)                          // parts of containerd know no other
	cfg := serverConfig(c)
	// Before server.New, which would make the state directory unreadable for user namespaces.
	if err := server.CreateTopLevelDirectories(cfg); err != nil {
		return nil, fmt.Errorf("make containerd directories: %w", err)
	}
	if err := mount.SetTempMountLocation(filepath.Join(cfg.Root, "tmpmounts")); err != nil {
		return nil, fmt.Errorf("set place for temporary mounts: %w", err)
	}
	if _, err := mount.CleanupTempMounts(0); err != nil {
		c.Log.Warn("temporary mounts of an earlier engine are left", "err", err)
	}
	diff.RegisterProcessor((&tallies{pulls: map[string]*tally{}}).handle)
	srv, err := server.New(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("make containerd: %w", err)
	}
	c.Step()
	if err := srv.Start(ctx); err != nil {
		srv.Stop()
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	return srv, nil
}

// serverConfig is containerd's configuration, format version 4: only what differs from its defaults.
func serverConfig(c ServerConfig) *config.Config {
	return &config.Config{
		Version: 4,
		Root:    filepath.Join(c.Dir, "engine", "root"),
		State:   stateDir(c.Dir),
		RequiredPlugins: []string{
			"io.containerd.server.v1.grpc", "io.containerd.server.v1.ttrpc",
			"io.containerd.runtime.v2.task", "io.containerd.snapshotter.v1.native",
		},
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":  map[string]any{"address": c.Socket},
			"io.containerd.server.v1.ttrpc": map[string]any{"address": c.Socket + ".ttrpc"},
			"io.containerd.shim.v1.manager": map[string]any{"socket_dir": filepath.Join(runDir(c.Dir), "s")},
			// Content and snapshots go soon after the last image record that names them.
			"io.containerd.gc.v1.scheduler": map[string]any{"schedule_delay": "100ms", "startup_delay": "10s"},
		},
	}
}

// clearSocket removes a socket that nobody serves any more, and refuses one that somebody does.
func clearSocket(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // only asked whether anybody is there
		return fmt.Errorf("listen on %s: another engine serves it", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

// awaitAnswer waits until the engine answers a call, which is right after the socket accepts.
func awaitAnswer(ctx context.Context, socket string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cl, err := dial(socket, DefaultNamespace)
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := cl.Version(ctx); err != nil {
		return fmt.Errorf("wait for the engine to answer: %w", err)
	}
	name, err := snapshotter(ctx, cl)
	if err != nil {
		return err
	}
	if name != overlayfs {
		log.Warn("overlay mounts do not work here: every instance gets a full copy of its image", "snapshotter", name)
	}
	return nil
}

// Ping returns nil when an engine child answers on the socket, and otherwise why it does not. It
// does not wait for one to appear.
func Ping(ctx context.Context, socket string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("reach the engine: %w", err)
	}
	_ = conn.Close() // the version call below uses its own
	cl, err := dial(socket, DefaultNamespace)
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := cl.Version(ctx); err != nil {
		return fmt.Errorf("ask the engine its version: %w", err)
	}
	return nil
}
