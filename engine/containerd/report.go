package containerd

import (
	"context"
	"time"

	"apron"
	"apron/health"
)

// judge reports what a probe changed, and limits the processor once starting is over.
func (i *instance) judge(r health.Report) {
	switch r.Status {
	case health.Starting:
		i.report(apron.InstanceStarting, &apron.Failure{Probe: r.Answer})
	case health.Unhealthy:
		i.report(apron.InstanceUnhealthy, &apron.Failure{Probe: r.Answer, Log: i.tail()})
	case health.Healthy:
		if err := i.s.cgroups.limitCPU(groupOf(i.s.cfg.Dir, i.spec.Service, i.id), i.spec.MilliCPU); err != nil {
			i.log.Warn("processor not limited", "err", err)
		}
		i.report(apron.InstanceReady, nil)
		i.calm()
	}
}

// note records that the process has been healthy: without it the next driver would take it for one
// that is just starting. It tries until it can, because the engine child may be away.
func (i *instance) note(ctx context.Context, restarts int, started time.Time) {
	for ctx.Err() == nil {
		err := i.s.label(ctx, i.id, restarts, started, false)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !away(err) {
			i.log.Warn("readiness not recorded", "err", err)
			return
		}
		_ = pause(ctx, retryEngine) // ends with ctx, which the loop looks at
	}
}

func (i *instance) report(state apron.InstanceState, f *apron.Failure) {
	i.now.State, i.now.Failure = state, f
	i.s.roster.Set(i.now)
}

func (i *instance) tail() []string { return logTail(logBase(i.s.cfg.Dir, i.id), i.logFrom) }

// autopsy finds out all there is to know about a process that ended, and removes its remains.
func (i *instance) autopsy(ctx context.Context, e exit) *apron.Failure {
	// The counter goes with the task, so it is read first; a group that is gone counts nothing.
	kills, _ := i.s.cgroups.oomKills(groupOf(i.s.cfg.Dir, i.spec.Service, i.id))
	if err := i.s.removeTask(ctx, i.id); err != nil {
		i.log.Warn("remains of a process are left for later", "err", err)
	}
	f := failureOf(e, kills > 0, i.tail())
	if reason := i.sentence.Swap(nil); reason != nil {
		f.Ended = *reason
	}
	return &f
}
