package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

const ttl = 30 * time.Second

func claim(t *testing.T, s *store.Store, runner string) store.Lease {
	t.Helper()
	l, err := s.Claim(t.Context(), runner, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wantNone checks that nothing can be claimed now, and when something can be.
func wantNone(t *testing.T, s *store.Store, at time.Time) {
	t.Helper()
	if l, err := s.Claim(t.Context(), "another", ttl); !errors.Is(err, store.ErrNone) {
		t.Fatalf("claim: got %s, %v; want ErrNone", l.Operation.ID, err)
	}
	next, ok, err := s.NextRunnable(t.Context())
	if err != nil || ok == at.IsZero() || !next.Equal(at) {
		t.Fatalf("next runnable: got %v, %t, %v; want %v", next, ok, err, at)
	}
}

func TestClaim(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		wantNone(t, s, time.Time{})
		insert(t, s, service(1), service(2))
		queue(t, s, operation(2, service(2).ID))
		c.advance(time.Second)
		queue(t, s, operation(1, service(1).ID))
		first := claim(t, s, "a")
		if first.Operation.ID != operation(2, "").ID {
			t.Errorf("got %s, want the oldest", first.Operation.ID)
		}
		if first.Operation.Status != apron.OperationInProgress || !first.Operation.UpdatedAt.Equal(c.now()) {
			t.Errorf("got %s, updated at %v", first.Operation.Status, first.Operation.UpdatedAt)
		}
		if want := c.now().Add(ttl); !first.Until.Equal(want) {
			t.Errorf("until: got %v, want %v", first.Until, want)
		}
		second := claim(t, s, "b")
		wantNone(t, s, first.Until)

		c.advance(ttl - time.Second)
		until, err := s.Renew(t.Context(), first, ttl)
		if err != nil || !until.Equal(c.now().Add(ttl)) {
			t.Errorf("renew: got %v, %v", until, err)
		}
		wantNone(t, s, second.Until)
		c.advance(time.Second) // the second lease has ended, the first has not
		taken := claim(t, s, "c")
		if taken.Operation.ID != second.Operation.ID {
			t.Errorf("got %s, want the one whose lease ended", taken.Operation.ID)
		}
		wantNone(t, s, until)
	}, store.WithNow(c.now))
}

func TestLostLease(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		queue(t, s, operation(1, service(1).ID))
		old := claim(t, s, "a")
		c.advance(ttl)
		current := claim(t, s, "a") // the same runner: its name alone must not do
		writes := map[string]func(context.Context, *store.Tx, store.Lease) error{
			"checkpoint": func(ctx context.Context, tx *store.Tx, l store.Lease) error { return tx.Checkpoint(ctx, l, "one") },
			"fail": func(ctx context.Context, tx *store.Tx, l store.Lease) error {
				return tx.FailOperation(ctx, l, "x", false)
			},
			"retry": func(ctx context.Context, tx *store.Tx, l store.Lease) error { return tx.RetryAt(ctx, l, c.now(), 1) },
			"end": func(ctx context.Context, tx *store.Tx, l store.Lease) error {
				_, err := tx.EndOperation(ctx, l, apron.OperationSucceeded)
				return err
			},
		}
		lost := func(l store.Lease) {
			t.Helper()
			for name, write := range writes {
				err := s.Tx(t.Context(), func(tx *store.Tx) error { return write(t.Context(), tx, l) })
				if !errors.Is(err, store.ErrLost) {
					t.Errorf("%s: got %v, want ErrLost", name, err)
				}
			}
			if _, err := s.Renew(t.Context(), l, ttl); !errors.Is(err, store.ErrLost) {
				t.Errorf("renew: got %v, want ErrLost", err)
			}
			if err := s.Release(t.Context(), l); !errors.Is(err, store.ErrLost) {
				t.Errorf("release: got %v, want ErrLost", err)
			}
		}
		lost(old)
		stranger := current
		stranger.Runner = "b"
		lost(stranger)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return writes["end"](ctx, tx, current) })
		lost(current)
	}, store.WithNow(c.now))
}

func TestCheckpointAndRetry(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		queue(t, s, operation(1, service(1).ID))
		l := claim(t, s, "a")
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.Checkpoint(ctx, l, "one") })
		at := c.now().Add(time.Minute)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.RetryAt(ctx, l, at, 2) })
		wantNone(t, s, at)
		c.advance(time.Minute)
		l = claim(t, s, "b")
		if l.Operation.Step != "one" || l.Operation.Attempt != 2 || l.Undoing {
			t.Errorf("got step %q, attempt %d, undoing %t", l.Operation.Step, l.Operation.Attempt, l.Undoing)
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.Checkpoint(ctx, l, "two") })
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.FailOperation(ctx, l, "why", true) })
		if err := s.Release(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		l = claim(t, s, "a") // at once
		op := l.Operation
		if !l.Undoing || op.Step != "" || op.Attempt != 0 || op.Reason != "why" || op.Status != apron.OperationRollbackInProgress {
			t.Errorf("got undoing %t, %+v", l.Undoing, op)
		}
	}, store.WithNow(c.now))
}

func TestReleaseLeases(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for n := range 3 {
			insert(t, s, service(n))
			queue(t, s, operation(n, service(n).ID))
			c.advance(time.Second)
		}
		dead, other := claim(t, s, "dead"), claim(t, s, "other")
		if err := s.ReleaseLeases(t.Context(), "dead"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Renew(t.Context(), dead, ttl); !errors.Is(err, store.ErrLost) {
			t.Errorf("renew a released lease: got %v, want ErrLost", err)
		}
		if again := claim(t, s, "next"); again.Operation.ID != dead.Operation.ID {
			t.Errorf("got %s, want the released one, which is the oldest", again.Operation.ID)
		}
		if _, err := s.Renew(t.Context(), other, ttl); err != nil {
			t.Errorf("renew the other's lease: %v", err)
		}
	}, store.WithNow(c.now))
}

// Every operation is claimed once, however many runners in however many processes ask for it.
func TestClaimConcurrently(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		const operations, runners = 40, 4
		first := storetest.OpenDSN(t, dsn)
		for n := range operations {
			insert(t, first, service(n))
			queue(t, first, operation(n, service(n).ID))
		}
		var (
			group sync.WaitGroup
			mu    sync.Mutex
			seen  = map[apron.OperationID]string{}
		)
		for r := range runners {
			s := storetest.OpenDSN(t, dsn)
			group.Go(func() {
				for {
					l, err := s.Claim(t.Context(), fmt.Sprint(r), ttl)
					if errors.Is(err, store.ErrNone) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if holder, twice := seen[l.Operation.ID]; twice {
						t.Errorf("%s was claimed by %s and %d", l.Operation.ID, holder, r)
					}
					seen[l.Operation.ID] = fmt.Sprint(r)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if len(seen) != operations {
			t.Errorf("%d operations were claimed, want %d", len(seen), operations)
		}
	})
}

// A notification reaches another process, and so does what was queued before it listened.
func TestWakes(t *testing.T) {
	dsn := storetest.Postgres(t)
	s, other := storetest.OpenDSN(t, dsn), storetest.OpenDSN(t, dsn)
	insert(t, s, service(1), service(2))
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{}, 100)
	result := make(chan error, 1)
	go func() { result <- other.Wakes(ctx, func() { woken <- struct{}{} }) }()
	<-woken // it listens
	for n := range 2 {
		queue(t, s, operation(n, service(n+1).ID))
		<-woken
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestWakesSQLite(t *testing.T) {
	s := storetest.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wakes(ctx, func() { t.Error("woken") }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
