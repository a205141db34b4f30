package operation_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/operation"
	"apron/store"
	"apron/store/storetest"
)

func wantJournal(t *testing.T, j *journal, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, j.all()); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

func TestSteps(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		queue(t, s)
		j := &journal{}
		plan := operation.Plan{
			Steps: []operation.Step{j.step("one", nil), j.step("two", nil)},
			Undo:  []operation.Step{j.step("undo", nil)},
			End: func(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
				j.add("end %s %t %t", op.Status, ok, op.EndedAt.IsZero())
				svc, err := tx.Service(ctx, op.Service)
				if err != nil {
					return err
				}
				svc.Status = apron.ServiceRunning
				return tx.UpdateService(ctx, svc)
			},
		}
		op := start(t, s, plan, func(cfg *operation.Config) {
			cfg.AfterStep = func(op apron.Operation, step string) {
				durable := stored(t, s, op.ID)
				j.add("checkpoint %s %s %s %d", step, op.Step, durable.Step, durable.Attempt)
			}
		}).result(t)
		wantJournal(t, j, "one#1", "checkpoint one one one 0", "two#1", "checkpoint two two two 0", "end SUCCEEDED true false")
		if op.Status != apron.OperationSucceeded || op.Reason != "" {
			t.Errorf("got %s, %q", op.Status, op.Reason)
		}
		if svc, err := s.Service(t.Context(), serviceID); err != nil || svc.Status != apron.ServiceRunning {
			t.Errorf("got service %s, %v", svc.Status, err)
		}
	})
}

func TestDeadline(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		queueN(t, s, 1, apron.OperationUpdate, 200*time.Millisecond)
		j := &journal{}
		op := start(t, s, operation.Plan{
			Steps: []operation.Step{j.step("one", nil), j.step("two", func(ctx context.Context, _ apron.Operation) error {
				<-ctx.Done()
				return ctx.Err()
			})},
			Undo: []operation.Step{j.step("undo", func(ctx context.Context, _ apron.Operation) error { return ctx.Err() })},
		}, nil).result(t)
		want := `The operation was not done in the 200ms it may take. It was in step "two".`
		if op.Status != apron.OperationFailed || op.Reason != want {
			t.Errorf("got %s, %q", op.Status, op.Reason)
		}
		wantJournal(t, j, "one#1", "two#1", "undo#1")
	})
}

// A deadline that passes while the operation waits for another try ends it then, not after the try.
func TestDeadlineDuringBackoff(t *testing.T) {
	s := storetest.Open(t)
	queueN(t, s, 1, apron.OperationUpdate, 200*time.Millisecond)
	j := &journal{}
	op := start(t, s, operation.Plan{
		Steps: []operation.Step{j.step("one", func(context.Context, apron.Operation) error { return errors.New("no") })},
	}, func(cfg *operation.Config) { cfg.Backoff, cfg.MaxBackoff = time.Hour, time.Hour }).result(t)
	if op.Status != apron.OperationFailed || !strings.Contains(op.Reason, `in step "one"`) {
		t.Errorf("got %s, %q", op.Status, op.Reason)
	}
	wantJournal(t, j, "one#1")
}

// A step that takes too long is tried again; the operation has time left.
func TestStepTimeout(t *testing.T) {
	s := storetest.Open(t)
	queue(t, s)
	j := &journal{}
	step := j.step("one", func(ctx context.Context, op apron.Operation) error {
		if op.Attempt == 1 {
			<-ctx.Done()
		}
		return ctx.Err()
	})
	step.Timeout = 50 * time.Millisecond
	op := start(t, s, operation.Plan{Steps: []operation.Step{step}}, nil).result(t)
	if op.Status != apron.OperationSucceeded {
		t.Errorf("got %s, %q", op.Status, op.Reason)
	}
	wantJournal(t, j, "one#1", "one#2")
}

func TestParallel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const operations, parallel = 7, 3
		for n := range operations {
			queueN(t, s, n, apron.OperationUpdate, time.Hour)
		}
		var now, most atomic.Int64
		full, release := make(chan struct{}, operations), make(chan struct{})
		h := start(t, s, operation.Plan{Steps: []operation.Step{(&journal{}).step("one", func(context.Context, apron.Operation) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			full <- struct{}{}
			<-release
			now.Add(-1)
			return nil
		})}}, func(cfg *operation.Config) { cfg.Parallel = parallel })
		for range parallel {
			<-full
		}
		close(release)
		for range operations {
			<-h.ended
		}
		if got := most.Load(); got != parallel {
			t.Errorf("%d operations ran at a time, want %d", got, parallel)
		}
	})
}

// An operation of a type without a plan is left for a version that has one.
func TestNoPlan(t *testing.T) {
	s := storetest.Open(t)
	id := queueN(t, s, 1, apron.OperationPause, time.Hour)
	queueN(t, s, 2, apron.OperationUpdate, time.Hour)
	start(t, s, operation.Plan{Steps: []operation.Step{(&journal{}).step("one", nil)}}, func(cfg *operation.Config) {
		cfg.Parallel = 1 // so the first one is done with when the second ends
	}).result(t)
	if op := stored(t, s, id); op.Status != apron.OperationInProgress || op.Reason != "" {
		t.Errorf("got %s, %q", op.Status, op.Reason)
	}
}
