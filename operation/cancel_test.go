package operation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"apron"
	"apron/operation"
	"apron/store"
	"apron/store/storetest"
)

// cancel asks for the end of the operation of a test that has only one.
func cancel(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.CancelOperation(t.Context(), operationID) }); err != nil {
		t.Fatal(err)
	}
}

// hangs returns a step that says that it runs and never ends by itself.
func hangs(running chan<- struct{}) func(context.Context, apron.Operation) error {
	return func(ctx context.Context, _ apron.Operation) error {
		running <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	}
}

func wantCanceled(t *testing.T, op apron.Operation) {
	t.Helper()
	if op.Status != apron.OperationFailed || op.Reason != "The operation was canceled." {
		t.Errorf("operation is %s because %q", op.Status, op.Reason)
	}
}

// Canceled while a step hangs, the operation undoes what it did; the step is told to end.
func TestCancel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		queue(t, s)
		j, running := &journal{}, make(chan struct{}, 1)
		h := start(t, s, operation.Plan{
			Steps: []operation.Step{j.step("one", nil), j.step("two", hangs(running)), j.step("three", nil)},
			Undo:  []operation.Step{j.step("undo", nil)},
		}, nil)
		<-running
		cancel(t, s)
		h.Wake()
		wantCanceled(t, h.result(t))
		wantJournal(t, j, "one#1", "two#1", "undo#1")
	})
}

// A step that comes to its end in spite of it is done, but the next one is not begun.
func TestCancelBetweenSteps(t *testing.T) {
	s := storetest.Open(t)
	queue(t, s)
	j, running := &journal{}, make(chan struct{})
	h := start(t, s, operation.Plan{
		Steps: []operation.Step{j.step("one", func(ctx context.Context, _ apron.Operation) error {
			close(running)
			<-ctx.Done()
			return nil
		}), j.step("two", nil)},
		Undo: []operation.Step{j.step("undo", nil)},
	}, nil)
	<-running
	cancel(t, s)
	h.Wake()
	wantCanceled(t, h.result(t))
	wantJournal(t, j, "one#1", "undo#1")
}

// Nobody works on it: it was never begun, or waits for another try, or its runner has died.
func TestCancelWhatNobodyRuns(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		queue(t, s)
		cancel(t, s)
		j := &journal{}
		plan := operation.Plan{Steps: []operation.Step{j.step("one", nil)}, Undo: []operation.Step{j.step("undo", nil)}}
		wantCanceled(t, start(t, s, plan, nil).result(t))
		wantJournal(t, j, "undo#1")
	})
	t.Run("in a long pause", func(t *testing.T) {
		s := storetest.Open(t)
		queue(t, s)
		j, failed := &journal{}, make(chan struct{}, 1)
		h := start(t, s, operation.Plan{
			Steps: []operation.Step{j.step("one", func(context.Context, apron.Operation) error {
				failed <- struct{}{}
				return errors.New("try again")
			})},
			Undo: []operation.Step{j.step("undo", nil)},
		}, func(cfg *operation.Config) { cfg.Backoff, cfg.MaxBackoff = time.Hour, time.Hour })
		<-failed
		cancel(t, s) // before or after it was given back
		h.Wake()
		wantCanceled(t, h.result(t))
		wantJournal(t, j, "one#1", "undo#1")
	})
	t.Run("after a crash", func(t *testing.T) {
		s := storetest.Open(t)
		queue(t, s)
		if _, err := s.Claim(t.Context(), "test", time.Hour); err != nil {
			t.Fatal(err)
		}
		cancel(t, s)
		j := &journal{}
		plan := operation.Plan{Steps: []operation.Step{j.step("one", nil)}, Undo: []operation.Step{j.step("undo", nil)}}
		wantCanceled(t, start(t, s, plan, nil).result(t))
		wantJournal(t, j, "undo#1")
	})
}

// What undoes already goes on with that, and keeps its reason.
func TestCancelWhileUndoing(t *testing.T) {
	s := storetest.Open(t)
	queue(t, s)
	j, undoing, proceed := &journal{}, make(chan struct{}), make(chan struct{})
	h := start(t, s, operation.Plan{
		Steps: []operation.Step{j.step("one", func(context.Context, apron.Operation) error { return apron.Faultf(apron.Invalid, "It exits.") })},
		Undo: []operation.Step{j.step("undo", func(ctx context.Context, _ apron.Operation) error {
			close(undoing)
			select {
			case <-proceed:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})},
	}, nil)
	<-undoing
	cancel(t, s)
	h.Wake()
	close(proceed)
	if op := h.result(t); op.Status != apron.OperationFailed || op.Reason != "It exits." {
		t.Errorf("operation is %s because %q", op.Status, op.Reason)
	}
	wantJournal(t, j, "one#1", "undo#1")
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.CancelOperation(t.Context(), operationID) }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("cancel of an operation that has ended: %v", err)
	}
}

// On a database that several servers share, the one that runs the operation hears of it.
func TestCancelFromAnotherProcess(t *testing.T) {
	dsn := storetest.Postgres(t)
	s := storetest.OpenDSN(t, dsn)
	queue(t, s)
	j, running := &journal{}, make(chan struct{}, 1)
	h := start(t, s, operation.Plan{
		Steps: []operation.Step{j.step("one", hangs(running))}, Undo: []operation.Step{j.step("undo", nil)},
	}, nil)
	<-running
	cancel(t, storetest.OpenDSN(t, dsn))
	wantCanceled(t, h.result(t))
	wantJournal(t, j, "one#1", "undo#1")
}
