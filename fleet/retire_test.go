package fleet_test

import (
	"testing"

	"apron"
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

func TestRetireOthers(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, first := w.serving("web")
	w.outcome(apron.RevisionSuperseded, first.ID)
	failed := w.revision(svc, "web-2", "web")
	w.start(failed)
	w.outcome(apron.RevisionRolledBack, failed.ID)
	next := w.revision(svc, "web-3", "web")
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))
	w.must(w.fleet.RetireOthers(t.Context(), svc.ID, next.ID))
	w.wantAsked(map[apron.RevisionID]int{first.ID: 0, failed.ID: -1, next.ID: 1})
	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	w.must(w.fleet.RetireAll(t.Context(), svc.ID))
	w.wantAsked(map[apron.RevisionID]int{first.ID: -1, failed.ID: -1, next.ID: -1})
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
	w.until(func() bool { return len(w.fleet.Instances(old.ID))+len(w.fleet.Instances(idle.ID)) == 0 }, "both are stopped")
	w.wantAsked(map[apron.RevisionID]int{old.ID: 0, next.ID: 1, idle.ID: 0})
}
