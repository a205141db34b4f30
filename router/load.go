package router

import (
	"sync/atomic"
	"time"

	"apron"
)

// loadInterval is the least time between two load reports.
const loadInterval = 100 * time.Millisecond

// loadSignal tells the session, once, that some figure changed since it last looked. Raising it
// again is a single atomic read, so every request can.
type loadSignal struct {
	raised atomic.Bool
	c      chan struct{} // capacity 1
}

func newLoadSignal() *loadSignal { return &loadSignal{c: make(chan struct{}, 1)} }

func (s *loadSignal) raise() {
	if s.raised.Load() || s.raised.Swap(true) {
		return
	}
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// lower must come before the figures are read, so that no change after that goes unnoticed.
func (s *loadSignal) lower() { s.raised.Store(false) }

// loadReporter works out what changed from one report to the next. It belongs to one session.
type loadReporter struct {
	routes    *routes
	instances map[apron.InstanceID]InstanceLoad // as last reported
	queues    map[breakerKey]RouteLoad
	ends      *ends
	ended     [endCount]uint64
}

// report returns the figures that changed, or nil when none did. The first report is full.
func (l *loadReporter) report() *Load {
	out := &Load{Full: l.instances == nil}
	if out.Full {
		l.instances, l.queues = map[apron.InstanceID]InstanceLoad{}, map[breakerKey]RouteLoad{}
	}
	l.reportInstances(out)
	l.reportRoutes(out)
	l.reportEnds(out)
	if !out.Full && len(out.Instances) == 0 && len(out.Routes) == 0 && out.Ended == nil {
		return nil
	}
	return out
}

func (l *loadReporter) reportInstances(out *Load) {
	seen := make(map[apron.InstanceID]bool, len(l.instances))
	l.routes.drain.each(func(t *target) {
		seen[t.id] = true
		now := InstanceLoad{Instance: t.id, InFlight: int(t.inFlight()), Total: t.total.Load()}
		if l.instances[t.id] != now {
			l.instances[t.id] = now
			out.Instances = append(out.Instances, now)
		}
	})
	for id, last := range l.instances {
		if seen[id] {
			continue
		}
		delete(l.instances, id)
		if last.InFlight > 0 {
			last.InFlight = 0
			out.Instances = append(out.Instances, last)
		}
	}
}

func (l *loadReporter) reportRoutes(out *Load) {
	breakers := l.routes.current.Load().breakers
	for key, b := range breakers {
		set := b.set.Load()
		now := RouteLoad{
			Service: set.service, Nth: key.nth, Revision: set.revision,
			Queued: int(b.waiting.Load() + b.lent.Load()), Refused: b.refused.Load(), Took: time.Duration(b.took.Load()),
		}
		for i := range now.Answered {
			now.Answered[i] = b.statuses[i].Load()
		}
		last := l.queues[key]
		last.Service, last.Nth, last.Revision = now.Service, now.Nth, now.Revision
		if last != now {
			l.queues[key] = now
			out.Routes = append(out.Routes, now)
		}
	}
	for key, last := range l.queues {
		if breakers[key] != nil {
			continue
		}
		delete(l.queues, key)
		if last.Queued > 0 {
			last.Queued = 0
			out.Routes = append(out.Routes, last)
		}
	}
}

func (l *loadReporter) reportEnds(out *Load) {
	for i := range l.ended {
		if now := l.ends.counts[i].Load(); now != l.ended[i] {
			l.ended[i] = now
			if out.Ended == nil {
				out.Ended = map[string]uint64{}
			}
			out.Ended[end(i).reason()] = now
		}
	}
}
