package fleet_test

import (
	"testing"

	"apron"
	"apron/store"
)

// wantReserved waits until the engine was last asked to make so many instances in advance.
func (w *world) wantReserved(rev apron.RevisionID, n int) {
	w.Helper()
	w.until(func() bool { return w.memory.Reserved(rev) == n }, "the reserve is as wanted")
}

func (w *world) tag(svc apron.Service, key, value string) {
	w.Helper()
	w.tx(func(tx *store.Tx) error {
		return tx.PutTags(w.Context(), svc.ARN(), []apron.Tag{{Key: key, Value: value}})
	})
}

// As many instances as the tag says are made in advance, of what serves and nothing else.
func TestReserveFollowsService(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, first := w.serving("web")
	w.wantReserved(first.ID, 0)
	w.tag(svc, "apron:prepared", "2")
	w.fleet.Refresh(svc.ID)
	w.wantReserved(first.ID, 2)

	// The engine's next driver has none until it is asked.
	w.must(w.memory.Reserve(t.Context(), enginetestSpec(svc, first), 0))
	w.boot(fast(w.memory), nil)
	w.wantReserved(first.ID, 2)

	next := w.revision(svc, "web-2", "web")
	w.record(&svc, apron.ServiceOperationInProgress, first.ID, next.ID) // or it is nobody's to those who tidy up
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))
	w.outcome(apron.RevisionSuperseded, first.ID)
	w.record(&svc, apron.ServiceRunning, next.ID, "")
	w.fleet.Tidy(svc.ID)
	w.wantReserved(first.ID, 0)
	w.wantReserved(next.ID, 2)

	w.tag(svc, "apron:prepared", "1")
	w.fleet.Refresh(svc.ID)
	w.wantReserved(next.ID, 1)

	w.must(w.fleet.Withdraw(t.Context(), svc.ID))
	w.must(w.fleet.Park(t.Context(), next))
	w.wantReserved(next.ID, 0)
	w.fleet.Refresh(svc.ID) // of no effect on what does not serve
	w.must(w.fleet.Reinstate(t.Context(), svc, next))
	w.wantReserved(next.ID, 1)
}
