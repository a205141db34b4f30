package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"apron"
)

// How much an instance may write, and how often that is looked at where no quota of the file system
// keeps it within that.
const (
	maxDiskBytes = 3 << 30 // App Runner's ephemeral storage
	diskInterval = 2 * time.Second
	// maxDiskRest is how long nobody looks while the file system does not fill up.
	maxDiskRest = time.Minute
)

// watchDisks ends instances that write too much, until ctx is done. It walks through what they wrote
// only after the file system has become fuller, because one that does not grow lets nobody grow.
func (d *Driver) watchDisks(ctx context.Context) {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	var at time.Time
	var before uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.relieve(ctx)
		used, err := usedBytes(d.cfg.Dir)
		if err != nil {
			d.cfg.Log.Warn("disk cannot be watched", "err", err)
			continue
		}
		if used < before {
			before = used
		}
		if used-before < uint64(d.cfg.DiskLimit)/16 && time.Since(at) < maxDiskRest {
			continue
		}
		d.checkDisks(ctx)
		at, before = time.Now(), used
	}
}

// checkDisks looks at what every instance wrote.
func (d *Driver) checkDisks(ctx context.Context) {
	s, err := d.await(ctx)
	if err != nil {
		return // Run is ending
	}
	for _, i := range d.all() {
		dir, err := s.upper(ctx, i.id)
		if err != nil || dir == "" || s.bounded(dir) {
			continue // it has no file system of its own at the moment, or the engine is away
		}
		if n := written(dir); n > d.cfg.DiskLimit {
			i.condemn(fmt.Sprintf("it had written %d MB to its disk, and %d MB is the limit", n>>20, d.cfg.DiskLimit>>20))
		}
	}
}

// condemn ends the instance's process because of the reason, which its failure will tell.
func (i *instance) condemn(reason string) {
	i.log.Info("instance is ended", "reason", reason)
	i.sentence.Store(&reason)
	i.thaw()
	pids, err := i.s.cgroups.processes(groupOf(i.s.cfg.Dir, i.spec.Service, i.id))
	for _, pid := range pids {
		if kill := unix.Kill(pid, unix.SIGKILL); kill != nil && !errors.Is(kill, unix.ESRCH) {
			err = kill
		}
	}
	if err != nil {
		i.log.Warn("instance cannot be ended", "err", err)
	}
}

// upper returns the directory that holds what an instance wrote; empty: there is none.
func (s *session) upper(ctx context.Context, id apron.InstanceID) (string, error) {
	mounts, err := s.client.SnapshotService(s.snapshotter).Mounts(ctx, string(id))
	if err != nil {
		return "", fmt.Errorf("find root file system: %w", err)
	}
	for _, m := range mounts {
		for _, o := range m.Options {
			if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
				return dir, nil
			}
		}
	}
	return "", nil
}

// written adds up what is in a directory that may change meanwhile.
func written(dir string) int64 {
	var n int64
	linked := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it went away, or will be seen the next time
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || (st.Nlink > 1 && !e.IsDir() && linked[st.Ino]) {
			return nil
		}
		linked[st.Ino] = st.Nlink > 1
		n += st.Blocks * 512
		return nil
	})
	return n
}

func usedBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return (st.Blocks - st.Bfree) * uint64(st.Bsize), nil
}
