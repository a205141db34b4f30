// Package githost is a Git server for pushes: repositories over smart HTTP at /git/NAME.git, one set
// per account.
//
// Clients authenticate with an access key as user name and password, so that a key's holder sees the
// repositories of its account alone. A first push creates a repository. Once its refs are updated, and
// before the client has its answer, OnPush is told what changed, and what it returns is printed to the
// person who pushes. The work is done by the system's git in an environment that nothing else
// configures; [Host.Dir] is where others find a repository.
package githost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Prefix begins the path of every request that is for a Host.
const Prefix = "/git/"

// Config is what a Host needs.
type Config struct {
	// Dir holds everything: repositories by account, hooks and settings. It is made, mode 0700, if
	// absent. Only one Host may use it at a time.
	Dir string
	// Authenticate tells which account (12 decimal digits) an access key id and its secret belong to.
	// ok is false when they do not match; err is for when that cannot be known, and is answered 503.
	// It must be safe for concurrent use.
	Authenticate func(ctx context.Context, user, password string) (account string, ok bool, err error)
	// OnPush is called after refs of a repository were updated, while the client waits. What it returns
	// is printed there, a line each. It must be safe for concurrent use. nil: nobody asks.
	OnPush func(ctx context.Context, push Push) []string
	// MaxRepositories bounds an account. 0: 200.
	MaxRepositories int
	// MaxBytes bounds one repository, as it is on disk before a push and what the push adds, each. 0: 2 GiB.
	MaxBytes int64
	// Log gets a record per failure of the host itself. nil: nothing is logged.
	Log *slog.Logger
}

// Push is what a push has changed.
type Push struct {
	Account    string
	Repository string // NAME, without .git
	Updates    []Update
}

// Update is one ref that was changed.
type Update struct {
	Ref string // such as refs/heads/main
	Old string // commit or tag; empty: the ref was created
	New string // empty: it was deleted
}

// Branch returns the branch the update is of; empty: of none.
func (u Update) Branch() string {
	name, ok := strings.CutPrefix(u.Ref, "refs/heads/")
	if !ok {
		return ""
	}
	return name
}

// Host serves repositories below Prefix. It is safe for concurrent use.
type Host struct {
	cfg  Config
	root *os.Root // the directory of all repositories
	stop context.CancelFunc
	ctx  func() context.Context // of the work in the background
	wait sync.WaitGroup         // that work

	mu      sync.Mutex // guards tidying, and creating repositories
	tidying map[string]bool
}

// New opens the host in cfg.Dir. The values of ctx are kept for its background work; the host ends
// with Close, not with ctx. An error means that Dir cannot be used.
func New(ctx context.Context, cfg Config) (*Host, error) {
	if cfg.Authenticate == nil {
		return nil, errors.New("open git host: no way to authenticate")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxRepositories <= 0 {
		cfg.MaxRepositories = 200
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 2 << 30
	}
	if cfg.OnPush == nil {
		cfg.OnPush = func(context.Context, Push) []string { return nil }
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &Host{cfg: cfg, stop: stop, ctx: func() context.Context { return ctx }, tidying: map[string]bool{}}
	for _, dir := range []string{h.home(), h.hooks(), filepath.Join(cfg.Dir, "repositories")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open git host: %w", err)
		}
	}
	if err := os.WriteFile(h.settingsFile(), []byte(gitSettings+"[core]\n\thooksPath = "+h.hooks()+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("open git host: %w", err)
	}
	//nolint:gosec // git runs it
	if err := os.WriteFile(filepath.Join(h.hooks(), "post-receive"), []byte(postReceive), 0o700); err != nil {
		return nil, fmt.Errorf("open git host: %w", err)
	}
	var err error
	if h.root, err = os.OpenRoot(filepath.Join(cfg.Dir, "repositories")); err != nil {
		return nil, fmt.Errorf("open git host: %w", err)
	}
	return h, nil
}

func (h *Host) home() string         { return filepath.Join(h.cfg.Dir, "home") }
func (h *Host) hooks() string        { return filepath.Join(h.cfg.Dir, "hooks") }
func (h *Host) settingsFile() string { return filepath.Join(h.home(), "settings") }

// Close ends the background work and waits for it. Shut the HTTP server down first.
func (h *Host) Close() error {
	h.stop()
	h.wait.Wait()
	return h.root.Close()
}

var (
	repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	accountName    = regexp.MustCompile(`^[0-9]{12}$`)
)

// Name returns the repository that the path of a URL names, such as web for /git/web.git. ok is false
// for paths that are none of a Host's.
func Name(path string) (name string, ok bool) {
	name, ok = strings.CutPrefix(path, Prefix)
	name = strings.TrimSuffix(strings.TrimSuffix(name, "/"), ".git")
	return name, ok && repositoryName.MatchString(name) && !strings.HasSuffix(name, ".lock") && !strings.HasSuffix(name, ".git")
}

// Dir returns where the account's repository of that name is, whether or not it exists. It is empty
// for names that Name does not return.
func (h *Host) Dir(account, name string) string {
	if !accountName.MatchString(account) || !repositoryName.MatchString(name) {
		return ""
	}
	return filepath.Join(h.root.Name(), relative(account, name))
}

// ServeHTTP answers one request of Git's smart HTTP protocol (gitprotocol-http). The server it is part
// of must not set a ReadTimeout or WriteTimeout: stalled transfers are ended here.
func (h *Host) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	account, ok := h.authenticate(w, req)
	if !ok {
		return
	}
	x, ok := parse(req)
	if !ok {
		http.Error(w, "Not a Git request. Repositories are at "+Prefix+"NAME.git, NAME of letters, digits, dots, hyphens and underscores.", http.StatusNotFound)
		return
	}
	x.host, x.account, x.dir = h, account, h.Dir(account, x.name)
	if status, err := x.admit(req.Context()); err != nil {
		if status >= http.StatusInternalServerError {
			h.cfg.Log.ErrorContext(req.Context(), "serve git", "account", account, "repository", x.name, "err", err)
			err = errors.New("the repository is not available")
		}
		http.Error(w, err.Error(), status)
		return
	}
	x.serve(w, req)
}

// authenticate returns the account whose access key the request carries, or answers the request.
func (h *Host) authenticate(w http.ResponseWriter, req *http.Request) (account string, ok bool) {
	user, password, given := req.BasicAuth()
	if given {
		var err error
		account, ok, err = h.cfg.Authenticate(req.Context(), user, password)
		if err != nil {
			h.cfg.Log.ErrorContext(req.Context(), "authenticate git client", "err", err)
			http.Error(w, "Credentials cannot be checked at the moment.", http.StatusServiceUnavailable)
			return "", false
		}
	}
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="apron"`)
		http.Error(w, "An access key id is needed as user name, and its secret as password.", http.StatusUnauthorized)
	}
	return account, ok
}
