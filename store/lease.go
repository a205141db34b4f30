package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apron"
)

// Lease is one runner's right to work on one operation. It is a value: a write under it leaves it
// as it is, and fails with ErrLost once another lease of the operation was given out, even to the
// same runner.
type Lease struct {
	Operation apron.Operation // as it was when the lease was given
	Undoing   bool            // the operation has failed and is undoing what it did; Step is an undo step
	Runner    string
	Until     time.Time // the lease ends then unless it is renewed
	fence     int64
}

// Claim leases the oldest operation that can be run now to the runner, for ttl, and returns it in
// progress: one that has not ended, that nobody holds, and whose back-off is over. ErrNone: there
// is none. At most one runner holds an operation; a holder must Renew before ttl has passed, or
// stop. Safe for concurrent use, across processes whose clocks agree to much less than ttl.
func (s *Store) Claim(ctx context.Context, runner string, ttl time.Duration) (Lease, error) {
	var (
		op    operationRow
		until time.Time
	)
	err := s.retry(ctx, func() error {
		now := s.clock()
		until = now.Add(ttl)
		// One statement, so that the row is taken in the same instant as it is found.
		return reader{d: s.d, q: s.write}.row(ctx, func(row scanner) error { return scanOperation(row, &op) },
			`update operations set status = case status when 'PENDING' then 'IN_PROGRESS' else status end,
			runner = ?, fence = fence + 1, runnable_at = ?, updated_at = ?
			where id = (select id from operations where ended_at = 0 and runnable_at <= ?
				order by runnable_at, id limit 1`+s.d.lockClaim+`)
			returning `+operationColumns, runner, micros(until), micros(now), micros(now))
	})
	if errors.Is(err, ErrNotFound) {
		return Lease{}, ErrNone
	}
	if err != nil {
		return Lease{}, fmt.Errorf("claim an operation: %w", err)
	}
	return Lease{Operation: op.Operation, Undoing: op.undoing, Runner: runner, Until: until, fence: op.fence}, nil
}

// NextRunnable returns when the next operation becomes free to be claimed: now or earlier if one
// is, else when a back-off or a lease ends. false: no operation is waiting or being run.
func (s *Store) NextRunnable(ctx context.Context) (time.Time, bool, error) {
	var at int64
	err := s.row(ctx, func(r scanner) error { return r.Scan(&at) },
		`select runnable_at from operations where ended_at = 0 order by runnable_at, id limit 1`)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("next runnable operation: %w", err)
	}
	return fromMicros(at), true, nil
}

// Renew makes the lease end ttl from now and returns when that is. ErrLost.
func (s *Store) Renew(ctx context.Context, l Lease, ttl time.Duration) (time.Time, error) {
	until := s.clock().Add(ttl)
	n, err := s.exec(ctx, `update operations set runnable_at = ? where id = ? and runner = ? and fence = ? and ended_at = 0`,
		micros(until), string(l.Operation.ID), l.Runner, l.fence)
	return until, held(n, err, "renew lease of", l)
}

// Release gives the lease back, so that any runner can go on with the operation at once. ErrLost.
func (s *Store) Release(ctx context.Context, l Lease) error {
	return s.Tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `update operations set runner = '', runnable_at = started_at
			where id = ? and runner = ? and fence = ? and ended_at = 0`, string(l.Operation.ID), l.Runner, l.fence)
		if err := held(n, err, "release lease of", l); err != nil {
			return err
		}
		return t.wake(ctx)
	})
}

// ReleaseLeases gives back every lease of a runner that is known to be dead: a runner calls it for
// its own name when it starts.
func (s *Store) ReleaseLeases(ctx context.Context, runner string) error {
	err := s.Tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `update operations set runner = '', fence = fence + 1, runnable_at = started_at
			where runner = ? and ended_at = 0`, runner)
		if err != nil || n == 0 {
			return err
		}
		return t.wake(ctx)
	})
	if err != nil {
		return fmt.Errorf("release leases of runner %s: %w", runner, err)
	}
	return nil
}

