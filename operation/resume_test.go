package operation_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"testing"
	"time"

	"apron"
	"apron/operation"
	"apron/store"
	"apron/store/storetest"
)

// A runner that is stopped leaves its operation to the next one, at once and with its attempts.
func TestStopAndResume(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		queue(t, s)
		j := &journal{}
		running := make(chan struct{})
		first := start(t, s, operation.Plan{
			Steps: []operation.Step{j.step("one", nil), j.step("two", func(ctx context.Context, _ apron.Operation) error {
				close(running)
				<-ctx.Done()
				return apron.Faultf(apron.Invalid, "blamed on the user: %v", ctx.Err())
			})},
		}, nil)
		<-running
		first.stop()
		op := stored(t, s, operationID)
		if op.Status != apron.OperationInProgress || op.Step != "one" || op.Attempt != 0 {
			t.Errorf("after the stop: got %s, step %q, attempt %d", op.Status, op.Step, op.Attempt)
		}
		op = start(t, s, operation.Plan{
			Steps: []operation.Step{j.step("one", nil), j.step("two", nil)},
		}, func(cfg *operation.Config) { cfg.Name = "another" }).result(t)
		if op.Status != apron.OperationSucceeded {
			t.Errorf("got %s, %q", op.Status, op.Reason)
		}
		wantJournal(t, j, "one#1", "two#1", "two#1")
	})
}

// A step that has done its work when the runner is stopped is not run again.
func TestStopAfterStep(t *testing.T) {
	s := storetest.Open(t)
	queue(t, s)
	j := &journal{}
	running := make(chan struct{})
	first := start(t, s, operation.Plan{Steps: []operation.Step{
		j.step("one", func(ctx context.Context, _ apron.Operation) error { close(running); <-ctx.Done(); return nil }),
		j.step("two", nil),
	}}, nil)
	<-running
	first.stop()
	if op := stored(t, s, operationID); op.Step != "one" {
		t.Errorf("after the stop: got step %q", op.Step)
	}
	wantJournal(t, j, "one#1")
}

// Two runners, of which one is so late that the other takes its operation over: the step of the
// late one is told to stop, and nothing it does any more counts.
func TestLostLease(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.OpenDSN(t, dsn)
		queue(t, s)
		j := &journal{}
		running, taken, told := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		late := start(t, s, operation.Plan{Steps: []operation.Step{
			j.step("one", func(ctx context.Context, _ apron.Operation) error {
				close(running)
				<-ctx.Done()
				told <- context.Cause(ctx)
				<-taken
				return nil
			}),
			j.step("two", nil),
		}}, func(cfg *operation.Config) { cfg.Name, cfg.LeaseTTL = "late", 300*time.Millisecond })
		<-running

		// The clock of the other's store is ahead, so that the lease has ended there.
		ahead := func() time.Time { return time.Now().Add(30 * time.Minute) }
		other := start(t, storetest.OpenDSN(t, dsn, store.WithNow(ahead)), operation.Plan{Steps: []operation.Step{
			j.step("one", func(context.Context, apron.Operation) error {
				if cause := <-told; !errors.Is(cause, store.ErrLost) {
					t.Errorf("the late step ended with %v, want ErrLost", cause)
				}
				close(taken)
				return nil
			}),
			j.step("two", nil),
		}}, func(cfg *operation.Config) { cfg.Name, cfg.Now = "other", ahead })
		op := other.result(t)
		late.stop()
		if op.Status != apron.OperationSucceeded || op.Step != "two" {
			t.Errorf("got %s, step %q, %q", op.Status, op.Step, op.Reason)
		}
		wantJournal(t, j, "one#1", "one#1", "two#1")
	})
}

