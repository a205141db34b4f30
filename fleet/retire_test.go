package fleet_test

import (
	"context"
	"net/http"
	"testing"

	"apron"
	"apron/engine/enginetest"
	"apron/store"
)

// outcome records what became of revisions.
func (w *world) outcome(outcome apron.RevisionOutcome, ids ...apron.RevisionID) {
	w.Helper()
	w.tx(func(tx *store.Tx) error {
		for _, id := range ids {
			if err := tx.SetRevisionOutcome(w.Context(), id, outcome, ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// wantAsked checks how many instances the engine was asked for last; want -1: it lacks the revision.
func (w *world) wantAsked(want map[apron.RevisionID]int) {
	w.Helper()
	for id, n := range want {
		_, got, ok := w.memory.Asked(id)
		if !ok {
			got = -1
		}
		if got != n {
			w.Errorf("revision %s has %d instances, want %d", id, got, n)
		}
	}
}

// settles returns once the engine has so many instances of the revisions; -1: it lacks the revision.
func (w *world) settles(want map[apron.RevisionID]int) {
	w.Helper()
	w.until(func() bool {
		for id, n := range want {
			_, got, ok := w.memory.Asked(id)
			if !ok {
				got = -1
			}
			if got != n || len(w.fleet.Instances(id)) != max(n, 0) {
				return false
			}
		}
		return true
	}, "the old revisions are retired")
}

func TestTidy(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, first := w.serving("web")
	w.outcome(apron.RevisionDeployed, first.ID)
	failed := w.revision(svc, "web-2", "web")
	w.start(failed)
	w.outcome(apron.RevisionRolledBack, failed.ID)
	next := w.revision(svc, "web-3", "web")
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))
	// What the operation would go back to stays as it is.
	w.record(&svc, apron.ServiceOperationInProgress, next.ID, first.ID)
	w.fleet.Tidy(svc.ID)
	w.settles(map[apron.RevisionID]int{first.ID: 1, failed.ID: -1, next.ID: 1})
	w.outcome(apron.RevisionSuperseded, first.ID)
	w.record(&svc, apron.ServiceRunning, next.ID, "")
	w.fleet.Tidy(svc.ID)
	w.settles(map[apron.RevisionID]int{first.ID: 0, failed.ID: -1, next.ID: 1})
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	w.record(&svc, apron.ServiceOperationInProgress, "", "")
	w.must(w.fleet.RetireAll(t.Context(), svc.ID))
	w.wantAsked(map[apron.RevisionID]int{first.ID: -1, failed.ID: -1, next.ID: -1})
}

// visit is a request in flight: the instance that has it answers when it may.
type visit struct{ arrived, proceed, answered chan string }

// visits makes applications of the image answer one request each, when it may.
func (w *world) visits(image string) *visit {
	w.Helper()
	v := &visit{arrived: make(chan string), proceed: make(chan string), answered: make(chan string, 1)}
	w.memory.Image(image, enginetest.Behaviour{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		v.arrived <- ""
		_, _ = rw.Write([]byte(<-v.proceed))
	})})
	return v
}

// begin sends the request and returns once it has arrived.
func (w *world) begin(v *visit, svc apron.Service) {
	w.Helper()
	addrs, err := w.router.Addresses(w.Context())
	w.must(err)
	go func() { v.answered <- get(context.Background(), addrs.HTTP, svc.Host) }()
	<-v.arrived
}

func (w *world) finish(v *visit) {
	w.Helper()
	v.proceed <- "done"
	if got := <-v.answered; got != "done" {
		w.Errorf("the request was answered %q", got)
	}
}

// Every generation has its own time to drain, and a service that is parked has to wait for all of them;
// so does the next control plane, which does not touch an instance that has a request.
func TestGenerationsRetireAtOnce(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	images := []string{"web", "second", "third"}
	visits := make([]*visit, len(images))
	for n, image := range images {
		visits[n] = w.visits(image)
	}
	svc, first := w.serving("web")
	all := []apron.Revision{first}
	w.begin(visits[0], svc)
	for n, image := range images[1:] {
		w.outcome(apron.RevisionSuperseded, all[n].ID)
		next := w.revision(svc, apron.RevisionID("web-"+image), image)
		all = append(all, next)
		w.start(next)
		w.must(w.fleet.Serve(t.Context(), svc, next))
		w.record(&svc, apron.ServiceRunning, next.ID, "")
		w.fleet.Tidy(svc.ID)
		w.begin(visits[n+1], svc)
	}
	w.finish(visits[1])
	w.settles(map[apron.RevisionID]int{first.ID: 1, all[1].ID: 0, all[2].ID: 1})

	w.boot(fast(w.memory), nil)
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	w.record(&svc, apron.ServiceOperationInProgress, "", all[2].ID)
	parked := make(chan error, 1)
	go func() { parked <- w.fleet.Park(t.Context(), all[2]) }()
	w.finish(visits[2])
	w.settles(map[apron.RevisionID]int{first.ID: 1, all[1].ID: 0, all[2].ID: 0})
	select {
	case err := <-parked:
		t.Errorf("parked with a request in flight: %v", err)
	default:
	}
	w.finish(visits[0])
	w.must(<-parked)
	w.wantAsked(map[apron.RevisionID]int{first.ID: 0, all[1].ID: 0, all[2].ID: 0})
	for _, rev := range all {
		if left := w.fleet.Instances(rev.ID); len(left) != 0 {
			t.Errorf("parked with instances of %s: %+v", rev.ID, left)
		}
	}
}

// What an operation could not stop is stopped by the next start, and keeps its image if the history
// has it.
func TestRestoreStopsWhatDoesNotServe(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, old := w.serving("web")
	next := w.revision(svc, "web-2", "web")
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))
	w.outcome(apron.RevisionSuperseded, old.ID)
	w.outcome(apron.RevisionDeployed, next.ID)
	w.record(&svc, apron.ServiceRunning, next.ID, "")
	paused, idle := w.serving("paused")
	w.must(w.fleet.Withdraw(t.Context(), paused.ID))
	w.outcome(apron.RevisionDeployed, idle.ID)
	w.record(&paused, apron.ServicePaused, idle.ID, "")

	w.boot(fast(w.memory), nil)
	w.settles(map[apron.RevisionID]int{old.ID: 0, next.ID: 1, idle.ID: 0})
}
