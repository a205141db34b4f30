package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"apron"
	"apron/engine"
	"apron/logs"
)

// observe takes in one report of the engine.
//
// A backend joins when its instance is ready and leaves when the engine says that it is not; a
// report of "starting" changes nothing. So an instance that served under the last control plane
// goes on serving while the new one finds it again.
func (f *Fleet) observe(i apron.Instance) {
	if f.take(i) {
		f.tellFailure(i)
	}
}

// take does observe's work with the lock held, and reports whether the service's events are to tell the
// failure of the instance.
func (f *Fleet) take(i apron.Instance) (tell bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, known := f.instances[i.ID]
	if i.State == apron.InstanceGone {
		delete(f.instances, i.ID)
	} else {
		f.instances[i.ID] = i
		delete(f.coming, i.Revision)
	}
	if !known || was.State != i.State {
		f.logChange(i)
	}
	if s := f.serving[i.Service]; s != nil {
		bad := i.State == apron.InstanceFailed || i.State == apron.InstanceUnhealthy
		tell = bad && was.State != i.State && i.Failure != nil && i.Revision == s.route.Revision && s.told.anew(*i.Failure, time.Now())
		f.updateBackend(s, i)
		f.updateStarting(s)
	}
	f.broadcast()
	return tell
}

// tellEvery is how often the events of a service tell the same failure of instances that serve.
const tellEvery = time.Minute

// failureTold is the last failure that the events of a service told.
type failureTold struct {
	summary string
	at      time.Time
}

// anew reports whether the failure is to be told, and takes it that it is.
func (t *failureTold) anew(failure apron.Failure, now time.Time) bool {
	summary := failure.Summary()
	if t.summary == summary && now.Sub(t.at) < tellEvery {
		return false
	}
	*t = failureTold{summary: summary, at: now}
	return true
}

// tellFailure tells the events of the service why an instance of what serves does not. The engine starts it
// again.
func (f *Fleet) tellFailure(i apron.Instance) {
	if f.cfg.Logs == nil {
		return
	}
	stream := logs.Stream{Service: i.Service, Name: logs.Events}
	if err := f.cfg.Logs.Append(stream, time.Now(), "[AppRunner] "+i.Failure.Detail()); err != nil {
		f.cfg.Log.Error("write service log", "service", i.Service, "instance", i.ID, "err", err)
	}
}

// sync is told that the engine has reported every instance there was: backends it does not know
// are gone.
func (f *Fleet) sync() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = true
	for _, s := range f.serving {
		f.dropUnknown(s)
		f.updateStarting(s)
	}
	f.broadcast()
}

// forget drops the instances of a revision the engine has removed, whose last reports may be on
// their way still.
func (f *Fleet) forget(rev apron.RevisionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, i := range f.instances {
		if i.Revision == rev {
			delete(f.instances, id)
		}
	}
	delete(f.started, rev)
	delete(f.coming, rev)
	f.broadcast()
}

func (f *Fleet) updateBackend(s *serving, i apron.Instance) {
	switch i.State {
	case apron.InstanceReady:
		if i.Revision == s.route.Revision && s.backends[i.ID].Addr != i.Addr {
			s.add(apron.Backend{Instance: i.ID, Addr: i.Addr})
			f.dirty()
		}
	case apron.InstanceStarting:
	default:
		if _, ok := s.backends[i.ID]; ok {
			s.drop(i.ID)
			f.dirty()
		}
	}
}

func (f *Fleet) dropUnknown(s *serving) {
	for _, id := range append([]apron.InstanceID(nil), s.order...) {
		if _, ok := f.instances[id]; !ok {
			s.drop(id)
			f.dirty()
		}
	}
}

// updateStarting notes whether requests wait for an instance of the route where they find none. mu must be
// held.
func (f *Fleet) updateStarting(s *serving) {
	if now := f.starting(s.route.Revision); now != s.route.Starting {
		s.route.Starting = now
		f.dirty()
	}
}

// starting reports whether no instance of the revision is ready, but one is being started, or will be: the
// engine has not reported yet what there is, or not what was asked for since. mu must be held.
func (f *Fleet) starting(rev apron.RevisionID) bool {
	starting := !f.synced || f.coming[rev]
	for _, i := range f.instances {
		if i.Revision != rev {
			continue
		}
		switch i.State {
		case apron.InstanceReady:
			return false
		case apron.InstanceStarting:
			starting = true
		default:
		}
	}
	return starting
}

