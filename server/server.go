// Package server wires the control plane together and plays the three roles of a data directory:
// serve (the API, operations and the fleet), router (the data plane) and engine (containerd).
//
// It is the only package that knows both ends of every seam. Run, RunRouter and RunEngine each play
// one role until their context is done; Up and Down start and stop all of them; Local is what a
// command on the same machine may learn from the data directory.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"apron"
	"apron/api"
	"apron/auth"
	"apron/builder"
	"apron/certs"
	"apron/control"
	"apron/deploy"
	"apron/engine"
	"apron/engine/containerd"
	"apron/fleet"
	"apron/githost"
	"apron/logs"
	"apron/operation"
	"apron/registry"
	"apron/router"
	"apron/secrets"
	"apron/source"
	"apron/store"
)

// control plane parts, made by open and run by Run.
type controlPlane struct {
	cfg      Config
	log      *slog.Logger
	admin    apron.AccessKey
	listener net.Listener
	former   []string // host:port where servers of this data directory listened before, newest first

	store    *store.Store
	auth     *auth.Auth
	logs     *logs.Store
	registry *registry.Registry
	images   *source.Resolver
	follower *source.Follower
	keys     *secrets.Keyset
	githost  *githost.Host
	git      *source.Git
	branches *source.BranchFollower
	metrics  *metrics
	router   *router.Client
	edge     *edge
	engine   runningEngine
	unable   string // why the engine runs no instances; empty: it does
	builder  *builder.Builder
	fleet    *fleet.Fleet
	runner   *operation.Runner
	control  *control.Control
	api      *api.Handler

	bound    atomic.Pointer[router.Addresses] // where the router listens; nil: not known yet
	restored chan struct{}                    // closed once the fleet is back and operations run
}

// runningEngine is an engine with what it does on its own.
type runningEngine interface {
	engine.Engine
	Run(ctx context.Context) error
}

// open makes every part of the control plane. Nothing runs yet but the listener's queue.
func open(ctx context.Context, cfg Config, hooks Hooks, log *slog.Logger) (_ *controlPlane, err error) {
	cp := &controlPlane{cfg: cfg, log: log, restored: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, cp.close())
		}
	}()
	if cp.store, err = store.Open(ctx, cfg.dsn()); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if cp.logs, err = logs.Open(serviceLogDir(cfg.Data)); err != nil {
		return nil, err
	}
	if err := cp.openIdentity(ctx); err != nil {
		return nil, err
	}
	if err := cp.listen(ctx); err != nil {
		return nil, err
	}
	if err := cp.openImages(ctx); err != nil {
		return nil, err
	}
	if err := cp.openGit(ctx); err != nil {
		return nil, err
	}
	if err := cp.openFleet(); err != nil {
		return nil, err
	}
	if err := cp.openBuilder(); err != nil {
		return nil, err
	}
	cp.openAPI(hooks)
	return cp, nil
}

// openIdentity makes the administrator's key at the first start and finds it at later ones.
func (cp *controlPlane) openIdentity(ctx context.Context) error {
	root, err := os.OpenRoot(cp.cfg.Data)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	defer root.Close()
	cp.auth = auth.New(cp.store, time.Now)
	if cp.admin, err = cp.auth.EnsureAdministrator(ctx, root, cp.cfg.Account); err != nil {
		return fmt.Errorf("administrator key: %w", err)
	}
	return nil
}

// openImages makes the embedded registry and what finds images in it and elsewhere.
func (cp *controlPlane) openImages(ctx context.Context) error {
	var err error
	cp.registry, err = registry.New(ctx, registry.Config{
		Dir: filepath.Join(cp.cfg.Data, "registry"),
		Authenticate: func(ctx context.Context, user, password string) (string, bool, error) {
			key, ok := cp.auth.CheckBasic(ctx, user, password)
			return key.Account, ok, nil
		},
		OnPush:       func(account, repository, tag, digest string) { cp.follower.Push(account, repository, tag, digest) },
		MinFreeBytes: cp.cfg.RegistryMinFreeMiB << 20,
		Log:          cp.log.With("part", "registry"),
	})
	if err != nil {
		return fmt.Errorf("open registry: %w", err)
	}
	images, err := cp.cfg.sourceConfig()
	if err != nil {
		return err
	}
	images.Embedded = cp.embeddedRegistry
	if cp.images, err = source.New(images); err != nil {
		return fmt.Errorf("image sources: %w", err)
	}
	return nil
}

