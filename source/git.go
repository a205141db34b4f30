package source

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"apron"
)

// ErrUnreachable is part of the errors for repositories that could not be spoken to, which may pass.
var ErrUnreachable = errors.New("the repository cannot be reached")

// GitConfig is what a Git needs. Dir is required.
type GitConfig struct {
	// Dir holds a bare repository for each repository read so far, and the closed environment the
	// system's git runs in. It is made, mode 0700, if absent. Only one Git may use it at a time.
	Dir string
	// AllowLocal allows file URLs and hosts with loopback and link-local addresses. Whoever may create a
	// service can then read every repository the server can.
	AllowLocal bool
	// Embedded returns the directory of a repository that this server itself hosts for the account. ok is
	// false when url does not lead here. It must be safe for concurrent use. nil: nothing does.
	Embedded func(account string, url *url.URL) (dir string, ok bool)
	// Timeout bounds a fetch and an export, each. 0: 10 minutes.
	Timeout time.Duration
	// MaxFetchBytes bounds what one fetch brings, packed. 0: 2 GiB.
	MaxFetchBytes int64
	// MaxTreeBytes bounds the files of one commit. 0: 4 GiB.
	MaxTreeBytes int64
	// MaxCacheBytes bounds Dir; repositories that were not read for the longest time go first. 0: 10 GiB.
	MaxCacheBytes int64
	// Lookup finds the addresses of a host. nil: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// GitRepository is a branch of a repository, and who asks for it.
type GitRepository struct {
	Account    string // 12 decimal digits; what was fetched for one account is never seen by another
	URL        string // http, https, ssh or file; a user in it is kept for ssh only
	Branch     string
	Credential GitCredential
}

// GitCredential is what opens a repository: a token for http and https, a key for ssh. The zero value
// opens public ones. It is only ever given to the repository's own host.
type GitCredential struct {
	User   string // empty: one that the known hosts accept with any token
	Token  string // sensitive
	SSHKey string // private key in OpenSSH or PEM form, without a passphrase; sensitive
	// Hosts are those the token may be sent to. A repository at another host is refused.
	Hosts apron.TokenHosts
}

// Git reads repositories with the system's git. It is safe for concurrent use.
type Git struct {
	cfg GitConfig

	mu    sync.Mutex               // guards locks
	locks map[string]chan struct{} // by cache; holds an element while somebody works on it
}

// NewGit returns a Git over cfg.Dir.
func NewGit(cfg GitConfig) (*Git, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Minute
	}
	for limit, usual := range map[*int64]int64{
		&cfg.MaxFetchBytes: 2 << 30, &cfg.MaxTreeBytes: 4 << 30, &cfg.MaxCacheBytes: 10 << 30,
	} {
		if *limit <= 0 {
			*limit = usual
		}
	}
	if cfg.Lookup == nil {
		cfg.Lookup = lookup
	}
	g := &Git{cfg: cfg, locks: map[string]chan struct{}{}}
	for _, dir := range []string{g.home(), g.caches()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make git directory: %w", err)
		}
	}
	if err := os.WriteFile(g.configFile(), []byte(gitSettings), 0o600); err != nil {
		return nil, fmt.Errorf("write git settings: %w", err)
	}
	return g, nil
}

func (g *Git) home() string       { return filepath.Join(g.cfg.Dir, "home") }
func (g *Git) caches() string     { return filepath.Join(g.cfg.Dir, "cache") }
func (g *Git) configFile() string { return filepath.Join(g.home(), "settings") }
func (g *Git) knownHosts() string { return filepath.Join(g.home(), "known_hosts") }

// Head returns the commit at the head of the branch, without fetching it. Errors are those of Fetch.
func (g *Git) Head(ctx context.Context, repo GitRepository) (commit string, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	r, err := g.open(ctx, repo)
	if err != nil {
		return "", err
	}
	defer r.close()
	ref := "refs/heads/" + repo.Branch
	var out []byte
	err = r.follow(ctx, func() (err error) {
		out, err = r.git(ctx, "", "ls-remote", "--refs", "--", r.address, ref)
		return err
	})
	if err != nil {
		return "", r.explain(ctx, err)
	}
	for line := range strings.Lines(string(out)) {
		if id, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && name == ref && isObject(id) {
			return id, nil
		}
	}
	return "", r.noBranch(ctx)
}

// Fetch brings the newest commit of the branch here, and as little else as the server can be made
// to send. The caller closes the Tree.
//
// It returns an Invalid Fault when the repository cannot be read and that will not change by itself,
// and an error with ErrUnreachable when it may. Neither holds a credential.
func (g *Git) Fetch(ctx context.Context, repo GitRepository) (_ *Tree, err error) {
	limited, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	r, err := g.open(limited, repo)
	if err != nil {
		return nil, err
	}
	defer r.close()
	t := &Tree{git: g, repo: repo, dir: r.embedded, ref: "refs/heads/" + repo.Branch, unlock: func() {}}
	if r.embedded != "" {
		t.repo.Credential = GitCredential{} // for whoever else is at that address it may not be
	} else {
		if err := g.fetch(limited, r, t); err != nil {
			return nil, err
		}
	}
	if t.Commit, err = r.resolve(limited, t.dir, t.ref); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// resolve returns the commit a ref names.
func (r *origin) resolve(ctx context.Context, dir, ref string) (string, error) {
	out, err := r.git(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if err != nil && r.embedded != "" && ctx.Err() == nil {
		return "", r.noBranch(ctx)
	}
	if err != nil {
		return "", r.explain(ctx, err)
	}
	commit := strings.TrimSpace(string(out))
	if !isObject(commit) {
		return "", fmt.Errorf("git: %q is no commit", commit)
	}
	return commit, nil
}

var (
	objectID  = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
	badBranch = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^\.|\.lock(/|$)|^[-/]|[/.]$|^@$`)
)

func isObject(id string) bool { return objectID.MatchString(id) }

// checkBranch refuses what git-check-ref-format does, and what would be an option or a pattern.
func checkBranch(name string) error {
	if name == "" || len(name) > 255 || badBranch.MatchString(name) {
		return apron.Faultf(apron.Invalid, "%s is not the name of a branch.", shown(name))
	}
	return nil
}

// noBranch says that the repository does not have the branch, and what it has instead.
func (r *origin) noBranch(ctx context.Context) error {
	out, err := r.git(ctx, "", "ls-remote", "--heads", "--", r.address)
	if err != nil {
		return r.explain(ctx, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "\trefs/heads/"); ok {
			names = append(names, shown(name))
		}
	}
	const some = 10
	switch {
	case len(names) == 0:
		return apron.Faultf(apron.Invalid, "The repository %s is empty: it has no branch.", r.shown)
	case len(names) > some:
		names = append(names[:some], "others")
	}
	return apron.Faultf(apron.Invalid, "The repository %s has no branch %s. It has %s.", r.shown, shown(r.repo.Branch), strings.Join(names, ", "))
}