// expect notes that an instance of the revision will be reported; the counterpart of giveUp.
func (f *Fleet) expect(rev apron.RevisionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.instances {
		if i.Revision == rev {
			return
		}
	}
	f.coming[rev] = true
}

// giveUp notes that the revision's instances are not coming, so that nobody waits for them.
func (f *Fleet) giveUp(service apron.ServiceID, rev apron.RevisionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.coming, rev)
	if s := f.serving[service]; s != nil {
		f.updateStarting(s)
	}
}

// dirty notes that the routes have changed. mu must be held.
func (f *Fleet) dirty() {
	f.wanted++
	f.broadcast()
}

// broadcast wakes everyone who waits for a change. mu must be held.
func (f *Fleet) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Fleet) logChange(i apron.Instance) {
	log := f.cfg.Log.With("service", i.Service, "revision", i.Revision, "instance", i.ID)
	switch {
	case i.State == apron.InstanceReady:
		log.Info("instance is ready", "addr", i.Addr, "restarts", i.Restarts)
	case i.State == apron.InstanceGone:
		log.Info("instance is gone")
	case i.Failure != nil && i.State != apron.InstanceStarting:
		log.Warn("instance is not serving", "state", i.State, "reason", i.Failure.Summary())
	}
}

// awaitReady returns when n instances of the revision are ready, or with a Fault as soon as one
// failed. "Runs but is not healthy" has the whole start window; a process that ends has failed
// (reference/behaviour.md §1.3).
func (f *Fleet) awaitReady(ctx context.Context, rev apron.Revision, n int) error {
	window, cancel := context.WithTimeoutCause(ctx, f.startWindow(rev), errStartWindow)
	defer cancel()
	for {
		f.mu.Lock()
		ready, last, changed := 0, apron.Instance{}, f.changed
		for _, i := range f.instances {
			if i.Revision != rev.ID {
				continue
			}
			switch {
			case i.State == apron.InstanceReady:
				ready++
			case i.State == apron.InstanceFailed && i.Failure != nil:
				f.mu.Unlock()
				return apron.Faultf(apron.Invalid, "%s", i.Failure.Detail())
			case i.Failure != nil:
				last = i
			}
		}
		f.mu.Unlock()
		if ready >= n {
			return nil
		}
		select {
		case <-changed:
		case <-window.Done():
			if errors.Is(context.Cause(window), errStartWindow) {
				return f.notHealthy(ctx, rev, last)
			}
			return ctx.Err()
		}
	}
}

// startWindow is how long the revision's instances may take to become healthy.
func (f *Fleet) startWindow(rev apron.Revision) time.Duration {
	if d := rev.Config.Extensions.StartTimeout; d > 0 {
		return d
	}
	return f.cfg.StartWindow
}

var errStartWindow = errors.New("start window ended")

// notHealthy says that the instances run but did not pass their health check in time.
// last is the last one that said why it is not ready, if any did.
func (f *Fleet) notHealthy(ctx context.Context, rev apron.Revision, last apron.Instance) error {
	check, port := rev.Config.HealthCheck, rev.Run().Port
	where := fmt.Sprintf("protocol `%s` [Port: '%s']", check.Protocol, port)
	if check.Protocol == apron.HealthCheckHTTP {
		where = fmt.Sprintf("protocol `%s` [Path: '%s'], [Port: '%s']", check.Protocol, check.Path, port)
	}
	msg := fmt.Sprintf("Health check failed on %s for %s. Check your configured port number. For more information, see the application logs.",
		where, f.startWindow(rev).Round(time.Second))
	if last.Failure != nil {
		why := *last.Failure
		if len(why.Log) == 0 {
			why.Log = f.lastLines(ctx, last.ID)
		}
		msg += " " + why.Detail()
	}
	return apron.Faultf(apron.Invalid, "%s", msg)
}

// lastLines returns the last lines an instance has written, if the engine keeps them. An engine reports
// them by itself only with the end of a process.
func (f *Fleet) lastLines(ctx context.Context, id apron.InstanceID) []string {
	reader, ok := f.cfg.Engine.(engine.LogReader)
	if !ok {
		return nil
	}
	var lines []string
	_, err := reader.ReadLog(ctx, id, engine.LogOptions{}, func(l engine.LogLine) error {
		if len(lines) == apron.MaxFailureLog {
			lines = slices.Delete(lines, 0, 1)
		}
		lines = append(lines, l.Text)
		return nil
	})
	if err != nil {
		f.cfg.Log.Warn("read what an instance wrote", "instance", id, "err", err)
	}
	return lines
}