// embeddedRegistry says how this process's own registry is reached for an account. Only the
// administrator's account has a key to pull with so far.
func (cp *controlPlane) embeddedRegistry(account string) (baseURL, user, password string, ok bool) {
	if account != cp.admin.Account {
		return "", "", "", false
	}
	return "http://" + reachable(cp.listener.Addr().String()), cp.admin.ID, cp.admin.Secret, true
}

// reachable turns the address of a listener into one this machine can dial: a listener on every
// address is also one on loopback.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// openFleet makes what runs instances and routes to them.
func (cp *controlPlane) openFleet() error {
	authority, err := certs.Open(certs.Config{Dir: filepath.Join(cp.cfg.Data, "certs")})
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	cp.metrics = newMetrics()
	cp.router = router.NewClient(router.ClientConfig{
		Socket: router.SocketPath(cp.cfg.Data), Log: cp.log.With("part", "router"),
		OnLoad: cp.metrics.observe, OnAccess: accessLog{logs: cp.logs, log: cp.log.With("part", "access")}.write,
	})
	own, err := loadCertificates(cp.cfg.Certificates)
	if err != nil {
		return err
	}
	cp.edge = newEdge(cp.router, authority, own, cp.cfg.Region+"."+cp.cfg.Domain, cp.log)
	if cp.engine, err = cp.openEngine(); err != nil {
		return err
	}
	cp.fleet = fleet.New(fleet.Config{
		Store: cp.store, Engine: cp.engine, Router: cp.edge, Logs: cp.logs, Log: cp.log.With("part", "fleet"),
		StartWindow: cp.cfg.StartWindow, Revisions: cp.cfg.Revisions,
	})
	return nil
}

// openEngine makes the driver of what this machine can run instances with. One that cannot still
// serves the API, and says why its deployments fail.
func (cp *controlPlane) openEngine() (runningEngine, error) {
	running, err := holder(cp.cfg.Data, roleEngine)
	if err != nil {
		return nil, err
	}
	if running == 0 { // otherwise it has been shown that they can run
		if err := containerd.CanRun(cp.cfg.Data); err != nil {
			cp.unable = err.Error() + "; see apron doctor"
		}
	}
	if cp.unable != "" {
		cp.log.Error("instances cannot run on this machine", "reason", cp.unable)
		return engine.NewUnable(cp.unable), nil
	}
	return containerd.New(containerd.Config{
		Dir: cp.cfg.Data, Log: cp.log.With("part", "engine"), Images: cp.openImage,
		Open: cp.cfg.openToInstances(), MaxImageBytes: cp.cfg.MaxImageMiB << 20, MaxUnpackedBytes: cp.cfg.MaxUnpackedMiB << 20, Runtime: cp.cfg.Runtime,
	}), nil
}

// openToInstances returns the ports through which services call each other by their URLs: the
// router's, where they are not on loopback.
func (c Config) openToInstances() []uint16 {
	var ports []uint16
	for _, addr := range []string{c.HTTP, c.HTTPS} {
		host, port, err := net.SplitHostPort(addr)
		n, numErr := strconv.ParseUint(port, 10, 16)
		ip := net.ParseIP(host)
		if err == nil && numErr == nil && n != 0 && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			ports = append(ports, uint16(n))
		}
	}
	return ports
}

// openImage tells the engine where to pull a pinned image from.
func (cp *controlPlane) openImage(ctx context.Context, reference string) (containerd.Repository, error) {
	return cp.images.Open(ctx, reference)
}

