package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/registry/handlers"
)

// Config is what a Registry needs.
type Config struct {
	// Dir holds everything the registry keeps: a store per account and the secret that signs upload
	// URLs. It is made, mode 0700, if absent. Only one Registry may use it at a time.
	Dir string
	// Authenticate tells which account (12 decimal digits) an access key id and its secret belong to.
	// ok is false when they do not match; err is for when that cannot be known, and is answered 503.
	// It must be safe for concurrent use.
	Authenticate func(ctx context.Context, user, password string) (account string, ok bool, err error)
	// OnPush is called after a manifest was stored, in the goroutine of the request: it must not
	// block. tag is empty for a push by digest, as the parts of an index are pushed. nil: nobody asks.
	OnPush func(account, repository, tag, digest string)
	// KeepUnreferenced is how long a blob is kept that no manifest refers to, counted from when a client
	// last pushed it or asked for it. It must outlast a push. 0: 24 hours.
	KeepUnreferenced time.Duration
	// MinFreeBytes is the disk space that pushes must leave free; 0: they may fill the disk.
	MinFreeBytes int64
	// Log gets a record per failure of the registry itself. nil: nothing is logged.
	Log *slog.Logger
}

// Registry serves the OCI distribution API below /v2/. It is safe for concurrent use.
type Registry struct {
	cfg    Config
	bridge *logBridge
	secret string
	stop   context.CancelFunc
	wait   sync.WaitGroup // the removal of what nobody needs
	free   func(dir string) (bytes int64, err error)

	// touching is held by who makes blobs fresh, and locked by who removes one that is not.
	touching sync.RWMutex
	// deleted is set by a request that deletes, and cleared by the collection that follows.
	deleted atomic.Bool

	// mu guards the fields below. Opening a store touches no disk, so it may happen under mu.
	mu     sync.Mutex
	stores map[string]*handlers.App // by account; absent until its first request
	closed bool
}

// New opens the registry in cfg.Dir. The values of ctx are kept for its background work; the
// registry ends with Close, not with ctx. An error means that Dir cannot be used.
func New(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.Authenticate == nil {
		return nil, errors.New("open registry: no way to authenticate")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.KeepUnreferenced <= 0 {
		cfg.KeepUnreferenced = keepUnreferenced
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	secret, err := loadSecret(filepath.Join(cfg.Dir, "secret"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &Registry{
		cfg: cfg, bridge: newLogBridge(cfg.Log), secret: secret, stop: stop,
		free: freeBytes, stores: map[string]*handlers.App{},
	}
	r.wait.Go(func() { r.clean(ctx) })
	return r, nil
}

// ServeHTTP answers one request of the OCI distribution API. The server it is part of must not set
// a ReadTimeout or WriteTimeout: layers take as long as they take, and stalled transfers are ended
// here.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	x := newExchange(w, req)
	defer x.end()
	account, ok := r.authenticate(x, req)
	if !ok {
		return
	}
	store, err := r.store(account)
	if err != nil {
		r.cfg.Log.ErrorContext(req.Context(), "open registry store", "account", account, "err", err)
		writeError(x, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is not available")
		return
	}
	if req.ContentLength > maxRequestBytes {
		writeError(x, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the upload is too large")
		return
	}
	res := parsePath(req.URL.Path)
	if code := res.vet(); code != "" {
		writeError(x, http.StatusBadRequest, code, "the name is too long")
		return
	}
	if !r.vetSpace(x, req, res) {
		return
	}
	in := r.inner(req, x)
	manifest, ok := vetManifest(x, in, res)
	if !ok {
		return
	}
	r.touch(account, req, res, manifest)
	store.ServeHTTP(x, in)
	if req.Method == http.MethodDelete {
		r.deleted.Store(true)
	}
	r.announce(account, req, res, x)
}

// inner returns the request as the distribution handlers see it: with our logger, a body that is
// limited and watched, and without the credentials, which are no business of theirs.
func (r *Registry) inner(req *http.Request, x *exchange) *http.Request {
	in := req.WithContext(r.bridge.context(req.Context(), x))
	in.Header = req.Header.Clone()
	in.Header.Del("Authorization")
	if req.Body == nil {
		in.Body = http.NoBody
	} else if req.Body != http.NoBody {
		in.Body = x.body(req.Body, func() error { return r.checkSpace(0) })
	}
	return in
}

// Close ends the background work and waits for it. Shut the HTTP server down first: requests that
// arrive afterwards are answered 503.
func (r *Registry) Close() error {
	r.stop()
	r.wait.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	for account, store := range r.stores {
		if err := store.Shutdown(); err != nil {
			errs = append(errs, fmt.Errorf("close registry store of %s: %w", account, err))
		}
		delete(r.stores, account)
	}
	return errors.Join(errs...)
}
