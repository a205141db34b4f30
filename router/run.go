package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"apron"
)

// ErrRunning is what Run returns when another router serves the same data directory.
var ErrRunning = errors.New("another router serves this data directory")

// Run is the router process: it binds the listeners, or takes them over from the router that runs
// (Config.TakeOver), serves with the table and certificates kept from before, and follows whichever
// control plane connects to its socket. It returns when ctx is done or another router has taken
// over, after the requests in flight have ended or Config.ExitLimit has passed, and every goroutine
// it started has. The error is nil unless it could not start or a listener failed; ErrRunning means
// that another router serves the same data directory.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	stateDir := filepath.Join(cfg.Dir, "router")
	for _, dir := range []string{stateDir, filepath.Join(cfg.Dir, "run"), filepath.Dir(cfg.Socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make router directory: %w", err)
		}
	}
	var public listeners
	var old *net.UnixConn
	if cfg.TakeOver {
		if public, old, err = inherit(ctx, cfg); err != nil {
			return err
		}
	}
	if old != nil {
		defer func() { _ = old.Close() }() // without a word before, it goes on itself
	}
	o := &office{cfg: cfg, stateDir: stateDir}
	if err := o.take(ctx); err != nil {
		public.close()
		return err
	}
	defer o.leave()
	if old == nil {
		if public, err = listen(ctx, cfg); err != nil {
			return err
		}
	}
	o.addresses = public.addresses()
	if err := announce(cfg, o.addresses); err != nil {
		public.close()
		return err
	}
	return serve(ctx, o, public, old)
}

// serve runs the two halves: requests, and the stream to the control plane, which stays up until
// the last request has ended, here and in the router at the other end of old, if there is one. That
// one is told when both have begun.
func serve(ctx context.Context, o *office, public listeners, old *net.UnixConn) error {
	cfg := o.cfg
	signal := newLoadSignal()
	ended := &ends{changed: signal.raise}
	c := &control{
		log: cfg.Log, stateDir: o.stateDir, addresses: o.addresses, certs: newCertificates(),
		access: newAccessLog(signal.raise), signal: signal, ends: ended,
		routes: newRoutes(newDrain(), breakerLimits{
			depth: cfg.QueueDepth, wait: cfg.QueueLimit, request: cfg.RequestLimit, changed: signal.raise,
		}),
	}
	if old != nil {
		c.elder = newElder(c)
	}
	c.restore(old != nil)
	cfg.Log.Info("router serves", "http", c.addresses.HTTP, "https", c.addresses.HTTPS,
		"version", c.routes.current.Load().source.Version)

	g, ctx := errgroup.WithContext(ctx)
	streams, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	successor := make(chan struct{})
	g.Go(func() error {
		defer endStreams()
		err := public.serve(ctx, successor, cfg, newRelay(cfg, newProxy(cfg, c.routes, c.access, ended)), c.certs)
		c.elder.outlive(ctx)
		c.farewell()
		return err
	})
	g.Go(func() error { return o.hold(streams, c, public, func() { close(successor) }) })
	if old != nil {
		_, _ = old.Write([]byte(heirServes)) // if it is gone, so much the better
		g.Go(func() error {
			c.elder.follow(streams, old)
			return nil
		})
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	err := g.Wait()
	cfg.Log.Info("router ended", "err", err)
	return err
}

// restore puts in effect what an earlier router kept; heir: that one is at work still. What cannot be read is
// reported and left out: a router without routes that a control plane can reach is better than none. Instances
// that have ended with the machine are left out too: requests to their addresses would leave it, or reach
// whatever has them now.
func (c *control) restore(heir bool) {
	var source apron.RouteTable
	err := loadJSON(filepath.Join(c.stateDir, tableFile), &source)
	live := heir || c.instancesLive()
	for i := range source.Routes {
		if !live {
			source.Routes[i].Backends = nil
		}
		// After a restart of the machine the instances are on their way. Until a control plane says what is
		// true, users wait for those that do not answer.
		source.Routes[i].Starting = true
	}
	if err == nil {
		err = c.routes.install(source)
	}
	if err != nil {
		c.log.Error("restore route table", "err", err)
	}
	var certs []Certificate
	err = loadJSON(filepath.Join(c.stateDir, certificatesFile), &certs)
	if err == nil {
		err = c.certs.install(certs)
	}
	if err != nil {
		c.log.Error("restore certificates", "err", err)
	}
}

// lock makes this the only router of a data directory until unlock is called or the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrRunning
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// listenSocket binds the control plane's socket, for this user only. A socket found there was left
// by a router that ended without cleaning up: the lock shows that none is running.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("listen for the control plane: %s exists and is no socket", path)
	case err == nil:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen for the control plane: %w", err)
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the control plane: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the control plane: %w", err), ln.Close())
	}
	return ln, nil
}

// announce writes AddressFile.
func announce(cfg Config, a Addresses) error {
	return saveJSON(AddressFile(cfg.Dir), struct {
		PID    int
		Socket string
		Addresses
	}{os.Getpid(), cfg.Socket, a})
}
