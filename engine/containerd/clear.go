package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"

	"apron"
)

// clearPatience is how long the engine child may take to clear away what a shim that died has left. It
// gives itself half of that.
const clearPatience = 10 * time.Second

// clearTask removes what is left of a task that the engine child knows nothing of, so that the next one
// can be made. The engine child says so as soon as a shim is dead, and only then begins to clear away
// after it, with a program that may fail, or be killed too; and it has a shim that serves nothing when
// whoever asked for a task went away while it was made. Nobody else makes a task of the instance meanwhile.
func (s *session) clearTask(ctx context.Context, id apron.InstanceID) error {
	// Asked to delete the task of a dead shim, the engine child answers when it has cleared away, with the
	// shim's death as an error. A call that is given up would have it go on at once, half cleared.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearPatience)
	defer cancel()
	_, err := s.client.TaskService().Delete(call, &tasks.DeleteTaskRequest{ContainerID: string(id)})
	if away(err) || call.Err() != nil {
		return fmt.Errorf("clear away after a dead shim: %w", err)
	}
	if err := awaitClearing(ctx, s.cfg.Dir, id); err != nil { // of a call that an earlier driver gave up
		return err
	}
	if err := endStrayShims(ctx, s.cfg.Dir, func(of apron.InstanceID) bool { return of == id }); err != nil {
		return err
	}
	return s.clearBundle(ctx, id)
}

// bundleDir is where the engine child keeps the bundles of instances, which they are run from. It makes
// a new one for every task and takes a directory that is there already for an error.
func (s *session) bundleDir() string {
	return filepath.Join(stateDir(s.cfg.Dir), "io.containerd.runtime.v2.task", s.cfg.Namespace)
}

// runcDir is where runc keeps what it knows of containers.
func runcDir(dir string) string { return filepath.Join(runDir(dir), "runc") }

// clearBundle does what the engine child's own clearing away has not come to: it ends the processes,
// and removes runc's memory of the container, and the bundle with what is mounted in it.
func (s *session) clearBundle(ctx context.Context, id apron.InstanceID) error {
	bundle, root := filepath.Join(s.bundleDir(), string(id)), filepath.Join(runcDir(s.cfg.Dir), s.cfg.Namespace)
	if !exists(bundle) && !exists(filepath.Join(root, string(id))) {
		return nil
	}
	s.cfg.Log.Warn("clearing away what a dead shim left", "instance", id)
	runtime := s.runc
	if b, err := os.ReadFile(filepath.Join(bundle, "runtime")); err == nil && len(b) > 0 {
		runtime = string(b) // that of the task, noted by the shim
	}
	out, err := exec.CommandContext(ctx, runtime, "--root", root, "delete", "--force", string(id)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("delete the container of a dead shim: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if err := unmountBelow(bundle); err != nil {
		return err // never remove files below a mount that holds an image
	}
	work, err := os.Readlink(filepath.Join(bundle, "work"))
	if err == nil {
		err = os.RemoveAll(work)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the work directory of a dead shim: %w", err)
	}
	if err := os.RemoveAll(bundle); err != nil {
		return fmt.Errorf("remove the bundle of a dead shim: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
