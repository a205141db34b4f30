package operation

import (
	"context"
	"errors"

	"apron/store"
)

// errCanceled is why the step of an operation that is to be canceled ends.
var errCanceled = errors.New("the operation was canceled")

// canceledReason is what the user reads.
const canceledReason = "The operation was canceled."

// cancelAsked ends the steps of operations being run here that are to be canceled. Who asked has woken
// the runner; operations that nobody runs say so themselves when they are claimed.
func (r *Runner) cancelAsked(ctx context.Context) error {
	ids, err := r.cfg.Store.CanceledOperations(ctx, r.cfg.Name)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if o := r.running[id]; o != nil {
			o.cancel(errCanceled)
		}
	}
	return nil
}

// canceled reports whether the operation is to be canceled. It is asked after cancelAsked can find the
// operation, so that no request falls between the two.
func (x *execution) canceled(ctx context.Context) (bool, error) {
	if x.op.Canceled {
		return true, nil
	}
	op, err := x.runner.cfg.Store.Operation(ctx, x.op.ID)
	if errors.Is(err, store.ErrNotFound) {
		return false, store.ErrLost // its service was purged
	}
	return op.Canceled, err
}
