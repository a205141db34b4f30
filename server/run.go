package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
	"apron/control"
	"apron/engine/containerd"
	"apron/router"
)

// Hooks let a test look into a running server. The zero value changes nothing.
type Hooks struct {
	// AfterStep is called when the checkpoint of an operation's step is durable.
	AfterStep func(op apron.Operation, step string)
}

// Times of the control plane's own work.
const (
	shutdownGrace = 10 * time.Second // for API requests in flight at the end
	purgeEvery    = 10 * time.Minute // between purges
	keepDeleted   = 24 * time.Hour   // a deleted service is describable that long
	restoreLimit  = 2 * time.Minute  // for the fleet to come back at the start
)

// Run plays the role "serve" until ctx is done: it finds or starts the router and the engine, takes
// over what runs already, and serves the API. Ending it, however it ends, leaves the router and the
// instances alone; the next Run finds them. It fails at once when another process plays the role.
func Run(ctx context.Context, cfg Config, hooks Hooks, log *slog.Logger) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	l, err := acquire(cfg.Data, roleServe)
	if errors.Is(err, errHeld) {
		return fmt.Errorf("another server uses the data directory %s", cfg.Data)
	}
	if err != nil {
		return err
	}
	defer l.release()
	// What an earlier server has left says where it listened, which a port 0 makes untrue.
	if err := os.Remove(endpointsPath(cfg.Data)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old endpoints: %w", err)
	}
	cp, err := open(ctx, cfg, hooks, log)
	if err != nil {
		return err
	}
	return errors.Join(cp.run(ctx), cp.close())
}

