package fleet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"apron"
	"apron/engine/enginetest"
)

// A control plane that starts again publishes what the router has, before its engine knows
// anything, and while the engine is still proving that the instances are well.
func TestRestoreKeepsBackends(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, _ := w.serving("web")
	before, _ := w.route(svc.ID)

	slow := &slowEngine{Memory: w.memory, open: make(chan struct{}), proven: make(chan struct{})}
	w.boot(slow, nil)
	w.until(func() bool { return len(w.router.published()) > 0 }, "something is published")
	close(slow.open)
	w.until(func() bool { return len(w.fleet.Instances("web-1")) == 1 }, "the instance is found")
	close(slow.proven)
	w.until(func() bool { return w.fleet.Instances("web-1")[0].State == apron.InstanceReady }, "it is ready")
	w.wantNeverEmpty(svc.ID)
	if !w.published(svc.ID, func(r apron.Route) bool { return r.Starting }) {
		t.Error("before the instance is proven to be well, nobody waits for it")
	}
	w.until(func() bool {
		after, _ := w.route(svc.ID)
		return fmt.Sprint(after) == fmt.Sprint(before)
	}, "the route is what it was")
	// An operation that goes on routes once more what is routed already.
	rev, err := w.store.Revision(t.Context(), "web-1")
	w.must(err)
	w.must(w.fleet.Serve(t.Context(), svc, rev))
	w.wantNeverEmpty(svc.ID)
}

// published reports whether a table had a route of the service like that.
func (w *world) published(id apron.ServiceID, like func(apron.Route) bool) bool {
	return slices.ContainsFunc(w.router.published(), func(table apron.RouteTable) bool {
		return slices.ContainsFunc(table.Routes, func(r apron.Route) bool { return r.Service == id && like(r) })
	})
}

func TestSyncDropsUnknownBackends(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, rev := w.serving("web")
	before, _ := w.route(svc.ID)

	// The machine was restarted: the router has its table, the engine its image but no instance.
	w.stop()
	w.must(w.memory.Remove(t.Context(), rev.ID))
	other := enginetest.New()
	t.Cleanup(other.Close)
	slow := &slowEngine{Memory: other, open: make(chan struct{}), proven: make(chan struct{})}
	w.must(other.Prepare(t.Context(), enginetestSpec(svc, rev)))
	w.boot(slow, nil)
	if r, _ := w.route(svc.ID); fmt.Sprint(r.Backends) != fmt.Sprint(before.Backends) {
		t.Errorf("before the engine has spoken the route has %v, want %v", r.Backends, before.Backends)
	}
	close(slow.proven)
	close(slow.open)
	w.until(func() bool {
		r, ok := w.route(svc.ID)
		return ok && len(r.Backends) == 1 && r.Backends[0].Instance != before.Backends[0].Instance
	}, "the new instance has taken the place of the unknown one")
	w.wantNobodyTurnedAway(svc.ID)
}

// wantNobodyTurnedAway fails if a published table had a route of the service with neither backends nor the
// word that they are coming.
func (w *world) wantNobodyTurnedAway(id apron.ServiceID) {
	w.Helper()
	if w.published(id, func(r apron.Route) bool { return len(r.Backends) == 0 && !r.Starting }) {
		w.Error("requests are answered 503 while the instance is made that was asked for")
	}
}

// The last control plane ended after it had routed the candidate and before it could record that.
func TestRestoreKeepsARoutedCandidate(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, old := w.serving("web")
	next := w.revision(svc, "web-2", "web")
	w.record(&svc, apron.ServiceOperationInProgress, old.ID, next.ID)
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))

	slow := &slowEngine{Memory: w.memory, open: make(chan struct{}), proven: make(chan struct{})}
	w.boot(slow, nil)
	w.until(func() bool { return len(w.router.published()) > 0 }, "something is published")
	w.wantNeverEmpty(svc.ID)
	if r, _ := w.route(svc.ID); r.Revision != next.ID {
		t.Errorf("requests go to revision %s, want the candidate", r.Revision)
	}
	for _, id := range []apron.RevisionID{old.ID, next.ID} {
		if _, n, ok := w.memory.Asked(id); !ok || n != 1 {
			t.Errorf("revision %s: in the engine %v with %d instances, want 1", id, ok, n)
		}
	}
	// And it can go back.
	close(slow.open)
	close(slow.proven)
	w.must(w.fleet.Reinstate(t.Context(), svc, old))
	w.wantNeverEmpty(svc.ID)
	if r, _ := w.route(svc.ID); r.Revision != old.ID {
		t.Errorf("requests go to revision %s, want the old one", r.Revision)
	}
}

