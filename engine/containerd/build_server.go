package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
)

// BuildSocketPath returns where the engine child of a data directory takes builds: BuildKit's API, for
// the server alone.
func BuildSocketPath(dir string) string { return filepath.Join(dir, "run", "build.sock") }

// BuildLimits bounds all builds of a data directory together. Zero members mean the default.
type BuildLimits struct {
	MemoryMiB int   // of all build steps; 0: three quarters of the machine's
	Parallel  int   // build steps at a time; 0: one per CPU
	KeepBytes int64 // of cached steps and dependencies, of which the oldest go first; 0: 20 GiB
}

// builds is the builder in the engine child. It is made when the first connection arrives: an engine
// that never builds does not pay for it.
type builds struct {
	cfg      ServerConfig
	listener net.Listener
}

// listenBuilds claims the builder's socket and ends what an earlier engine left of its builds.
func listenBuilds(ctx context.Context, c ServerConfig) (*builds, error) {
	if err := endBuilds(ctx, c); err != nil {
		return nil, err
	}
	path := BuildSocketPath(c.Dir)
	if err := clearSocket(ctx, path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for builds: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for builds: %w", err), l.Close())
	}
	return &builds{cfg: c, listener: l}, nil
}

// run serves builds until ctx is done.
func (b *builds) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = b.listener.Close() })
	defer stop()
	for {
		conn, err := b.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a build: %w", err)
		}
		controller, err := openController(ctx, b.cfg)
		if err != nil { // whoever connected sees the end of the connection, and the next may have more luck
			b.cfg.Log.Error("the builder cannot be used", "err", err)
			_ = conn.Close()
			continue
		}
		b.cfg.Log.Info("builder ready")
		return b.serve(ctx, controller, conn)
	}
}

// serve answers on the first connection and all that follow.
func (b *builds) serve(ctx context.Context, controller *control.Controller, first net.Conn) error {
	srv := grpc.NewServer(
		grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	controller.Register(srv)
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	err := srv.Serve(&resumed{Listener: b.listener, first: first})
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		err = nil
	}
	srv.Stop()
	return errors.Join(err, controller.Close())
}

// resumed is a listener one of whose connections has been accepted before.
type resumed struct {
	net.Listener
	mu    sync.Mutex // guards first
	first net.Conn   // nil once it has been taken
}

// Accept implements net.Listener.
func (r *resumed) Accept() (net.Conn, error) {
	r.mu.Lock()
	conn := r.first
	r.first = nil
	r.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	return r.Listener.Accept()
}

// endBuilds ends the steps of builds that ran when the last engine died: nobody waits for them.
func endBuilds(ctx context.Context, c ServerConfig) error {
	cg, err := detectCgroups()
	if err != nil {
		return err
	}
	if err := endSteps(ctx, c.Dir, cg); err != nil {
		return err
	}
	cl, err := dial(c.Socket, DefaultNamespace)
	if err != nil {
		return err
	}
	defer cl.Close()
	all, err := cl.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, container := range all {
		labels, err := container.Labels(ctx)
		if err != nil || labels[labelRevision] != "" {
			continue // an instance, or gone meanwhile
		}
		if err := discardBuild(ctx, container); err != nil {
			c.Log.Warn("a step of an earlier build is left", "container", container.ID(), "err", err)
		}
	}
	return nil
}
