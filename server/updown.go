package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"apron/engine/containerd"
	"apron/router"
)

// Up starts the server in the background, unless it runs already, and returns when it is ready.
// args are the command line of "apron serve". started is false when it ran already.
func Up(ctx context.Context, cfg Config, args []string) (started bool, err error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return false, fmt.Errorf("make data directory: %w", err)
	}
	pid, err := holder(cfg.Data, roleServe)
	if err != nil || pid != 0 {
		return false, err
	}
	p, err := spawn(ctx, cfg.Data, roleServe, args)
	if err != nil {
		return false, err
	}
	p.close()
	return true, nil
}

// stopGrace is how long each role may take to end by itself. The router waits for requests.
const stopGrace = 40 * time.Second

// Down stops the server, its router and every instance, and removes what they left on the machine:
// mounts, network namespaces, the bridge, firewall rules and cgroups. What is in the data directory
// stays. It succeeds when nothing runs.
func Down(ctx context.Context, cfg Config, log *slog.Logger) error {
	for _, role := range []string{roleServe, roleRouter, roleEngine} {
		if err := stopRole(ctx, cfg.Data, role, log); err != nil {
			return fmt.Errorf("stop %s: %w", role, err)
		}
	}
	if err := router.ForgetInstances(cfg.Data); err != nil {
		return err
	}
	if err := containerd.Teardown(ctx, cfg.Data); err != nil {
		return fmt.Errorf("remove what instances left: %w", err)
	}
	return nil
}

func stopRole(ctx context.Context, data, role string, log *slog.Logger) error {
	pid, err := holder(data, role)
	if err != nil || pid == 0 {
		return err
	}
	p, err := openProcess(pid)
	if err != nil {
		return err
	}
	defer p.close()
	// Between the look and the handle the process may have ended and its number may mean another.
	if again, err := holder(data, role); err != nil || again != pid {
		return err
	}
	log.Info("stopping", "role", role, "pid", pid)
	return p.stop(ctx, stopGrace)
}

// port returns the port of host:port.
func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return p
}
