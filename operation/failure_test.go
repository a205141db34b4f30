package operation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/operation"
	"apron/store"
	"apron/store/storetest"
)

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
					Undo:  []operation.Step{j.step("undo", nil)}, Rollback: rollback(tc.failed == apron.OperationRollbackSucceeded),
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

// rollback is a Plan.Rollback that always answers the same.
func rollback(yes bool) func(context.Context, *store.Tx, apron.Operation) (bool, error) {
	return func(context.Context, *store.Tx, apron.Operation) (bool, error) { return yes, nil }
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
			Rollback: rollback(true),
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