// Checkpoint records that the step is done; the next one has not been tried yet. ErrLost.
func (t *Tx) Checkpoint(ctx context.Context, l Lease, step string) error {
	n, err := t.exec(ctx, `update operations set step = ?, attempt = 0, updated_at = ?
		where id = ? and runner = ? and fence = ? and ended_at = 0`,
		step, micros(t.now), string(l.Operation.ID), l.Runner, l.fence)
	return held(n, err, "checkpoint", l)
}

// RetryAt gives the lease back and has the operation run again not before at, or at once if it is to be
// canceled. attempt is how often the step after the checkpoint has been tried. ErrLost.
func (t *Tx) RetryAt(ctx context.Context, l Lease, at time.Time, attempt int) error {
	n, err := t.exec(ctx, `update operations set runner = '',
		runnable_at = case when cancel_requested = 1 and undoing = 0 then started_at else ? end, attempt = ?, updated_at = ?
		where id = ? and runner = ? and fence = ? and ended_at = 0`,
		micros(at), attempt, micros(t.now), string(l.Operation.ID), l.Runner, l.fence)
	return held(n, err, "retry", l)
}

// MaxReason is how many bytes of an operation's reason are kept at most.
const MaxReason = 16 << 10

// FailOperation records why the operation failed and turns it round for good: from now on it undoes
// what it did, from its first undo step. With rollback its status becomes ROLLBACK_IN_PROGRESS.
// The reason is cut after MaxReason bytes. ErrLost.
func (t *Tx) FailOperation(ctx context.Context, l Lease, reason string, rollback bool) error {
	op, err := t.heldOperation(ctx, l)
	if err != nil {
		return fmt.Errorf("fail operation %s: %w", l.Operation.ID, err)
	}
	status := op.Status
	if rollback {
		status = apron.OperationRollbackInProgress
	}
	if !op.Status.CanBecome(status) {
		return fmt.Errorf("fail operation %s: it is %s and cannot become %s", op.ID, op.Status, status)
	}
	_, err = t.exec(ctx, `update operations set status = ?, reason = ?, undoing = 1, step = '', attempt = 0, updated_at = ?
		where id = ?`, string(status), readable(reason, MaxReason), micros(t.now), string(op.ID))
	if err != nil {
		return fmt.Errorf("fail operation %s: %w", op.ID, err)
	}
	return nil
}

// EndOperation gives the operation its final status, ends the lease and returns the operation as it
// is then. The status must be final and one the operation can have next. ErrLost.
func (t *Tx) EndOperation(ctx context.Context, l Lease, status apron.OperationStatus) (apron.Operation, error) {
	op, err := t.heldOperation(ctx, l)
	if err != nil {
		return apron.Operation{}, fmt.Errorf("end operation %s: %w", l.Operation.ID, err)
	}
	if !status.Final() || !op.Status.CanBecome(status) {
		return apron.Operation{}, fmt.Errorf("end operation %s: it is %s and cannot become %s", op.ID, op.Status, status)
	}
	_, err = t.exec(ctx, `update operations set status = ?, runner = '', updated_at = ?, ended_at = ? where id = ?`,
		string(status), micros(t.now), micros(t.now), string(op.ID))
	if err != nil {
		return apron.Operation{}, fmt.Errorf("end operation %s: %w", op.ID, err)
	}
	op.Status, op.UpdatedAt, op.EndedAt = status, t.now, t.now
	return op.Operation, nil
}

// heldOperation reads the operation of a lease that still holds. ErrLost.
func (t *Tx) heldOperation(ctx context.Context, l Lease) (operationRow, error) {
	op, err := t.operation(ctx, l.Operation.ID, t.d.lockRow)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return operationRow{}, err
	}
	if err != nil || op.runner != l.Runner || op.fence != l.fence || !op.EndedAt.IsZero() {
		return operationRow{}, ErrLost
	}
	return op, nil
}

// held turns a write under a lease that changed nothing into ErrLost.
func held(n int64, err error, action string, l Lease) error {
	if err == nil && n == 0 {
		err = ErrLost
	}
	if err != nil {
		return fmt.Errorf("%s operation %s: %w", action, l.Operation.ID, err)
	}
	return nil
}
