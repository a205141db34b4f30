package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"apron"
)

// quotas bounds what instances write where the file system can, so that they get an error when it is
// too much. The zero value bounds nothing.
type quotas struct {
	inForce bool
	mu      sync.Mutex // held from the choice of a project until files belong to it
}

// openQuotas looks whether the file system of the data directory can bound instances, and takes back
// what those have that are gone.
func openQuotas(cfg Config) *quotas {
	q := &quotas{}
	if err := checkProjects(cfg.Dir); err != nil {
		cfg.Log.Info("what instances write to disk is watched and not bounded", "reason", err)
		return q
	}
	if err := forgetProjects(cfg.Dir); err != nil {
		cfg.Log.Warn("quotas of earlier instances could not be removed", "err", err)
	}
	q.inForce = true
	return q
}

// boundDisk limits what an instance may write, before anything of it runs.
func (s *session) boundDisk(ctx context.Context, id apron.InstanceID) error {
	if !s.quotas.inForce {
		return nil
	}
	upper, err := s.upper(ctx, id)
	if err != nil || upper == "" {
		return err
	}
	if err := s.quotas.bound(upper, s.cfg.DiskLimit); err != nil {
		return fmt.Errorf("limit disk: %w", err)
	}
	return nil
}

// bound limits what is below an overlay's upper directory, and the work directory beside it through
// which files get there.
func (q *quotas) bound(upper string, bytes int64) error {
	fs, err := os.Open(upper)
	if err != nil {
		return err
	}
	defer fs.Close()
	work, err := os.Open(filepath.Join(filepath.Dir(upper), "work"))
	if err != nil {
		return err
	}
	defer work.Close()
	q.mu.Lock()
	defer q.mu.Unlock()
	project, err := freeProject(fs)
	if err != nil {
		return err
	}
	// Files before the limit: a limit without files is taken for a leftover.
	return errors.Join(enrol(fs, project), enrol(work, project), limitProject(fs, project, bytes))
}

// freeProject returns a project that nobody has. It begins at the number that the directory has in the
// file system, so two that choose at the same time do not choose the same.
func freeProject(dir *os.File) (uint32, error) {
	if p, err := projectOf(dir); err != nil || p >= firstProject {
		return p, err // an earlier attempt's
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	for n := range uint64(projects) {
		project := firstProject + uint32((st.Ino+n)%projects)
		u, err := useOf(dir, project)
		if err != nil || u.none() {
			return project, err
		}
	}
	return 0, errors.New("every project has files")
}

// unboundDisk takes back the quota of an instance whose file system is about to be removed. What it
// cannot take back is swept later.
func (s *session) unboundDisk(ctx context.Context, id apron.InstanceID) {
	if !s.quotas.inForce {
		return
	}
	upper, err := s.upper(ctx, id)
	if err != nil || upper == "" {
		return
	}
	if err := unbound(upper); err != nil {
		s.cfg.Log.Warn("quota of an instance is left for later", "instance", id, "err", err)
	}
}

func unbound(upper string) error {
	f, err := os.Open(upper)
	if err != nil {
		return err
	}
	defer f.Close()
	project, err := projectOf(f)
	if err != nil || project < firstProject {
		return err
	}
	return limitProject(f, project, 0)
}

// bounded reports whether the file system keeps what is below the directory within the limit, so that
// nobody has to look. An application that is root on the machine could leave its project.
func (s *session) bounded(upper string) bool {
	if !s.quotas.inForce || s.noUserNamespaces != nil {
		return false
	}
	f, err := os.Open(upper)
	if err != nil {
		return false
	}
	defer f.Close()
	project, err := projectOf(f)
	if err != nil || project < firstProject {
		return false
	}
	u, err := useOf(f, project)
	return err == nil && u.HardBlocks > 0
}

// How what instances write is kept within its limit, for people.
const (
	storageBounded = "by quotas of the file system"
	storageWatched = "by looking: an instance that exceeds it is replaced"
)

// checkQuota tells whether the file system of the data directory will bound what instances write.
func checkQuota(dir string) Check {
	at := dir
	for _, err := os.Stat(at); errors.Is(err, os.ErrNotExist) && at != "/"; _, err = os.Stat(at) {
		at = filepath.Dir(at) // where it would be made
	}
	c := Check{Name: "disk limit", Found: "kept " + storageBounded}
	if err := checkProjects(at); err != nil {
		c.Found = fmt.Sprintf("kept %s, because %s", storageWatched, err)
	}
	return c
}
