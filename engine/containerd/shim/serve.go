package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/fifo"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
)

// socketFD is the descriptor on which a shim inherits the socket it serves.
const socketFD = 3

// serving reports whether the arguments are those of the process that stays with an instance, and if so
// the namespace of the instance: not of the commands that start it and clear up after it, nor of a
// question.
func serving(args []string) (namespace string, ok bool) {
	flags := flag.NewFlagSet("shim", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&namespace, "namespace", "", "")
	for _, name := range []string{"id", "address"} {
		flags.String(name, "", "")
	}
	flags.Bool("debug", false, "")
	return namespace, flags.Parse(args) == nil && flags.NArg() == 0 && namespace != ""
}

// serve keeps an instance until it has been deleted and the engine ends the shim.
//
// It stands in for what containerd's shim.RunShim does here. That collects garbage every half minute,
// whether or not there is any: in a shim that does nothing it is all the work there is, and two hundred
// of them spend several percent of a core on it.
func serve(ctx context.Context, namespace string) error {
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPIPE, unix.SIGCHLD)
	if err := reaper.SetSubreaper(1); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	ctx = namespaces.WithNamespace(ctx, namespace)
	if err := openLog(ctx); err != nil {
		return err
	}
	ctx, down := shutdown.WithShutdown(ctx)
	defer down.Shutdown()
	l, err := net.FileListener(os.NewFile(socketFD, "socket"))
	if err != nil {
		return fmt.Errorf("take over socket: %w", err)
	}
	defer os.Remove(l.Addr().String())
	server, err := newServer(ctx, down)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	return await(ctx, signals, ended, down.Shutdown)
}

// openLog sends the log, and whatever else is written to standard error, to the engine.
func openLog(ctx context.Context) error {
	w, err := fifo.OpenFifoDup2(ctx, "log", unix.O_WRONLY, 0o700, int(os.Stderr.Fd()))
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	log.L.Logger.SetOutput(w)
	return log.SetFormat(log.TextFormat)
}

// newServer makes the server of an instance's task, which tells the engine what happens to it.
func newServer(ctx context.Context, down shutdown.Service) (*ttrpc.Server, error) {
	publisher, err := shim.NewPublisher(os.Getenv("TTRPC_ADDRESS"))
	if err != nil {
		return nil, fmt.Errorf("reach the engine: %w", err)
	}
	tasks, err := newLogging(ctx, publisher, down)
	if err != nil {
		return nil, err
	}
	rest := newRest()
	server, err := ttrpc.NewServer(
		ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()),
		ttrpc.WithUnaryServerInterceptor(func(ctx context.Context, u ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, m ttrpc.Method) (any, error) {
			rest.later()
			defer rest.later()
			return m(ctx, u)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("make server: %w", err)
	}
	task.RegisterTTRPCTaskService(server, tasks)
	return server, nil
}

// await looks after ended processes until the shim has been shut down or its server fails.
func await(ctx context.Context, signals <-chan os.Signal, ended <-chan error, shutdown func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("serve: %w", err)
		case s := <-signals:
			switch s {
			case unix.SIGCHLD:
				if err := reaper.Reap(); err != nil {
					log.G(ctx).WithError(err).Error("reap exit status")
				}
			case unix.SIGTERM, unix.SIGINT:
				shutdown()
			}
		}
	}
}