func TestRestoreOfAPausedService(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, rev := w.serving("web")
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	w.must(w.fleet.Park(t.Context(), rev))
	w.record(&svc, apron.ServicePaused, rev.ID, "")
	if left := w.fleet.Instances(rev.ID); len(left) != 0 {
		t.Errorf("instances are left: %+v", left)
	}

	w.boot(fast(w.memory), nil)
	if r, ok := w.route(svc.ID); ok {
		t.Errorf("a paused service has route %+v", r)
	}
	if _, n, ok := w.memory.Asked(rev.ID); !ok || n != 0 {
		t.Errorf("in the engine %v with %d instances, want its image alone", ok, n)
	}
}

func TestRestoreRemovesOrphans(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, old := w.serving("web")
	busy, served := w.serving("busy")
	for _, s := range []apron.Service{svc, busy} {
		next := w.revision(s, apron.RevisionID(s.Name+"-2"), "web")
		w.start(next)
		w.must(w.fleet.Serve(t.Context(), s, next))
	}
	w.record(&svc, apron.ServiceRunning, "web-2", "")
	w.record(&busy, apron.ServiceOperationInProgress, "busy-2", served.ID) // its operation has yet to retire it

	w.boot(fast(w.memory), nil)
	w.engineHas("busy-1", "busy-2", "web-2") // without the one nobody wants
	if svc.Active == old.ID {
		t.Errorf("%s is still the active revision", old.ID)
	}
}

// TestRestoreOfALostImage: a revision the engine has lost is prepared again, and serves.
func TestRestoreOfALostImage(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, rev := w.serving("web")
	w.must(w.memory.Remove(t.Context(), rev.ID))
	w.boot(fast(w.memory), nil)
	w.engineHas(rev.ID)
	w.until(func() bool {
		r, ok := w.route(svc.ID)
		return ok && len(r.Backends) == 1 && !r.Starting
	}, "it serves")
	w.wantNobodyTurnedAway(svc.ID)
}

// TestRestoreOfAnImageThatIsGone: nobody waits for a revision that cannot be prepared again.
func TestRestoreOfAnImageThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, rev := w.serving("web")
	w.stop()
	w.must(w.memory.Remove(t.Context(), rev.ID))
	w.memory.Image(rev.Image.Reference, enginetest.Behaviour{Absent: "no such image"})
	w.boot(fast(w.memory), nil)
	w.until(func() bool {
		r, ok := w.route(svc.ID)
		return ok && len(r.Backends) == 0 && !r.Starting
	}, "requests are told that there is nobody")
}

// A revision that is being prepared again does not run when it has ceased to serve meanwhile.
func TestLostImageOfAServiceThatEnds(t *testing.T) {
	for name, end := range map[string]func(*world, *apron.Service, apron.Revision) (kept []apron.RevisionID){
		"deleted": func(w *world, svc *apron.Service, _ apron.Revision) []apron.RevisionID {
			w.must(w.fleet.RetireAll(w.Context(), svc.ID))
			w.record(svc, apron.ServiceDeleted, "", "")
			return nil
		},
		"paused": func(w *world, svc *apron.Service, rev apron.Revision) []apron.RevisionID {
			w.must(w.fleet.Park(w.Context(), rev))
			w.record(svc, apron.ServicePaused, rev.ID, "")
			return []apron.RevisionID{rev.ID}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.boot(fast(w.memory), nil)
			svc, rev := w.serving("a")
			_, next := w.serving("b")
			for _, lost := range []apron.Revision{rev, next} {
				w.must(w.memory.Remove(t.Context(), lost.ID))
			}
			e := fast(w.memory)
			e.preparing = make(chan struct{})
			w.boot(e, nil)
			<-e.preparing
			w.record(&svc, apron.ServiceOperationInProgress, "", rev.ID)
			w.must(w.fleet.Withdraw(t.Context(), svc.ID))
			kept := end(w, &svc, rev)
			<-e.preparing
			<-e.preparing // now it is the other one's turn
			if _, n, _ := w.memory.Asked(rev.ID); n != 0 {
				t.Errorf("%d instances run of a service that is %s", n, svc.Status)
			}
			w.engineHas(kept...)
			<-e.preparing
			w.engineHas(append(kept, next.ID)...)
		})
	}
}

// engineHas returns when the engine has these revisions and no others.
func (w *world) engineHas(want ...apron.RevisionID) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); ; {
		got, err := w.memory.Revisions(w.Context())
		w.must(err)
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			w.Fatalf("the engine has %v, want %v", got, want)
		}
	}
}