// openAPI makes the operation runner and the front door.
func (cp *controlPlane) openAPI(hooks Hooks) {
	cp.runner = operation.New(operation.Config{
		Store: cp.store,
		Plans: deploy.Plans(deploy.Config{
			Store: cp.store, Fleet: cp.fleet, Images: cp.images, Logs: cp.logs, Log: cp.log.With("part", "deploy"),
			Git: cp.git, Builder: cp.builder, Credential: cp.credential, Checkouts: filepath.Join(cp.cfg.Data, "git", "checkout"),
		}),
		Name: cp.cfg.runnerName(), Parallel: cp.cfg.Operations, Log: cp.log.With("part", "operations"),
		AfterStep: hooks.AfterStep,
		Ended: func(op apron.Operation) {
			cp.fleet.Tidy(op.Service)
			cp.control.OperationEnded()
		},
	})
	cp.control = control.New(control.Config{
		Store: cp.store, Domain: cp.cfg.Domain, Wake: cp.runner.Wake, Deadline: deploy.Deadline, BuildTime: cp.cfg.buildTime(), Retagged: cp.fleet.Refresh,
		Quotas: cp.cfg.quotas(), SimulateValidation: control.LocalDomain(cp.cfg.Domain), Log: cp.log.With("part", "control"),
		Hosts: func(account string, u *url.URL) bool { _, ok := cp.embeddedRepository(account, u); return ok },
	})
	cp.follower = source.NewFollower(source.FollowerConfig{
		Resolver: cp.images, Followed: cp.store.FollowedImages, Interval: cp.cfg.PollInterval, Log: cp.log.With("part", "source"),
		Pushed: func(ctx context.Context, id apron.ServiceID, digest string) error {
			_, err := cp.control.AutoDeploy(ctx, id, digest)
			return err
		},
		Noticed: func(ctx context.Context, id apron.ServiceID, digest string) error {
			_, err := cp.control.Noticed(ctx, id, digest)
			return err
		},
	})
	cp.branches = source.NewBranchFollower(source.BranchFollowerConfig{
		Git: cp.git, Followed: cp.store.FollowedBranches, Credential: cp.credential, Interval: cp.cfg.PollInterval,
		Log: cp.log.With("part", "source"),
		Noticed: func(ctx context.Context, id apron.ServiceID, version string) error {
			_, err := cp.control.Noticed(ctx, id, version)
			return err
		},
	})
	cp.api = api.New(api.Config{
		Control:      cp.control,
		Authenticate: cp.auth.Key,
		Used:         cp.auth.Used,
		Log:          cp.log.With("part", "api"),
	})
}

// ServeHTTP sends a request on the API listener to the part it is for.
func (cp *controlPlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case api.IsAPI(r):
		cp.api.ServeHTTP(w, r)
	case r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/"):
		cp.registry.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, githost.Prefix):
		cp.githost.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, webhookPrefix):
		cp.serveWebhook(w, r)
	case r.URL.Path == "/livez":
		fmt.Fprintln(w, "ok")
	case r.URL.Path == "/readyz":
		cp.serveReady(w)
	case r.URL.Path == "/metrics":
		cp.metrics.ServeHTTP(w, r)
	default:
		http.Error(w, "Nothing here. The App Runner API is POST / with a SigV4 signature.", http.StatusNotFound)
	}
}

// serveReady answers 200 once services are back in the router and operations run.
func (cp *controlPlane) serveReady(w http.ResponseWriter) {
	select {
	case <-cp.restored:
		fmt.Fprintln(w, "ok")
	default:
		http.Error(w, "starting: the router or the engine is not there yet", http.StatusServiceUnavailable)
	}
}

// close releases what open made, last first. It waits for nothing that Run waits for.
func (cp *controlPlane) close() error {
	var errs []error
	if cp.listener != nil {
		if err := cp.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if cp.images != nil {
		cp.images.Close()
	}
	if cp.builder != nil {
		errs = append(errs, cp.builder.Close())
	}
	if cp.githost != nil {
		errs = append(errs, cp.githost.Close())
	}
	if cp.registry != nil {
		errs = append(errs, cp.registry.Close())
	}
	if cp.logs != nil {
		errs = append(errs, cp.logs.Close())
	}
	if cp.store != nil {
		errs = append(errs, cp.store.Close())
	}
	return errors.Join(errs...)
}

// dsn returns the database to open.
func (c Config) dsn() string {
	if c.Store != "" {
		return c.Store
	}
	return "file:" + filepath.Join(c.Data, "apron.db")
}

// runnerName identifies this server among those that share a database. The lock on the data
// directory makes sure that no two running servers have the same.
func (c Config) runnerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + c.Data
}

// serviceLogDir is where the log streams of services are kept.
func serviceLogDir(data string) string { return filepath.Join(data, "log", "service") }
