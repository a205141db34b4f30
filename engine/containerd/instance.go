package containerd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"

	"apron"
	"apron/engine"
	"apron/health"
)

// instance looks after one instance: one goroutine runs it from before its container is made until
// nothing of it is left, or until the driver ends and leaves it to the next one.
type instance struct {
	s    *session
	id   apron.InstanceID
	spec engine.Spec // without Env when adopted: the container has it
	log  *slog.Logger

	stopOnce sync.Once
	leave    chan struct{} // closed by stop
	done     chan struct{} // closed when run has returned
	removed  bool          // nothing is left; written before done is closed

	sentence atomic.Pointer[string] // why the driver ended the process; nil: it did not
	reserve  *reserve               // made in advance; nil: not so
	succeed  func() bool            // lets one made in advance take its place, if there is one
	hurried  atomic.Bool            // it is counted among those on their way to being ready
	ice      ice

	// The fields below belong to run and what it waits for.
	now     apron.Instance
	addr    netip.Addr
	ids     idMap
	made    bool        // the container exists
	tried   bool        // making it was tried
	task    client.Task // made and waiting to be started; nil: none
	logFrom int64       // where in the log the process's output begins
	wait    backOff     // before the process is started again; written before a reserve is claimed
}

func newInstance(s *session, spec engine.Spec) *instance {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return makeInstance(s, apron.InstanceID(hex.EncodeToString(b[:])), spec)
}

func makeInstance(s *session, id apron.InstanceID, spec engine.Spec) *instance {
	return &instance{
		s: s, id: id, spec: spec,
		log:   s.cfg.Log.With("service", spec.Service, "revision", spec.Revision, "instance", id),
		leave: make(chan struct{}), done: make(chan struct{}),
		now: apron.Instance{ID: id, Service: spec.Service, Revision: spec.Revision, State: apron.InstanceStarting},
	}
}

// adopt takes over an instance that an earlier driver started. alive tells that its process runs,
// which need not be so any more.
func adopt(s *session, r record, alive bool) *instance {
	i := makeInstance(s, r.id, r.spec)
	i.addr, i.ids, i.made = r.addr, r.ids, true
	i.now.Addr, i.now.Restarts = netip.AddrPortFrom(r.addr, r.spec.Port), r.restarts
	if alive && !r.ready.IsZero() {
		i.now.State, i.now.StartedAt = apron.InstanceReady, r.ready
	}
	return i
}

// stop asks run to remove the instance. It returns at once and may be called again.
func (i *instance) stop() { i.stopOnce.Do(func() { close(i.leave) }) }

func (i *instance) stopping() bool {
	select {
	case <-i.leave:
		return true
	default:
		return false
	}
}

// run keeps the instance's process alive until stop is called, and then removes the instance. When
// ctx is done it returns and leaves everything as it is.
func (i *instance) run(ctx context.Context) {
	defer close(i.done)
	i.s.groups.enter(i.spec.Service)
	live, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		defer cancel()
		select {
		case <-i.leave:
		case <-live.Done():
		}
	})
	if i.reserve == nil || i.waitInReserve(live) {
		i.supervise(live)
	}
	i.calm()
	cancel()
	wait.Wait()
	if ctx.Err() == nil {
		if i.reserve == nil || i.reserve.taken() {
			i.report(apron.InstanceStopping, nil)
		}
		i.removed = i.dismantle(ctx)
	}
}

// supervise starts the process and starts it again whenever it ends, until ctx is done or the instance
// has a successor. The first round of an adopted instance finds its process running, or finds out how it
// ended.
func (i *instance) supervise(ctx context.Context) {
	for adopted := i.made && i.reserve == nil; ctx.Err() == nil; adopted = false {
		if i.now.State != apron.InstanceReady { // or it was adopted
			i.hurry()
		}
		if adopted || i.begin(ctx) {
			i.wait.healthy(i.live(ctx, adopted))
		}
		i.calm()
		if ctx.Err() != nil || i.stopping() {
			return
		}
		i.log.Info("instance failed", "reason", i.now.Failure.Summary(), "restarts", i.now.Restarts)
		first := i.wait == (backOff{})
		wait := i.wait.next()
		if first && i.succeed() {
			return
		}
		if pause(ctx, wait) != nil || i.succeed() {
			return
		}
		i.now.Restarts++
	}
}

// begin makes what is missing and starts the process. When it returns false the instance is reported
// as failed, or ctx is done.
func (i *instance) begin(ctx context.Context) bool {
	if i.now.State != apron.InstanceStarting { // it is from now on, however long its turn takes to come
		i.report(apron.InstanceStarting, nil)
	}
	for {
		prepared := i.task != nil
		err := i.tryBegin(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if prepared { // what was made in advance has not kept: that is nobody's failure
			i.log.Warn("prepared instance could not be started", "err", err)
			continue
		}
		if !away(err) && !i.s.clearRemnant(err) {
			i.log.Warn("instance could not be started", "err", err)
			i.report(apron.InstanceFailed, &apron.Failure{
				Start: startReason(err), Log: i.tail(),
			})
			return false
		}
		if pause(ctx, retryEngine) != nil {
			return false
		}
	}
}

// live watches the process until it ends, is found unhealthy, or ctx is done; in the first two cases
// it has reported the failure. It returns how long the process was healthy.
func (i *instance) live(ctx context.Context, adopted bool) (healthy time.Duration) {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	status := health.Starting
	if i.now.State == apron.InstanceReady {
		status = health.Healthy
	}
	var since time.Time
	if status == health.Healthy {
		since = i.s.cfg.Now()
	}
	var notes sync.WaitGroup
	sick := make(chan struct{})
	go func() {
		defer close(sick)
		i.probe(watch, status, func(r health.Report) {
			i.judge(r)
			if r.Status == health.Healthy {
				since = i.s.cfg.Now()
				restarts, started := i.now.Restarts, i.now.StartedAt
				notes.Go(func() { i.note(watch, restarts, started) })
			}
		})
	}()
	e, err := i.s.awaitEnd(watch, i.id, sick)
	e.there = e.there || !adopted // it has begun, even if it ended before anybody could wait for it
	cancel()
	<-sick
	notes.Wait()
	if !since.IsZero() {
		healthy = i.s.cfg.Now().Sub(since)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && healthy >= settled && i.succeed(): // and only then ended, which may take its time
	case err != nil: // unhealthy, already reported
		i.endProcess(ctx)
		i.report(apron.InstanceFailed, &apron.Failure{Probe: i.now.Failure.Probe, Log: i.tail()})
	case adopted && !e.known && status == health.Starting && i.now.Restarts == 0:
		f := failureOf(e, false, nil) // for the log: if the earlier driver did not get to starting it, nothing failed
		i.now.Failure = &f
	case adopted && !e.known && status == health.Starting: // as after a restart of the machine: it is nobody's crash
		i.report(apron.InstanceStarting, i.autopsy(ctx, e))
	default:
		i.report(apron.InstanceFailed, i.autopsy(ctx, e))
	}
	return healthy
}
