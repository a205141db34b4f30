package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"apron"
)

// Below what is free of the data directory's file system, unpacked images that nobody uses go: a tenth
// of it, and at most so much.
const (
	freePart     = 10
	maxFreeBytes = 10 << 30
)

// relieve unpacks less while the disk is nearly full: the unpacked image of the revision that has had
// no instance for the longest time. The image itself stays, packed, for as long as the revision is
// known here, so that its next instance only starts later.
func (d *Driver) relieve(ctx context.Context) {
	free, want, err := d.space()
	if err != nil || free >= want {
		return // the disk's watcher tells about the error
	}
	s, err := d.await(ctx)
	if err != nil {
		return // Run is ending
	}
	for _, id := range d.idle() {
		dropped, err := s.pack(ctx, id)
		if err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("unpacked image could not be removed", "revision", id, "err", err)
		}
		if dropped {
			d.cfg.Log.Info("disk is nearly full: the unpacked image of an idle revision is removed", "revision", id, "free_mib", free>>20)
			return // and see what that has brought
		}
	}
}

// space returns how many bytes are free, and how many should be.
func (d *Driver) space() (free, want uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.cfg.Dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look at disk: %w", err)
	}
	size := uint64(st.Bsize)
	want = min(st.Blocks*size/freePart, maxFreeBytes)
	if d.cfg.MinFree > 0 {
		want = uint64(d.cfg.MinFree)
	}
	return st.Bavail * size, want, nil
}

// idle returns the revisions without instances whose image no revision with instances has, those that
// have been so for the longest time first.
func (d *Driver) idle() []apron.RevisionID {
	d.mu.Lock()
	defer d.mu.Unlock()
	busy := map[string]bool{}
	for _, r := range d.revisions {
		if len(r.instances)+len(r.reserved) > 0 || r.reserve > 0 {
			busy[r.spec.Image.Digest] = true
		}
	}
	var ids []apron.RevisionID
	for id, r := range d.revisions {
		if r.prepared && len(r.instances)+len(r.reserved) == 0 && !busy[r.spec.Image.Digest] {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b apron.RevisionID) int { return d.revisions[a].idle.Compare(d.revisions[b].idle) })
	return ids
}

// pack lets the collector have a revision's unpacked image; dropped is false when it had been packed
// already.
func (s *session) pack(ctx context.Context, id apron.RevisionID) (dropped bool, err error) {
	img, err := s.image(ctx, imageName(id))
	if errors.Is(err, errdefs.ErrNotFound) {
		return false, nil // removed meanwhile
	}
	if err != nil {
		return false, err
	}
	config, err := img.Config(ctx)
	if err != nil {
		return false, fmt.Errorf("read image of revision %s: %w", id, err)
	}
	label := "containerd.io/gc.ref.snapshot." + s.snapshotter
	blob, err := s.client.ContentStore().Info(ctx, config.Digest)
	if err != nil {
		return false, fmt.Errorf("read image of revision %s: %w", id, err)
	}
	if blob.Labels[label] == "" {
		return false, nil
	}
	if _, err := s.client.ContentStore().Update(ctx, content.Info{Digest: config.Digest}, "labels."+label); err != nil {
		return false, fmt.Errorf("let go of unpacked image: %w", err)
	}
	return true, s.collect(ctx)
}

// collect has the collector run now.
func (s *session) collect(ctx context.Context) error {
	l, err := s.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Minute))
	if err != nil {
		return fmt.Errorf("collect what is unused: %w", err)
	}
	if err := s.client.LeasesService().Delete(ctx, l, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("collect what is unused: %w", err)
	}
	return nil
}
