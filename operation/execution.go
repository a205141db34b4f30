package operation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"apron"
	"apron/store"
)

// execution is one operation being worked on under one lease, by one goroutine.
type execution struct {
	runner *Runner
	plan   Plan
	lease  store.Lease
	op     apron.Operation // as last stored
	log    *slog.Logger
}

// endStep is what the logs and reasons call the end of an operation.
const endStep = "end"

// panicError is what a step's panic becomes.
type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// run goes on after the checkpoint. steps is ctx, and ends also when the operation is canceled. A nil
// error means that the store says what comes next.
func (x *execution) run(ctx, steps context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(x.plan.Steps) == 0 {
		return fmt.Errorf("no plan for operations of type %s", x.op.Type)
	}
	if x.lease.Undoing {
		return x.undo(ctx)
	}
	if x.op.Step == "" {
		x.log.Info("operation started")
	}
	canceled, err := x.canceled(ctx)
	if err != nil {
		return err
	}
	if canceled {
		return x.turnRound(ctx, nextStep(x.plan.Steps, x.op.Step), canceledReason, errCanceled)
	}
	dctx, cancel := steps, context.CancelFunc(func() {})
	if !x.op.Deadline.IsZero() {
		dctx, cancel = context.WithTimeout(steps, x.op.Deadline.Sub(x.runner.cfg.Now()))
	}
	defer cancel()
	list := x.plan.Steps
	for i := next(list, x.op.Step); i < len(list); i++ {
		err := context.Cause(dctx)
		if err == nil {
			err = x.try(dctx, list[i], list[i].Timeout)
		}
		if err != nil {
			return x.stepFailed(ctx, dctx, list[i].Name, err)
		}
		if err := x.checkpoint(ctx, list[i].Name); err != nil {
			return err
		}
	}
	err = x.end(ctx, apron.OperationSucceeded, true)
	if err == nil || errors.Is(err, store.ErrLost) {
		return err
	}
	x.op.Attempt++
	return x.stepFailed(ctx, dctx, endStep, err)
}

// try runs a step once. A panic is an error.
func (x *execution) try(ctx context.Context, step Step, timeout time.Duration) (err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	x.op.Attempt++
	started := x.runner.cfg.Now()
	defer func() {
		if value := recover(); value != nil {
			x.log.Error("step panicked", "step", step.Name, "panic", value, "stack", string(debug.Stack()))
			err = panicError{value}
		}
		x.log.Debug("step returned", "step", step.Name, "attempt", x.op.Attempt,
			"took", x.runner.cfg.Now().Sub(started), "err", err)
	}()
	return step.Run(ctx, x.op)
}

// stepFailed decides what a failed try means: another try later, or failure for good. ctx ends with
// the runner or the lease, dctx also when the operation is canceled and at its deadline.
func (x *execution) stepFailed(ctx, dctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	attempt, reason := x.op.Attempt, ""
	var (
		fault    *apron.Fault
		panicked panicError
	)
	switch {
	case errors.Is(context.Cause(dctx), errCanceled):
		reason = canceledReason
	case errors.As(err, &fault) && fault.Msg != "":
		reason = fault.Msg
	case errors.As(err, &panicked):
		reason = fmt.Sprintf("Internal error in step %q. The server's log has the details.", step)
	case dctx.Err() != nil:
		reason = fmt.Sprintf("The operation was not done in the %s it may take. It was in step %q.",
			x.op.Deadline.Sub(x.op.StartedAt).Round(time.Millisecond), step)
	case fault != nil || attempt >= x.runner.cfg.Attempts:
		reason = fmt.Sprintf("Step %q failed %d times. The server's log has the details.", step, attempt)
	default:
		return x.retry(ctx, step, err)
	}
	return x.turnRound(ctx, step, reason, err)
}

// turnRound records that the operation has failed, and why, and undoes what it did.
func (x *execution) turnRound(ctx context.Context, step, reason string, cause error) error {
	x.log.Warn("operation failed", "step", step, "attempt", x.op.Attempt, "err", cause)
	if err := x.fail(ctx, reason); err != nil {
		return err
	}
	return x.undo(ctx)
}

// undo runs the undo steps and ends the operation as failed.
func (x *execution) undo(ctx context.Context) error {
	steps := x.plan.Undo
	undone := true
	for i := next(steps, x.op.Step); i < len(steps); i++ {
		timeout := steps[i].Timeout
		if timeout == 0 {
			timeout = x.runner.cfg.UndoTimeout
		}
		err := x.try(ctx, steps[i], timeout)
		switch {
		case err == nil && undone:
			if err := x.checkpoint(ctx, steps[i].Name); err != nil {
				return err
			}
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case undone && x.op.Attempt < x.runner.cfg.UndoAttempts:
			return x.retry(ctx, steps[i].Name, err)
		default:
			// Given up. The steps after it have one chance each, without checkpoints: after a crash
			// this one is tried again first, so that nothing forgets that it failed.
			x.log.Error("undo step given up", "step", steps[i].Name, "attempt", x.op.Attempt, "err", err)
			undone = false
		}
	}
	err := x.end(ctx, failed(x.op.Status, undone), false)
	if err == nil || errors.Is(err, store.ErrLost) || ctx.Err() != nil {
		return err
	}
	x.op.Attempt = min(x.op.Attempt+1, x.runner.cfg.UndoAttempts)
	return x.retry(ctx, endStep, err) // for as long as it takes: nothing else can free the service
}
