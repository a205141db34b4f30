package deploy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/fleet"
)

// rollback goes back to the revision with the number and waits for the end.
func (w *world) rollback(id apron.ServiceID, number int) apron.Service {
	w.Helper()
	svc := w.service(id)
	op, _, err := w.plane.RollbackService(w.Context(), w.scope, svc.ARN().String(), number)
	return w.begin(control.ServiceView{Service: svc}, op, err)
}

// outcomes returns the service's history in short, oldest first: number and outcome.
func (w *world) outcomes(id apron.ServiceID) []string {
	w.Helper()
	var short []string
	for _, rev := range w.revisions(id) {
		line := fmt.Sprintf("%d %s", rev.Number, rev.Outcome)
		if rev.CopyOf != 0 {
			line += fmt.Sprintf(" copy of %d", rev.CopyOf)
		}
		short = append(short, line)
	}
	return short
}

// A rollback brings configuration and image back, whatever has become of the tag.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	first := w.create()
	w.behave("web:2", "02", says("v2"))
	w.update(first.ID, "web:2")
	w.behave("web:3", "03", exits())
	w.update(first.ID, "web:3")
	w.images.mu.Lock()
	clear(w.images.tags)
	w.images.mu.Unlock()

	from := len(w.events(first.ID))
	stop := w.load(first, 2)
	back := w.rollback(first.ID, 0) // to 1, past the one that never served
	stop()
	if diff := cmp.Diff(first.Config, back.Config); diff != "" {
		t.Errorf("configuration (-first +now):\n%s", diff)
	}
	w.wantServing(back, "v1", apron.OperationSucceeded)
	if op := w.last(first.ID); op.Type != apron.OperationStartDeployment || op.Revision == first.Active {
		t.Errorf("operation is %s of revision %s", op.Type, op.Revision)
	}
	if lines := w.events(first.ID)[from:]; !slices.Contains(lines, "[AppRunner] Going back to revision 1.") {
		t.Errorf("events are %q", lines)
	}

	w.wantServing(w.rollback(first.ID, 2), "v2", apron.OperationSucceeded)
	w.wantServing(w.rollback(first.ID, 0), "v1", apron.OperationSucceeded)
	want := []string{
		"1 SUPERSEDED", "2 SUPERSEDED", "3 ROLLED_BACK", "4 SUPERSEDED copy of 1", "5 SUPERSEDED copy of 2", "6 DEPLOYED copy of 4",
	}
	if diff := cmp.Diff(want, w.outcomes(first.ID)); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// A rollback to what no longer works is rolled back itself.
func TestRollbackRollsBack(t *testing.T) {
	w := newWorld(t)
	first := w.create()
	w.behave("web:2", "02", says("v2"))
	w.update(first.ID, "web:2")
	w.engine.Image(pinned("01").Reference, exits())
	after := w.rollback(first.ID, 1)
	if got := after.Config.Source.Image.Identifier; got != "web:2" {
		t.Errorf("the service shows image %s", got)
	}
	w.wantServing(after, "v2", apron.OperationRollbackSucceeded)
}

// A service that could not be created has no history to go back to, only the reason.
func TestOutcomeOfAFailedCreation(t *testing.T) {
	w := newWorld(t)
	w.behave("web:1", "01", exits())
	svc := w.begin(w.plane.CreateService(t.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
	list, err := w.store.Revisions(t.Context(), svc.ID)
	if err != nil || len(list) != 1 || list[0].Outcome != apron.RevisionFailed || list[0].Reason != w.last(svc.ID).Reason {
		t.Errorf("revisions %+v, %v", list, err)
	}
}

// What is older than the history is forgotten, with its images, served or not.
func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	w.reach(func(cfg *fleet.Config) { cfg.Revisions = 3 })
	svc := w.create()
	for n := 2; n <= 6; n++ {
		w.behave("web:2", fmt.Sprintf("%02d", n), says("v2"))
		w.update(svc.ID, "web:2")
	}
	w.behave("web:3", "99", exits())
	for range 5 {
		w.update(svc.ID, "web:3")
	}
	w.deploy(svc)
	w.wantSettled(svc.ID, 1)
	want := []string{"5 SUPERSEDED", "6 SUPERSEDED", "9 ROLLED_BACK", "10 ROLLED_BACK", "11 ROLLED_BACK", "12 DEPLOYED"}
	w.until(func() bool { return cmp.Diff(want, w.outcomes(svc.ID)) == "" }, "the history is %v", want)
	if _, _, err := w.plane.RollbackService(t.Context(), w.scope, svc.ARN().String(), 2); apron.KindOf(err) != apron.Invalid {
		t.Errorf("rollback to a forgotten revision: %v", err)
	}
	w.boot(nil) // a new control plane keeps what the history keeps
	w.wantSettled(svc.ID, 1)
	w.wantServing(w.rollback(svc.ID, 6), "v2", apron.OperationSucceeded)
	w.wantDeleted(w.begin(w.plane.DeleteService(t.Context(), w.scope, svc.ARN().String())))
}
