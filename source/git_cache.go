package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// fetch brings the branch's newest commit into the cache of the repository and locks that until the
// tree is closed.
func (g *Git) fetch(ctx context.Context, r *origin, t *Tree) (err error) {
	name := digestName(r.repo.Account, r.address)
	if t.unlock, err = g.lock(ctx, name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.unlock()
		}
	}()
	t.dir = filepath.Join(g.caches(), name)
	t.ref = "refs/apron/" + digestName(r.repo.Branch)
	if err := g.initialize(ctx, t.dir); err != nil {
		return err
	}
	err = g.pull(ctx, r, t)
	if err == nil {
		return g.tidy(ctx, t.dir, name)
	}
	if ctx.Err() == nil && isDamaged(err) { // by a crash or a full disk: what is here can be fetched again
		if err := errors.Join(os.RemoveAll(t.dir), g.initialize(ctx, t.dir)); err != nil {
			return fmt.Errorf("renew cache of repository: %w", err)
		}
		err = g.pull(ctx, r, t)
	}
	if err != nil {
		return r.explain(ctx, err)
	}
	return nil
}

// pull runs the fetch. A plain file server cannot leave out history.
func (g *Git) pull(ctx context.Context, r *origin, t *Tree) error {
	run := func(depth ...string) error {
		args := append([]string{"fetch", "--quiet", "--no-tags", "--force", "--no-write-fetch-head", "--no-auto-maintenance"}, depth...)
		_, err := r.git(ctx, t.dir, append(args, "--", r.address, "+refs/heads/"+r.repo.Branch+":"+t.ref)...)
		return err
	}
	return r.follow(ctx, func() error {
		err := run("--depth=1")
		if failed := new(gitError); errors.As(err, &failed) && saysDumb.MatchString(failed.stderr) {
			return run()
		}
		return err
	})
}

// initialize makes the bare repository of a cache unless it is there.
func (g *Git) initialize(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return nil
	}
	if _, err := g.git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main", "--template=", "--", dir); err != nil {
		return fmt.Errorf("make cache of repository: %w", err)
	}
	return nil
}

// isDamaged reports whether git's own files are what is wrong.
func isDamaged(err error) bool {
	var failed *gitError
	if !errors.As(err, &failed) {
		return false
	}
	for _, sign := range []string{"loose object", "bad object", "corrupt", "shallow file has changed", "unable to read tree", ".lock': File exists", "did not send all necessary objects"} {
		if strings.Contains(failed.stderr, sign) {
			return true
		}
	}
	return false
}

// tidyAfter is how many fetches may lie beside each other before they are made one.
const tidyAfter = 20

// tidy forgets what only older commits need, now and then, and removes caches that nobody has used
// for long when all of them take too much room.
func (g *Git) tidy(ctx context.Context, dir, name string) error {
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return fmt.Errorf("mark cache of repository: %w", err)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil {
		return err
	}
	if len(packs) > tidyAfter {
		if _, err := g.git(ctx, dir, "gc", "--quiet", "--prune=now"); err != nil {
			return fmt.Errorf("tidy cache of repository: %w", err)
		}
	}
	return g.evict(name)
}

// evict removes the caches used longest ago until the rest fits, but never the one in use.
func (g *Git) evict(keep string) error {
	type cache struct {
		name string
		used time.Time
		size int64
	}
	entries, err := os.ReadDir(g.caches())
	if err != nil {
		return fmt.Errorf("look at caches of repositories: %w", err)
	}
	var all []cache
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		c := cache{e.Name(), info.ModTime(), sizeBelow(filepath.Join(g.caches(), e.Name()))}
		all, total = append(all, c), total+c.size
	}
	slices.SortFunc(all, func(a, b cache) int { return cmp.Compare(a.used.UnixNano(), b.used.UnixNano()) })
	for _, c := range all {
		if total <= g.cfg.MaxCacheBytes || c.name == keep {
			continue
		}
		unlock, free := g.tryLock(c.name)
		if !free {
			continue
		}
		err := os.RemoveAll(filepath.Join(g.caches(), c.name))
		unlock()
		if err != nil {
			return fmt.Errorf("remove cache of repository: %w", err)
		}
		total -= c.size
	}
	return nil
}

// sizeBelow returns what the files of a directory take. What vanishes meanwhile takes nothing.
func sizeBelow(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
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

// lock waits until nobody else works on the cache.
func (g *Git) lock(ctx context.Context, name string) (unlock func(), err error) {
	c := g.lockOf(name)
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tryLock locks the cache unless somebody works on it.
func (g *Git) tryLock(name string) (unlock func(), ok bool) {
	c := g.lockOf(name)
	select {
	case c <- struct{}{}:
		return func() { <-c }, true
	default:
		return nil, false
	}
}

func (g *Git) lockOf(name string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.locks[name]
	if c == nil {
		c = make(chan struct{}, 1)
		g.locks[name] = c
	}
	return c
}

// digestName makes a name for a file of any text.
func digestName(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
