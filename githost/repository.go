package githost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

// relative is a repository's directory below that of all, with slashes.
func relative(account, name string) string { return path.Join(account, name+".git") }

// Exists reports whether the account has a repository of that name.
func (h *Host) Exists(account, name string) bool {
	_, err := h.root.Stat(path.Join(relative(account, name), "HEAD"))
	return err == nil
}

// create makes an empty repository, whose default branch is main. It appears in one piece.
func (h *Host) create(ctx context.Context, account, name string) error {
	h.mu.Lock() // rare and short; two first pushes to one name must not both make it
	defer h.mu.Unlock()
	if h.Exists(account, name) {
		return nil
	}
	made := path.Join(account, ".new")
	err := errors.Join(h.root.MkdirAll(account, 0o700), h.root.RemoveAll(made)) // one that a crash has left
	if err != nil {
		return fmt.Errorf("make repository: %w", err)
	}
	have, err := fs.Glob(h.root.FS(), path.Join(account, "*.git"))
	if err != nil {
		return err
	}
	if len(have) >= h.cfg.MaxRepositories {
		return errTooMany
	}
	to := filepath.Join(h.root.Name(), made)
	err = h.run(ctx, command{args: []string{"init", "--quiet", "--bare", "--initial-branch=main", "--template=", "--", to}}, nil, nil)
	if err == nil {
		err = h.root.Rename(made, relative(account, name))
	}
	if err != nil {
		return fmt.Errorf("make repository: %w", err)
	}
	return nil
}

// errTooMany says that the account may have no further repository.
var errTooMany = errors.New("too many repositories")

// size returns what the files of a repository take. What vanishes meanwhile takes nothing.
func (h *Host) size(account, name string) (total int64) {
	_ = fs.WalkDir(h.root.FS(), relative(account, name), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // see above
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}

// tidyAfter is how many pushes may lie beside each other before they are made one.
const tidyAfter = 50

// tidy packs a repository anew in the background. prune says how old what no branch has any more must be
// to be removed: younger than that is what a push in progress has brought.
func (h *Host) tidy(dir, prune string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tidying[dir] || h.ctx().Err() != nil {
		return
	}
	h.tidying[dir] = true
	h.wait.Go(func() {
		if err := h.git(h.ctx(), dir, "gc", "--quiet", prune); err != nil && h.ctx().Err() == nil {
			h.cfg.Log.Warn("tidy git repository", "err", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.tidying, dir)
	})
}