// A machine that slept past the end of the lease claims its own operation again: the step that is
// still running is told to stop and has returned before the operation goes on.
func TestSleep(t *testing.T) {
	slept := make(chan struct{})
	now := func() time.Time {
		select {
		case <-slept:
			return time.Now().Add(10 * time.Minute)
		default:
			return time.Now()
		}
	}
	s := storetest.Open(t, store.WithNow(now))
	queue(t, s)
	j := &journal{}
	running, old := make(chan struct{}), true
	h := start(t, s, operation.Plan{Steps: []operation.Step{
		j.step("one", func(ctx context.Context, _ apron.Operation) error {
			if !old { // not a race, as nothing runs twice at a time
				return nil
			}
			close(running)
			<-ctx.Done()
			j.add("told: %v", context.Cause(ctx))
			old = false
			return ctx.Err()
		}),
	}}, func(cfg *operation.Config) { cfg.Now, cfg.LeaseTTL = now, 300*time.Millisecond })
	<-running
	close(slept)
	h.Wake()
	if op := h.result(t); op.Status != apron.OperationSucceeded {
		t.Errorf("got %s, %q", op.Status, op.Reason)
	}
	if got := j.all(); len(got) != 3 || got[1] != "told: "+store.ErrLost.Error() {
		t.Errorf("got %q", got)
	}
}

// A slow step keeps its lease for as long as it runs, and so does one that undoes.
func TestRenew(t *testing.T) {
	for name, undo := range map[string]bool{"step": false, "undo": true} {
		t.Run(name, func(t *testing.T) {
			storetest.EachDSN(t, func(t *testing.T, dsn string) {
				s := storetest.OpenDSN(t, dsn)
				queue(t, s)
				const ttl = 2 * time.Second // long beside what a busy machine takes to renew
				j, running := &journal{}, make(chan struct{})
				slow := j.step("slow", func(ctx context.Context, _ apron.Operation) error {
					close(running)
					timer := time.NewTimer(ttl + ttl/2) // without renewal the rival would have it
					defer timer.Stop()
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-timer.C:
						return nil
					}
				})
				plan := operation.Plan{Steps: []operation.Step{slow}}
				if undo {
					plan.Undo = plan.Steps
					plan.Steps = []operation.Step{{Name: "fail", Run: func(context.Context, apron.Operation) error {
						return apron.Faultf(apron.Invalid, "It exits.")
					}}}
				}
				h := start(t, s, plan, func(cfg *operation.Config) { cfg.LeaseTTL = ttl })
				<-running
				rival := start(t, storetest.OpenDSN(t, dsn), operation.Plan{Steps: []operation.Step{j.step("rival", nil)}},
					func(cfg *operation.Config) { cfg.Name = "rival" })
				h.result(t)
				rival.stop()
				wantJournal(t, j, "slow#1")
			})
		})
	}
}

// An operation queued by another process is run at once.
func TestWokenByStore(t *testing.T) {
	dsn := storetest.Postgres(t)
	s := storetest.OpenDSN(t, dsn)
	queueN(t, s, 1, apron.OperationUpdate, time.Hour)
	h := start(t, s, operation.Plan{Steps: []operation.Step{(&journal{}).step("one", nil)}}, nil)
	<-h.ended // the runner is there, and will have nothing to do
	queueN(t, storetest.OpenDSN(t, dsn), 2, apron.OperationUpdate, time.Hour)
	<-h.ended
}

// A runner whose connection for notifications breaks makes a new one and has missed nothing.
func TestWokenAfterReconnect(t *testing.T) {
	dsn := storetest.Postgres(t)
	name := rand.Text()
	s := storetest.OpenDSN(t, dsn+"&application_name="+name)
	queueN(t, s, 1, apron.OperationUpdate, time.Hour)
	h := start(t, s, operation.Plan{Steps: []operation.Step{(&journal{}).step("one", nil)}}, nil)
	<-h.ended
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for broken := 0; broken == 0; { // it may not be listening yet
		err := db.QueryRowContext(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where application_name = $1 and query like 'listen %'`, name).Scan(&broken)
		if err != nil {
			t.Fatal(err)
		}
	}
	queueN(t, storetest.OpenDSN(t, dsn), 2, apron.OperationUpdate, time.Hour)
	<-h.ended
}
