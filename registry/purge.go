package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"time"
)

// Uploads that no client came back to are removed. A week outlasts any pause of a real one.
const (
	uploadAge     = 7 * 24 * time.Hour
	purgeInterval = 24 * time.Hour
)

// purgeLoop removes abandoned uploads now and every purgeInterval until ctx ends.
func (r *Registry) purgeLoop(ctx context.Context) {
	tick := time.NewTicker(purgeInterval)
	defer tick.Stop()
	for {
		if err := purgeUploads(ctx, r.cfg.Dir, time.Now().Add(-uploadAge)); err != nil && ctx.Err() == nil {
			r.cfg.Log.ErrorContext(ctx, "remove abandoned uploads", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
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
