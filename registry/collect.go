package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// keepUnreferenced is how long a blob that no manifest refers to is kept by default. It outlasts any
// push, whose layers nobody refers to until its manifest comes at the end.
const keepUnreferenced = 24 * time.Hour

// layout is where a store keeps things, below its account's directory (distribution project, "storage
// paths").
const layout = "docker/registry/v2"

// Collected says what Collect has removed.
type Collected struct {
	Blobs int   // manifests, configurations and layers
	Bytes int64 // their size
}

// Collect removes the blobs that no manifest refers to and that no client has asked or pushed for as
// long as Config.KeepUnreferenced. It runs by itself after deletions and once a day. Pushes may go on
// meanwhile. An account that cannot be looked through is left alone; the error says which.
func (r *Registry) Collect(ctx context.Context) (Collected, error) {
	entries, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return Collected{}, fmt.Errorf("collect blobs: %w", err)
	}
	var total Collected
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		if !e.IsDir() || !isAccount(e.Name()) {
			continue
		}
		got, err := r.collectAccount(ctx, e.Name())
		total.Blobs += got.Blobs
		total.Bytes += got.Bytes
		if err != nil {
			errs = append(errs, fmt.Errorf("collect blobs of account %s: %w", e.Name(), err))
		}
	}
	return total, errors.Join(errs...)
}

// collection is one look through an account's store.
type collection struct {
	root  *os.Root            // of the store's layout
	read  map[string]bool     // digests of the manifests that were looked into
	used  map[string]bool     // those, and all they refer to
	links map[string][]string // directories of layer links, by digest
}

// collectAccount marks what manifests refer to and then sweeps. What comes to be referred to after the
// mark is safe, because whoever refers to it makes it fresh first: see touch.
func (r *Registry) collectAccount(ctx context.Context, account string) (Collected, error) {
	root, err := os.OpenRoot(path.Join(r.cfg.Dir, account, layout))
	if errors.Is(err, fs.ErrNotExist) {
		return Collected{}, nil // nothing was ever pushed
	}
	if err != nil {
		return Collected{}, err
	}
	defer root.Close()
	c := &collection{root: root, read: map[string]bool{}, used: map[string]bool{}, links: map[string][]string{}}
	if err := c.mark(ctx); err != nil {
		return Collected{}, err
	}
	return c.sweep(ctx, &r.touching, time.Now().Add(-r.cfg.KeepUnreferenced))
}

// mark looks through all repositories. An error leaves unknown what is used, so nothing is swept then.
func (c *collection) mark(ctx context.Context) error {
	err := fs.WalkDir(c.root.FS(), "repositories", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(ignoreMissing(err), ctx.Err())
		}
		if !entry.IsDir() {
			return nil
		}
		switch path.Base(name) {
		case "_manifests":
			return skipDir(c.markManifests(path.Join(name, "revisions")))
		case "_layers":
			return skipDir(c.digests(name, func(digest, dir string) error {
				c.links[digest] = append(c.links[digest], dir)
				return nil
			}))
		case "_uploads":
			return fs.SkipDir
		default:
			return nil
		}
	})
	return ignoreMissing(err)
}

// skipDir ends a walk with an error, if there is one, and otherwise lets it pass by the directory.
func skipDir(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}

// digests calls fn for every <algorithm>/<hex> below dir.
func (c *collection) digests(dir string, fn func(digest, dir string) error) error {
	algorithms, err := fs.ReadDir(c.root.FS(), dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, a := range algorithms {
		sums, err := fs.ReadDir(c.root.FS(), path.Join(dir, a.Name()))
		if err != nil {
			return ignoreMissing(err)
		}
		for _, sum := range sums {
			if err := fn(a.Name()+":"+sum.Name(), path.Join(dir, a.Name(), sum.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// markManifests marks the manifests of a repository and what they refer to. A deleted manifest has
// left its directory without the link in it.
func (c *collection) markManifests(dir string) error {
	return c.digests(dir, func(digest, dir string) error {
		if _, err := c.root.Stat(path.Join(dir, "link")); err != nil {
			return ignoreMissing(err)
		}
		if c.read[digest] {
			return nil
		}
		c.read[digest], c.used[digest] = true, true
		content, err := c.root.ReadFile(path.Join(blobDir(digest), "data"))
		if err != nil {
			return ignoreMissing(err)
		}
		refers, err := references(content)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", digest, err)
		}
		for _, d := range refers {
			c.used[d] = true
		}
		return nil
	})
}

// blobDir is where a store keeps the blob with a digest; empty for what is no digest.
func blobDir(digest string) string {
	algorithm, sum, ok := strings.Cut(digest, ":")
	if !ok || len(sum) < 2 || strings.ContainsAny(digest, "/\\.") {
		return ""
	}
	return path.Join("blobs", algorithm, sum[:2], sum)
}

// references returns every digest a manifest names. It takes whatever stands under the name digest,
// at any depth: new kinds of manifest refer to their parts in new places, and too much marked is
// harmless.
func references(manifest []byte) ([]string, error) {
	var v any
	if err := json.Unmarshal(manifest, &v); err != nil {
		return nil, errors.New("not JSON")
	}
	var found []string
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if digest, ok := member.(string); ok && name == "digest" && blobDir(digest) != "" {
					found = append(found, digest)
				}
				look(member)
			}
		case []any:
			for _, member := range v {
				look(member)
			}
		}
	}
	look(v)
	return found, nil
}
