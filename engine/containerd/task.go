package containerd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"

	"apron"
)

// retryEngine is how long to wait before asking an engine again that was away.
const retryEngine = 50 * time.Millisecond

// exit is how a process ended.
type exit struct {
	code  int
	known bool // false: nobody saw how; its shim, which keeps that, is gone too
	there bool // this driver saw it there
}

// makeTask makes the process of a container whose network and files are in place; it waits to be
// started. It returns where in the log the process's output will begin, also when it fails.
func (s *session) makeTask(ctx context.Context, id apron.InstanceID) (t client.Task, logFrom int64, err error) {
	c, err := s.client.LoadContainer(ctx, string(id))
	if err != nil {
		return nil, 0, fmt.Errorf("find container: %w", err)
	}
	output, logFrom, err := s.output(id)
	if err != nil {
		return nil, 0, err
	}
	if t, err = c.NewTask(ctx, output); err != nil {
		return nil, logFrom, fmt.Errorf("make process: %w", err)
	}
	return t, logFrom, nil
}

// task returns a container's task, or nil when it has none.
func (s *session) task(ctx context.Context, id apron.InstanceID) (client.Task, error) {
	c, err := s.client.LoadContainer(ctx, string(id))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find container: %w", err)
	}
	t, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find process: %w", err)
	}
	return t, nil
}

// awaitExit waits until an instance's process ends, across restarts of the engine child. Its error is
// ctx's.
func (s *session) awaitExit(ctx context.Context, id apron.InstanceID) (exit, error) {
	for there := false; ; {
		e, err := s.tryAwaitExit(ctx, id)
		there = there || e.there
		if err == nil {
			e.there = there
			return e, nil
		}
		if err := pause(ctx, retryEngine); err != nil {
			return exit{}, err
		}
	}
}

func (s *session) tryAwaitExit(ctx context.Context, id apron.InstanceID) (exit, error) {
	t, err := s.task(ctx, id)
	if err != nil {
		return exit{}, err
	}
	if t == nil {
		return exit{code: -1}, nil
	}
	e := exit{code: -1, there: true}
	ended, err := t.Wait(ctx)
	if err != nil {
		return e, fmt.Errorf("wait for process: %w", err)
	}
	status := <-ended // also when ctx is done, or the engine child goes away
	if err := status.Error(); err != nil {
		return e, fmt.Errorf("wait for process: %w", err)
	}
	e.code, e.known = int(status.ExitCode()), true
	return e, nil
}

// removeTask removes an instance's task, ending its processes if any are left, and whatever a shim that
// died has left. By the time it returns, everything they wrote is in the log file.
func (s *session) removeTask(ctx context.Context, id apron.InstanceID) error {
	t, err := s.task(ctx, id)
	if err != nil {
		return err
	}
	if t == nil {
		return s.clearTask(ctx, id)
	}
	var opts []client.ProcessDeleteOpts
	if status, err := t.Status(ctx); err != nil || status.Status != client.Stopped {
		opts = append(opts, client.WithProcessKill) // what has ended cannot be killed: gVisor makes an error of it
	}
	_, err = t.Delete(ctx, opts...)
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if t, look := s.task(ctx, id); look == nil && t == nil { // its shim has died just now
		return s.clearTask(ctx, id)
	}
	return fmt.Errorf("remove process: %w", err)
}

// resetRoot gives a container a fresh root file system for its ids: a restarted process must not find
// what the one before it left.
func (s *session) resetRoot(ctx context.Context, id apron.InstanceID, ids idMap) error {
	c, err := s.client.ContainerService().Get(ctx, string(id))
	if err != nil {
		return fmt.Errorf("find container: %w", err)
	}
	sn := s.client.SnapshotService(c.Snapshotter)
	img, err := s.image(ctx, c.Image)
	if err != nil {
		return err
	}
	layers, err := img.RootFS(ctx)
	if err != nil {
		return fmt.Errorf("read layers of image %s: %w", c.Image, err)
	}
	s.unboundDisk(ctx, id)
	if err := sn.Remove(ctx, c.SnapshotKey); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove root file system: %w", err)
	}
	_, err = sn.Prepare(ctx, c.SnapshotKey, identity.ChainID(layers).String(), ids.snapshot()...)
	if errdefs.IsNotFound(err) { // it has been packed since
		if err := img.Unpack(ctx, c.Snapshotter); err != nil {
			return fmt.Errorf("unpack image %s: %w", c.Image, err)
		}
		_, err = sn.Prepare(ctx, c.SnapshotKey, identity.ChainID(layers).String(), ids.snapshot()...)
	}
	if err != nil {
		return fmt.Errorf("make root file system: %w", err)
	}
	return s.boundDisk(ctx, id)
}

// label records on the container what the next driver must know of the process; a zero ready: it is
// none of the ready ones.
func (s *session) label(ctx context.Context, id apron.InstanceID, restarts int, ready time.Time, reserved bool) error {
	c, err := s.client.LoadContainer(ctx, string(id))
	if err != nil {
		return fmt.Errorf("find container: %w", err)
	}
	labels := map[string]string{labelRestarts: strconv.Itoa(restarts), labelReady: "", labelReserved: reservedMark(reserved)}
	if !ready.IsZero() {
		labels[labelReady] = strconv.FormatInt(ready.UnixNano(), 10)
	}
	if _, err := c.SetLabels(ctx, labels); err != nil {
		return fmt.Errorf("label container: %w", err)
	}
	return nil
}

// removeContainer removes everything of an instance, in the engine child and outside of it.
func (s *session) removeContainer(ctx context.Context, id apron.InstanceID) error {
	if err := s.dropContainer(ctx, id); err != nil {
		return err
	}
	return s.removeRemains(id)
}

// dropContainer removes what the engine child has of an instance.
func (s *session) dropContainer(ctx context.Context, id apron.InstanceID) error {
	if err := s.removeTask(ctx, id); err != nil {
		return err
	}
	s.unboundDisk(ctx, id)
	c, err := s.client.LoadContainer(ctx, string(id))
	switch {
	case errdefs.IsNotFound(err):
		// The root file system is made before the container: an engine that is killed between the two
		// has it still.
		if err := s.client.SnapshotService(s.snapshotter).Remove(ctx, string(id)); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove root file system: %w", err)
		}
	case err != nil:
		return fmt.Errorf("find container: %w", err)
	default:
		if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove container: %w", err)
		}
	}
	return nil
}

// pause waits for d or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
