package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"
)

// sweep removes the blobs that are not used and were last touched before t. Each is looked at again
// and removed under the lock, so that nothing becomes fresh in between.
func (c *collection) sweep(ctx context.Context, touching *sync.RWMutex, t time.Time) (Collected, error) {
	var total Collected
	var errs []error
	err := fs.WalkDir(c.root.FS(), "blobs", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(ignoreMissing(err), ctx.Err())
		}
		if entry.IsDir() || entry.Name() != "data" {
			return nil
		}
		dir := path.Dir(name)
		digest := path.Base(path.Dir(path.Dir(dir))) + ":" + path.Base(dir)
		if blobDir(digest) != dir || c.used[digest] {
			return nil
		}
		size, err := c.remove(touching, digest, t)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", digest, err))
		}
		if size >= 0 {
			total.Blobs++
			total.Bytes += size
		}
		return nil
	})
	return total, errors.Join(append(errs, ignoreMissing(err))...)
}

// remove removes one blob and the repositories' links to it, the links first: without them the blob
// is still swept another time. It returns the blob's size, or -1 if it was kept.
func (c *collection) remove(touching *sync.RWMutex, digest string, t time.Time) (int64, error) {
	touching.Lock()
	defer touching.Unlock() // over the file operations, which are what it keeps apart
	info, err := c.root.Stat(path.Join(blobDir(digest), "data"))
	if err != nil {
		return -1, ignoreMissing(err)
	}
	if !info.ModTime().Before(t) {
		return -1, nil
	}
	for _, link := range c.links[digest] {
		if err := c.root.RemoveAll(link); err != nil {
			return -1, err
		}
	}
	if err := c.root.RemoveAll(blobDir(digest)); err != nil {
		return -1, err
	}
	return info.Size(), nil
}

// touch makes fresh what a request relies on to stay, before the handlers look for it: the blob that a
// client asks about, mounts or finishes an upload of, and all that a manifest refers to. What is swept
// before that is not there for the handlers either, and the client hears of it.
func (r *Registry) touch(account string, req *http.Request, res resource, manifest []byte) {
	var files []string
	blob := func(digest string) {
		if dir := blobDir(digest); dir != "" {
			files = append(files, path.Join(dir, "data"))
		}
	}
	switch {
	case res.kind == "blobs" && req.Method == http.MethodHead, res.kind == "manifests" && req.Method == http.MethodHead:
		blob(res.reference)
	case res.kind == "uploads" && req.Method == http.MethodPost:
		blob(req.URL.Query().Get("mount"))
	case res.kind == "uploads" && req.Method == http.MethodPut:
		blob(req.URL.Query().Get("digest"))
		// It becomes the blob, with the time it was last written to, which may be days ago.
		files = append(files, path.Join("repositories", res.repository, "_uploads", res.reference, "data"))
	case manifest != nil:
		sum := sha256.Sum256(manifest)
		blob("sha256:" + hex.EncodeToString(sum[:]))
		blob(res.reference)
		refers, err := references(manifest)
		if err != nil {
			return // the handlers refuse it
		}
		for _, digest := range refers {
			blob(digest)
		}
	}
	if len(files) == 0 {
		return
	}
	root, err := os.OpenRoot(filepath.Join(r.cfg.Dir, account, layout))
	if err != nil {
		return // nothing there yet
	}
	defer root.Close()
	now := time.Now()
	r.touching.RLock()
	defer r.touching.RUnlock()
	for _, file := range files {
		if err := root.Chtimes(file, now, now); ignoreMissing(err) != nil {
			r.cfg.Log.WarnContext(req.Context(), "keep a blob that is being referred to", "account", account, "err", err)
		}
	}
}
