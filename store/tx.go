package store

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"
)

// Tx is one write transaction. It reads the clock once, so every row it writes agrees on the time.
// It is not safe for concurrent use and must not be kept after the func it was given to.
type Tx struct {
	reader
	tx  *sql.Tx
	now time.Time
}

// Now returns the time of the transaction: UTC, in whole microseconds, as both databases keep it.
func (t *Tx) Now() time.Time { return t.now }

// How often and how fast a transaction is tried again when another one was in its way.
const (
	maxTries   = 20
	firstPause = time.Millisecond
	maxPause   = 200 * time.Millisecond
)

// Tx runs fn in a transaction and commits it when fn returns nil. fn's error rolls it back and is
// returned as it is. Transactions see the database as if they ran one after the other; when the
// database finds that two would not have, one of them runs fn again: fn must start from nothing
// each time and have no effect outside the transaction that it cannot repeat.
func (s *Store) Tx(ctx context.Context, fn func(*Tx) error) error {
	return s.retry(ctx, func() error { return s.try(ctx, s.d.isolation, fn) })
}

func (s *Store) try(ctx context.Context, level sql.IsolationLevel, fn func(*Tx) error) error {
	tx, err := s.write.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to do after a commit; a failed one leaves nothing
	if err := fn(&Tx{reader: reader{d: s.d, q: tx}, tx: tx, now: s.clock()}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// retry calls fn until it succeeds or fails for a reason of its own.
func (s *Store) retry(ctx context.Context, fn func() error) error {
	pause := firstPause
	for tries := 1; ; tries++ {
		err := fn()
		if err == nil || !s.d.retryable(err) {
			return err
		}
		if tries == maxTries {
			return fmt.Errorf("gave up after %d tries: %w", tries, err)
		}
		//nolint:gosec // spreads out competing transactions, nothing secret about it
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w, while retrying: %w", context.Cause(ctx), err)
		case <-timer.C:
		}
		pause = min(2*pause, maxPause)
	}
}

// exec runs a statement and returns how many rows it changed.
func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return affected(t.tx.ExecContext(ctx, t.d.rewrite(query), args...))
}

// exec runs a statement in a transaction of its own and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.retry(ctx, func() error {
		n, err = affected(s.write.ExecContext(ctx, s.d.rewrite(query), args...))
		return err
	})
	return n, err
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
