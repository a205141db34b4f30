package containerd

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"apron"
)

// errSick is why awaitEnd returned before the process ended.
var errSick = errors.New("unhealthy")

// Back-off between the starts of a process.
const (
	firstBackOff = 20 * time.Millisecond // a crash now and then should cost hardly anything
	maxBackOff   = time.Minute
	// settled is how long a process must have been healthy for its end to count as the first again.
	settled = 10 * time.Second
)

// backOff says how long to wait before a process is started again. The zero value is ready to use.
type backOff struct{ wait time.Duration }

// healthy tells how long the process that just ended was healthy.
func (b *backOff) healthy(d time.Duration) {
	if d >= settled {
		b.wait = 0
	}
}

// next returns the next wait: twice the one before, with a fifth of jitter either way, so that
// instances that failed together do not all start together.
func (b *backOff) next() time.Duration {
	b.wait = min(max(2*b.wait, firstBackOff), maxBackOff)
	return time.Duration(float64(b.wait) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // spreads out starts, nothing secret about it
}

// awaitEnd waits for the process to end or for sick to be closed. In the second case it returns errSick
// once nobody waits any more, or ctx's error.
func (s *session) awaitEnd(ctx context.Context, id apron.InstanceID, sick <-chan struct{}) (exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		exit exit
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		e, err := s.awaitExit(ctx, id)
		ended <- result{e, err}
	}()
	select {
	case r := <-ended:
		if r.err != nil {
			<-sick
			return exit{}, r.err
		}
		return r.exit, nil
	case <-sick:
		cancel()
		<-ended
		return exit{}, errSick
	}
}

// endProcess ends the instance's process, with the grace period for those that handle SIGTERM. It
// gives up when ctx is done.
func (i *instance) endProcess(ctx context.Context) {
	i.thaw()
	group := groupOf(i.s.cfg.Dir, i.spec.Service, i.id)
	for ctx.Err() == nil {
		err := i.s.tryEndProcess(ctx, i, group)
		if err == nil {
			return
		}
		i.log.Warn("process could not be ended, trying again", "err", err)
		if pause(ctx, retryEngine) != nil {
			return
		}
	}
}

func (s *session) tryEndProcess(ctx context.Context, i *instance, group string) error {
	id, patience := i.id, cmp.Or(i.spec.StopTimeout, s.cfg.Grace)
	t, err := s.task(ctx, id)
	if err != nil || t == nil {
		return err
	}
	pids, err := s.cgroups.processes(group)
	if err != nil {
		pids = []int{int(t.Pid())}
	}
	polite := false
	if s.cfg.sandboxed(i.spec) { // which keeps its processes, and what they handle, to itself
		polite = t.Kill(ctx, unix.SIGTERM) == nil
	} else {
		polite = terminate(int(t.Pid()), pids)
	}
	if polite {
		grace, cancel := context.WithTimeout(ctx, patience)
		_, err := s.awaitExit(grace, id)
		cancel()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.removeTask(ctx, id)
}

// terminate sends SIGTERM to those of an instance's processes that handle it, and reports whether
// there is one. The first process of a namespace ignores every signal it does not handle
// (pid_namespaces(7)), so waiting for one that does not is waiting in vain; a shell in that place
// ends by itself when the program it waits for does.
func terminate(first int, pids []int) bool {
	if first > 0 && handlesTerm(first) {
		return unix.Kill(first, unix.SIGTERM) == nil
	}
	any := false
	for _, pid := range pids {
		if pid != first && handlesTerm(pid) && unix.Kill(pid, unix.SIGTERM) == nil {
			any = true
		}
	}
	return any
}

// dismantle removes everything of the instance and reports whether it could before ctx was done. It is
// reported gone as soon as nothing of it runs: taking its network apart takes longer.
func (i *instance) dismantle(ctx context.Context) bool {
	waiting := i.reserve != nil && !i.reserve.taken()
	for ctx.Err() == nil {
		if !waiting { // what was never started needs no time to end
			i.endProcess(ctx)
		}
		err := i.tryDismantle(ctx)
		if err == nil {
			i.s.groups.leave(i.spec.Service, func() {
				_ = i.s.cgroups.remove(groupOf(i.s.cfg.Dir, i.spec.Service, "")) // what stays is empty, and removed with the next
			})
			return true
		}
		if !away(err) && ctx.Err() == nil {
			i.log.Warn("instance could not be removed, trying again", "err", err)
		}
		if pause(ctx, retryEngine) != nil {
			return false
		}
	}
	return false
}

func (i *instance) tryDismantle(ctx context.Context) error {
	if err := i.s.dropContainer(ctx, i.id); err != nil {
		return err
	}
	if err := i.s.clearGroup(ctx, groupOf(i.s.cfg.Dir, i.spec.Service, i.id)); err != nil {
		return err
	}
	if i.now.State != apron.InstanceGone && (i.reserve == nil || i.reserve.taken()) {
		i.report(apron.InstanceGone, nil)
	}
	if err := i.s.removeRemains(i.id); err != nil {
		return err
	}
	if i.addr.IsValid() {
		i.s.net.release(i.addr)
	}
	return nil
}