// run runs every part until ctx is done or one of them fails.
func (cp *controlPlane) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	engineUp, routerUp := newOnce(), newOnce()
	if cp.unable == "" {
		g.Go(func() error { return cp.children(roleEngine).keep(ctx, engineUp.set) })
	} else {
		engineUp.set()
	}
	g.Go(func() error { return cp.children(roleRouter).keep(ctx, routerUp.set) })
	g.Go(func() error {
		if err := routerUp.wait(ctx); err != nil {
			return err
		}
		return cp.router.Run(ctx)
	})
	g.Go(func() error { return cp.engine.Run(ctx) })
	g.Go(func() error { return cp.fleet.Run(ctx) })
	g.Go(func() error { return cp.auth.Run(ctx) })
	g.Go(func() error { return cp.control.Run(ctx) })
	g.Go(func() error { return cp.follower.Run(ctx) })
	g.Go(func() error { return cp.branches.Run(ctx) })
	g.Go(func() error { return cp.serve(ctx) })
	g.Go(func() error { return cp.serveLocal(ctx) })
	g.Go(func() error { return cp.purge(ctx) })
	g.Go(func() error {
		if err := cp.restore(ctx, engineUp, routerUp); err != nil {
			return err
		}
		return cp.runner.Run(ctx)
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// children describes the process that plays a role beside this one.
func (cp *controlPlane) children(role string) *child {
	c := &child{role: role, data: cp.cfg.Data, log: cp.log}
	switch role {
	case roleRouter:
		c.socket = router.SocketPath(cp.cfg.Data)
		c.args = cp.routerArgs
		c.succeed = []string{"--take-over"}
	case roleEngine:
		c.socket = containerd.SocketPath(cp.cfg.Data)
		c.args = cp.cfg.engineArgs
	}
	return c
}

// routerArgs makes a router that is started again listen where the one before it did, also when
// the configured port is 0.
func (cp *controlPlane) routerArgs() []string {
	http, https := cp.cfg.HTTP, cp.cfg.HTTPS
	if bound := cp.bound.Load(); bound != nil {
		http, https = bound.HTTP, bound.HTTPS
	}
	return []string{"--data", cp.cfg.Data, "--http", http, "--https", https, "--domain", cp.cfg.Domain}
}

// restore brings the fleet back once the router and the engine are there, and tells the world.
func (cp *controlPlane) restore(ctx context.Context, up ...*once) error {
	for _, s := range up {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	sayStep(restoreLimit + stepPatience)
	limited, cancel := context.WithTimeout(ctx, restoreLimit)
	defer cancel()
	if err := cp.fleet.Restore(limited); err != nil {
		return fmt.Errorf("restore the fleet: %w", err)
	}
	addrs, err := cp.router.Addresses(limited)
	if err != nil {
		return fmt.Errorf("ask the router where it listens: %w", err)
	}
	cp.bound.Store(&addrs)
	cp.warnMoved("http", cp.cfg.HTTP, addrs.HTTP)
	cp.warnMoved("https", cp.cfg.HTTPS, addrs.HTTPS)
	err = writeEndpoints(cp.cfg, endpoints{
		Listen: reachable(cp.listener.Addr().String()), HTTP: reachable(addrs.HTTP), HTTPS: reachable(addrs.HTTPS),
	})
	if err != nil {
		return err
	}
	close(cp.restored)
	cp.log.Info("ready", "listen", cp.listener.Addr().String(), "http", addrs.HTTP, "https", addrs.HTTPS)
	sayReady()
	return nil
}

// warnMoved says that the router that was found listens elsewhere than it is configured to: it holds
// connections, so it is not moved behind its users' backs.
func (cp *controlPlane) warnMoved(name, wanted, bound string) {
	if port(wanted) != "0" && port(wanted) != port(bound) {
		cp.log.Warn("the router that runs listens elsewhere; `apron down` and a new start move it",
			"listener", name, "wanted", wanted, "bound", bound)
	}
}

// serve answers requests on the API listener. Reads and writes of whole bodies are bounded by the
// parts, because a registry's uploads take as long as they take.
func (cp *controlPlane) serve(ctx context.Context) error {
	srv := &http.Server{
		Handler:           cp,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cp.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopped <- srv.Shutdown(soft)
	})
	err := srv.Serve(cp.listener)
	if stop() {
		return fmt.Errorf("serve the API: %w", err)
	}
	if err := <-stopped; err != nil {
		return errors.Join(err, srv.Close())
	}
	return ctx.Err()
}

// purge forgets services and configurations that were deleted long ago.
func (cp *controlPlane) purge(ctx context.Context) error {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		before := time.Now().Add(-keepDeleted)
		services, err := cp.store.Purge(ctx, before)
		configurations, more := cp.store.PurgeConfigurations(ctx, before)
		if err := errors.Join(err, more); err != nil && ctx.Err() == nil {
			cp.log.Error("purge what was deleted", "err", err)
		}
		if services+configurations > 0 {
			cp.log.Info("purged what was deleted", "services", services, "configurations", configurations)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// once is an event that happens once or again and is remembered.
type once struct {
	c    chan struct{}
	done bool // used by one goroutine only
}

func newOnce() *once { return &once{c: make(chan struct{})} }

// wait returns nil once the event has happened, or ctx's error before that.
func (s *once) wait(ctx context.Context) error {
	select {
	case <-s.c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *once) set() {
	if !s.done {
		s.done = true
		close(s.c)
	}
}

// RunRouter plays the role "router" until ctx is done or another router has taken over. With takeOver
// it takes the listeners over from the one that runs, if one does. Users of a domain that is not
// local are sent to TLS; those of a local one are told why the router and not an instance answers.
func RunRouter(ctx context.Context, cfg Config, takeOver bool, log *slog.Logger) error {
	if err := containerd.TakeShortTurns(); err != nil {
		log.Warn("requests can wait longer for a busy processor", "err", err)
	}
	local := control.LocalDomain(cfg.Domain)
	err := router.Run(ctx, router.Config{
		Dir: cfg.Data, HTTP: cfg.HTTP, HTTPS: cfg.HTTPS, Redirect: !local, Explain: local, TakeOver: takeOver, Log: log, Ready: sayReady,
		Hold: func() (func(), error) {
			l, err := acquire(cfg.Data, roleRouter)
			if err != nil {
				return nil, err
			}
			return l.release, nil
		},
	})
	if errors.Is(err, errHeld) || errors.Is(err, router.ErrRunning) {
		return fmt.Errorf("another process already plays the role %s for %s", roleRouter, cfg.Data)
	}
	return err
}

// RunEngine plays the role "engine" until ctx is done. Instances outlive it.
func RunEngine(ctx context.Context, cfg Config, log *slog.Logger) error {
	return runRole(cfg, roleEngine, func() error {
		return containerd.Serve(ctx, containerd.ServerConfig{
			Dir: cfg.Data, Log: log, Builds: cfg.Builds.limits(),
			Step: func() { sayStep(stepPatience) }, Ready: sayReady,
		})
	})
}

// runRole holds the role's lock while run runs.
func runRole(cfg Config, role string, run func() error) error {
	for _, dir := range []string{cfg.Data, filepath.Join(cfg.Data, "run")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	l, err := acquire(cfg.Data, role)
	if errors.Is(err, errHeld) {
		return fmt.Errorf("another process already plays the role %s for %s", role, cfg.Data)
	}
	if err != nil {
		return err
	}
	defer l.release()
	return run()
}
