package operation

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"apron"
	"apron/store"
)

// transact runs fn in a transaction that is not given up because the runner is being stopped: what
// was done must be recorded. The lease's fence keeps out one that was lost.
func (x *execution) transact(ctx context.Context, fn func(ctx context.Context, tx *store.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return x.runner.cfg.Store.Tx(ctx, func(tx *store.Tx) error { return fn(ctx, tx) })
}

// checkpoint records that a step is done.
func (x *execution) checkpoint(ctx context.Context, step string) error {
	err := x.transact(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.Checkpoint(ctx, x.lease, step)
	})
	if err != nil {
		return err
	}
	x.op.Step, x.op.Attempt = step, 0
	x.runner.cfg.AfterStep(x.op, step)
	return ctxCause(ctx)
}

// ctxCause returns why ctx is done, or nil while it is not.
func ctxCause(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// fail turns the operation round to its undo steps.
func (x *execution) fail(ctx context.Context, reason string) error {
	var rollback bool
	err := x.transact(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if rollback = false; x.plan.Rollback != nil {
			if rollback, err = x.plan.Rollback(ctx, tx, x.op); err != nil {
				return err
			}
		}
		return tx.FailOperation(ctx, x.lease, reason, rollback)
	})
	if err != nil {
		return err
	}
	x.op.Reason, x.op.Step, x.op.Attempt, x.lease.Undoing = reason, "", 0, true
	if rollback {
		x.op.Status = apron.OperationRollbackInProgress
	}
	return nil
}

// retry gives the operation back to be claimed again after a pause, though not past its deadline.
func (x *execution) retry(ctx context.Context, step string, cause error) error {
	pause := x.runner.backoff(x.op.Attempt)
	at := x.runner.cfg.Now().Add(pause)
	if d := x.op.Deadline; !x.lease.Undoing && !d.IsZero() && at.After(d) {
		at = d
	}
	x.log.Warn("step failed, will be tried again", "step", step, "attempt", x.op.Attempt, "retry_in", pause, "err", cause)
	return x.giveBack(ctx, at, x.op.Attempt)
}

// giveBack ends the lease; the operation can be claimed from the given time on.
func (x *execution) giveBack(ctx context.Context, at time.Time, attempt int) error {
	return x.transact(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.RetryAt(ctx, x.lease, at, attempt)
	})
}

// end gives the operation its final status, together with what its plan sets then.
func (x *execution) end(ctx context.Context, status apron.OperationStatus, ok bool) error {
	var op apron.Operation
	err := x.transact(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if op, err = tx.EndOperation(ctx, x.lease, status); err != nil || x.plan.End == nil {
			return err
		}
		defer func() {
			if value := recover(); value != nil {
				x.log.Error("end of operation panicked", "panic", value, "stack", string(debug.Stack()))
				err = panicError{value}
			}
		}()
		return x.plan.End(ctx, tx, op, ok)
	})
	if err != nil {
		return fmt.Errorf("end operation: %w", err)
	}
	x.log.Info("operation ended", "status", op.Status, "took", op.EndedAt.Sub(op.StartedAt))
	x.runner.cfg.Ended(op)
	return nil
}
