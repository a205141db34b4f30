package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"time"
)

const (
	// uploadAge is how long an upload is kept that no client comes back to. A week outlasts any pause of
	// a real one.
	uploadAge = 7 * 24 * time.Hour
	// cleanInterval is how often everything is looked through, and deletedInterval how often that is
	// done early because something was deleted.
	cleanInterval, deletedInterval = 24 * time.Hour, time.Hour
)

// clean removes what nobody needs, now and every cleanInterval or soon after a deletion, until ctx
// ends.
func (r *Registry) clean(ctx context.Context) {
	tick := time.NewTicker(deletedInterval)
	defer tick.Stop()
	var last time.Time
	for {
		// What was deleted may have to be kept for a while: it is looked at again the next day.
		if r.deleted.Swap(false) || time.Since(last) >= cleanInterval {
			last = time.Now()
			r.cleanOnce(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *Registry) cleanOnce(ctx context.Context) {
	if err := purgeUploads(ctx, r.cfg.Dir, time.Now().Add(-uploadAge)); err != nil && ctx.Err() == nil {
		r.cfg.Log.ErrorContext(ctx, "remove abandoned uploads", "err", err)
	}
	got, err := r.Collect(ctx)
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.ErrorContext(ctx, "remove blobs that no image refers to", "err", err)
	}
	if got.Blobs > 0 {
		r.cfg.Log.InfoContext(ctx, "removed blobs that no image refers to", "blobs", got.Blobs, "bytes", got.Bytes)
	}
}

// purgeUploads removes the uploads below dir that were last written to before t. In every
// repository they are the directories _uploads/<id>, with the bytes so far in the file data.
func purgeUploads(ctx context.Context, dir string, t time.Time) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !entry.IsDir() {
			return ignoreMissing(err)
		}
		switch {
		case skipped(name):
			return fs.SkipDir
		case path.Base(path.Dir(name)) != "_uploads":
			return nil
		}
		last, err := lastWritten(root.FS(), name)
		if err != nil {
			return ignoreMissing(err)
		}
		if last.Before(t) {
			errs = append(errs, root.RemoveAll(name))
		}
		return fs.SkipDir
	})
	return errors.Join(append(errs, err)...)
}

// skipped tells the directories that hold most of the files and never an upload: of a repository its
// links, and of a store its blobs (not to be taken for a repository of that name).
func skipped(name string) bool {
	switch path.Base(name) {
	case "_layers", "_manifests":
		return true
	case "blobs":
		blobs, err := path.Match("*/docker/registry/v2/blobs", name)
		return err == nil && blobs
	default:
		return false
	}
}

// lastWritten returns the newest modification time in an upload's directory.
func lastWritten(files fs.FS, dir string) (time.Time, error) {
	var last time.Time
	err := fs.WalkDir(files, dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return last, err
}

// ignoreMissing drops the error of a file that a client finished or cancelled meanwhile.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
