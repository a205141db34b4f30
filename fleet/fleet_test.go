package fleet_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/engine/enginetest"
	"apron/fleet"
	"apron/logs"
)

func TestFailingInstanceLeavesTheRoute(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, rev := w.serving("web")
	first := w.fleet.Instances(rev.ID)[0]
	if !w.memory.Crash(first.ID, 3) {
		t.Fatal("there was no process to end")
	}
	w.until(func() bool {
		return slices.ContainsFunc(w.router.published(), func(table apron.RouteTable) bool {
			return len(table.Routes) == 1 && len(table.Routes[0].Backends) == 0
		})
	}, "the failed instance leaves the route")
	w.until(func() bool {
		r, ok := w.route(svc.ID)
		return ok && len(r.Backends) == 1 && r.Backends[0].Addr != first.Addr
	}, "it is back with its new address")
}

// The events of a service tell why an instance that served failed, but not each time that it does.
func TestEventsTellFailures(t *testing.T) {
	w := newWorld(t)
	dir, err := logs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	w.boot(fast(w.memory), func(c *fleet.Config) { c.Logs = dir })
	svc, rev := w.serving("web")
	ready := func(restarts int) (id apron.InstanceID) {
		w.until(func() bool {
			all := w.fleet.Instances(rev.ID)
			if len(all) == 1 && all[0].State == apron.InstanceReady && all[0].Restarts == restarts {
				id = all[0].ID
			}
			return id != ""
		}, "the instance is ready")
		return id
	}
	for restarts, code := range []int{3, 3, 4} {
		if !w.memory.Crash(ready(restarts), code) {
			t.Fatal("there was no process to end")
		}
	}
	ready(3)
	events, err := dir.Read(logs.Stream{Service: svc.ID, Name: logs.Events}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		line, _, _ := strings.Cut(e.Message, "\n")
		got = append(got, line)
	}
	const stopped = "[AppRunner] Your application stopped or failed to start. See logs for more information.  Container exit code: "
	if want := []string{stopped + "3", stopped + "4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What nobody wants any more is not removed before it has answered, also when its instances have to be
// found again after a restart.
func TestRestoreDrainsWhatNobodyWants(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t)
	w.memory.Image("web", enginetest.Behaviour{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = rw.Write([]byte("done"))
	})})
	w.boot(fast(w.memory), nil)
	svc, old := w.serving("web")
	addrs, err := w.router.Addresses(t.Context())
	w.must(err)
	answer := make(chan string, 1)
	go func() { answer <- get(t.Context(), addrs.HTTP, svc.Host) }()
	<-arrived
	next := w.revision(svc, "web-2", "other")
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))
	w.record(&svc, apron.ServiceRunning, next.ID, "")

	slow := &slowEngine{Memory: w.memory, open: make(chan struct{}), proven: make(chan struct{})}
	close(slow.proven)
	w.boot(slow, nil)
	close(slow.open)
	w.until(func() bool { return len(w.fleet.Instances(old.ID)) == 1 }, "the old instance is found")
	w.fleet.Tidy(svc.ID) // twice is once
	if _, n, ok := w.memory.Asked(old.ID); !ok || n != 1 {
		t.Error("retired with a request in flight")
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the request was answered %q", got)
	}
	w.engineHas(next.ID)
}

func TestDrainEndsAtItsLimit(t *testing.T) {
	arrived := make(chan struct{})
	w := newWorld(t)
	w.memory.Image("web", enginetest.Behaviour{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done() // for as long as the connection lives
	})})
	w.boot(fast(w.memory), func(c *fleet.Config) { c.DrainTimeout = 20 * time.Millisecond })
	svc, rev := w.serving("web")
	addrs, err := w.router.Addresses(t.Context())
	w.must(err)
	answer := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { answer <- get(ctx, addrs.HTTP, svc.Host) }()
	<-arrived
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	retired := make(chan error, 1)
	go func() { retired <- w.fleet.Retire(t.Context(), rev.ID) }()
	w.until(func() bool { _, _, ok := w.memory.Asked(rev.ID); return !ok }, "the revision is being removed")
	cancel()
	<-answer
	w.must(<-retired)
}

// A candidate that fails between its provision and its route does not get one.
func TestServeRefusesWhatFails(t *testing.T) {
	w := newWorld(t)
	w.memory.Image("broken", enginetest.Behaviour{Exits: true, Code: 9, Log: []string{"last words"}})
	w.boot(fast(w.memory), nil)
	svc, old := w.serving("web")
	next := w.revision(svc, "web-2", "broken")
	w.must(w.fleet.Prepare(t.Context(), next))
	err := w.fleet.Serve(t.Context(), svc, next)
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "last words") {
		t.Errorf("got %v, want an Invalid fault with the last words", err)
	}
	if r, _ := w.route(svc.ID); r.Revision != old.ID {
		t.Errorf("requests go to revision %s, want %s", r.Revision, old.ID)
	}
	w.wantServedThroughout(svc.ID)
}

// Reinstate goes back to a revision even if that is not well.
func TestReinstateDoesNotGiveUp(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, rev := w.serving("web")
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	w.must(w.fleet.Retire(t.Context(), rev.ID))
	w.memory.Image("web", enginetest.Behaviour{Exits: true, Code: 1})
	w.must(w.fleet.Reinstate(t.Context(), svc, rev))
	w.until(func() bool {
		r, ok := w.route(svc.ID)
		return ok && r.Revision == rev.ID && len(r.Backends) == 0
	}, "the revision has the route")
}

// A service whose pause is undone is sent to instances that stay, not to those that are ending already.
func TestReinstateWhileInstancesEnd(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), func(cfg *fleet.Config) { cfg.DrainTimeout = time.Millisecond })
	v := w.visits("web")
	svc, rev := w.serving("web")
	ending := w.fleet.Instances(rev.ID)[0].ID
	w.begin(v, svc) // it has its own grace period to answer
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	pause, cancel := context.WithCancel(t.Context())
	parked := make(chan error, 1)
	go func() { parked <- w.fleet.Park(pause, rev) }()
	w.until(func() bool { return w.fleet.Instances(rev.ID)[0].State != apron.InstanceReady }, "the instance is ending")
	cancel()
	if err := <-parked; err == nil {
		t.Error("the revision was parked")
	}
	w.must(w.fleet.Reinstate(t.Context(), svc, rev))
	r, _ := w.route(svc.ID)
	if len(r.Backends) != 1 || r.Backends[0].Instance == ending {
		t.Errorf("requests go to %+v, while instance %s is ending", r.Backends, ending)
	}
	w.finish(v)
}

// Parking what the engine does not have is done at once.
func TestParkOfNothing(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	rev := w.revision(w.service("web"), "web-1", "web")
	w.must(w.fleet.Park(t.Context(), rev))
}
