package operation_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/operation"
	"apron/store"
)

const (
	serviceID   = apron.ServiceID("00000000000000000000000000000001")
	operationID = apron.OperationID("00000000-0000-4000-8000-000000000001")
)

// queueN adds a service and an operation of type t on it.
func queueN(tb testing.TB, s *store.Store, n int, t apron.OperationType, limit time.Duration) apron.OperationID {
	tb.Helper()
	id := apron.OperationID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
	svc := apron.Service{
		ID: apron.ServiceID(fmt.Sprintf("%032d", n)), Scope: apron.Scope{Account: "123456789012", Region: "us-east-1"},
		Name: fmt.Sprintf("service-%d", n), Host: fmt.Sprintf("host%06d.us-east-1.apron.localhost", n),
		Status: apron.ServiceOperationInProgress,
	}
	err := s.Tx(tb.Context(), func(tx *store.Tx) error {
		if err := tx.InsertService(tb.Context(), svc, nil); err != nil {
			return err
		}
		return tx.InsertOperation(tb.Context(), apron.Operation{
			ID: id, Service: svc.ID, Type: t, Status: apron.OperationPending, Deadline: tx.Now().Add(limit),
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// queue adds the service and operation of a test that has only one.
func queue(tb testing.TB, s *store.Store) { queueN(tb, s, 1, apron.OperationUpdate, time.Hour) }

// journal collects what happened, in order. It is safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// step returns a step that writes itself to the journal and then does what run says; nil: nothing.
func (j *journal) step(name string, run func(ctx context.Context, op apron.Operation) error) operation.Step {
	return operation.Step{Name: name, Run: func(ctx context.Context, op apron.Operation) error {
		j.add("%s#%d", name, op.Attempt)
		if run == nil {
			return nil
		}
		return run(ctx, op)
	}}
}

// harness runs a runner and tells when an operation has ended.
type harness struct {
	store *store.Store
	ended chan apron.Operation // as End saw it; buffered
	stop  func()               // stops the runner and waits for it; may be called twice
	*operation.Runner
}

// start runs a runner with one plan for updates until stop is called or the test ends.
func start(t *testing.T, s *store.Store, plan operation.Plan, change func(*operation.Config)) *harness {
	t.Helper()
	h := &harness{store: s, ended: make(chan apron.Operation, 100)}
	end := plan.End
	plan.End = func(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
		if end != nil {
			if err := end(ctx, tx, op, ok); err != nil {
				return err
			}
		}
		h.ended <- op
		return nil
	}
	cfg := operation.Config{
		Store: s, Plans: map[apron.OperationType]operation.Plan{apron.OperationUpdate: plan},
		Name: "test", Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Backoff: time.Millisecond, Jitter: func(d time.Duration) time.Duration { return d },
	}
	if change != nil {
		change(&cfg)
	}
	h.Runner = operation.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	h.stop = func() { cancel(); group.Wait() }
	t.Cleanup(h.stop)
	return h
}

// result waits until the operation ends, stops the runner and returns the operation as stored.
func (h *harness) result(t *testing.T) apron.Operation {
	t.Helper()
	seen := <-h.ended
	h.stop() // returns after the transaction that ends it
	return stored(t, h.store, seen.ID)
}

func stored(t *testing.T, s *store.Store, id apron.OperationID) apron.Operation {
	t.Helper()
	op, err := s.Operation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return op
}
