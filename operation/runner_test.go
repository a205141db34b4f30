package operation_test

import (
	"context"
	"errors"
	"fmt"
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

// What a step returns decides what becomes of the operation.
func TestFailures(t *testing.T) {
	fault := apron.Faultf(apron.Invalid, "No such image.")
	fault.Err = errors.New("secret detail")
	for name, tc := range map[string]struct {
		run    func(ctx context.Context, op apron.Operation) error
		failed apron.OperationStatus
		tries  int
		status apron.OperationStatus
		reason string
	}{
		"fault": {
			func(context.Context, apron.Operation) error { return fmt.Errorf("resolve: %w", fault) },
			apron.OperationFailed, 1, apron.OperationFailed, "No such image.",
		},
		"zero Failed": {
			func(context.Context, apron.Operation) error { return fault },
			"", 1, apron.OperationFailed, "No such image.",
		},
		"fault, rolled back": {
			func(context.Context, apron.Operation) error { return fault },
			apron.OperationRollbackSucceeded, 1, apron.OperationRollbackSucceeded, "No such image.",
		},
		"passing": {
			func(_ context.Context, op apron.Operation) error {
				if op.Attempt < 3 {
					return errors.New("secret detail")
				}
				return nil
			},
			apron.OperationFailed, 3, apron.OperationSucceeded, "",
		},
		"lasting": {
			func(context.Context, apron.Operation) error { return errors.New("secret detail") },
			apron.OperationFailed, 4, apron.OperationFailed, `Step "two" failed 4 times. The server's log has the details.`,
		},
		"panic": {
			func(context.Context, apron.Operation) error { panic("secret detail") },
			apron.OperationFailed, 1, apron.OperationFailed, `Internal error in step "two". The server's log has the details.`,
		},
		"long reason": {
			func(context.Context, apron.Operation) error {
				return apron.Faultf(apron.Invalid, "%s", strings.Repeat("x", 2*store.MaxReason))
			},
			apron.OperationFailed, 1, apron.OperationFailed, strings.Repeat("x", store.MaxReason-3) + "…",
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				queue(t, s)
				j := &journal{}
				op := start(t, s, operation.Plan{
					Steps: []operation.Step{j.step("one", nil), j.step("two", tc.run)},
					Undo:  []operation.Step{j.step("undo", nil)}, Failed: tc.failed,
				}, func(cfg *operation.Config) { cfg.Attempts = 4 }).result(t)
				if op.Status != tc.status || op.Reason != tc.reason {
					t.Errorf("got %s, %.200q; want %s, %.200q", op.Status, op.Reason, tc.status, tc.reason)
				}
				want := []string{"one#1"}
				for n := range tc.tries {
					want = append(want, fmt.Sprintf("two#%d", n+1))
				}
				if tc.status != apron.OperationSucceeded {
					want = append(want, "undo#1")
				}
				wantJournal(t, j, want...)
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	s := storetest.Open(t)
	queue(t, s)
	j, pauses := &journal{}, &journal{}
	start(t, s, operation.Plan{
		Steps: []operation.Step{j.step("one", func(context.Context, apron.Operation) error { return errors.New("no") })},
	}, func(cfg *operation.Config) {
		cfg.Attempts, cfg.Backoff, cfg.MaxBackoff = 6, 100*time.Millisecond, time.Second
		cfg.Jitter = func(d time.Duration) time.Duration { pauses.add("%v", d); return 1 }
	}).result(t)
	wantJournal(t, pauses, "100ms", "200ms", "400ms", "800ms", "1s")
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

func TestUndoGivenUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		queue(t, s)
		j := &journal{}
		op := start(t, s, operation.Plan{
			Steps: []operation.Step{j.step("one", func(context.Context, apron.Operation) error {
				return apron.Faultf(apron.Invalid, "no")
			})},
			Undo: []operation.Step{
				j.step("first", nil),
				j.step("second", func(context.Context, apron.Operation) error { return errors.New("stuck") }),
				j.step("third", nil),
			},
			Failed: apron.OperationRollbackSucceeded,
		}, func(cfg *operation.Config) { cfg.UndoAttempts = 2 }).result(t)
		if op.Status != apron.OperationRollbackFailed || op.Reason != "no" {
			t.Errorf("got %s, %q", op.Status, op.Reason)
		}
		// The last step has its chance though the one before it was given up.
		wantJournal(t, j, "one#1", "first#1", "second#1", "second#2", "third#3")
	})
}

// An end that cannot be written is tried again, and when it never can after a success, the
// operation is undone instead.
func TestEndFails(t *testing.T) {
	for name, tc := range map[string]struct {
		end    func(calls int, ok bool) error
		status apron.OperationStatus
	}{
		"passing":       {func(calls int, _ bool) error { return unless(calls > 2) }, apron.OperationSucceeded},
		"on success":    {func(_ int, ok bool) error { return unless(!ok) }, apron.OperationFailed},
		"panic":         {func(_ int, ok bool) error { return must(unless(!ok)) }, apron.OperationFailed},
		"after failure": {func(calls int, ok bool) error { return unless(!ok && calls > 30) }, apron.OperationFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t)
			queue(t, s)
			calls := 0
			op := start(t, s, operation.Plan{
				Steps: []operation.Step{(&journal{}).step("one", nil)},
				End: func(_ context.Context, _ *store.Tx, _ apron.Operation, ok bool) error {
					calls++
					return tc.end(calls, ok)
				},
			}, func(cfg *operation.Config) { cfg.MaxBackoff = time.Millisecond }).result(t)
			if op.Status != tc.status {
				t.Errorf("got %s, %q; want %s", op.Status, op.Reason, tc.status)
			}
		})
	}
}

func unless(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("no")
}

func must(err error) error {
	if err != nil {
		panic(err)
	}
	return nil
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
