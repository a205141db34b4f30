// Package operation is the durable runner of operations.
//
// The store's operation table is the queue. A [Runner] claims an operation under a lease, runs the
// steps its [Plan] lists in order, and records a checkpoint after each, so that after a crash it
// goes on with the first step that has no checkpoint. It knows no step's meaning; package deploy
// holds the plans. Every step may run twice and must be idempotent.
//
// A step that returns an apron.Fault has failed for good, and the Fault's message is what the user
// reads. Any other error is tried again with growing pauses until the attempts or the operation's
// deadline are used up. A failed operation runs the plan's undo steps, also across crashes, and
// then gets its final status in the same transaction that sets the service's.
//
// An operation can be canceled: the store is told, the runner is woken, the step that runs ends, and
// the undo steps follow as after a failure. An operation that is undoing already goes on with that.
//
// Nothing polls: [Runner.Wake], notifications of the store, and a timer for the end of the next
// back-off or lease say when to look for work.
package operation

import (
	"context"
	"time"

	"apron"
	"apron/store"
)

// Step is one checkpointed part of an operation. Its name is stored: renaming a step makes
// operations that are under way start over.
type Step struct {
	Name string
	// Run does the work. op is as the runner last stored it, with Attempt counting this try.
	Run func(ctx context.Context, op apron.Operation) error
	// Timeout limits one try. 0: the operation's deadline, or for an undo step Config.UndoTimeout.
	Timeout time.Duration
}

// Plan is what operations of one type do.
type Plan struct {
	Steps []Step
	// Undo runs, in order, once a step has failed for good or the deadline has passed. An undo step
	// that fails is tried again; after UndoAttempts the operation ends without the rest.
	Undo []Step
	// End runs in the transaction that ends the operation, after it has its final status, and sets
	// what depends on it, such as the service's status. It may run twice. nil: nothing to set.
	End func(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error
	// Rollback reports whether a failed operation of the type goes back to something that still
	// serves: then it shows ROLLBACK_IN_PROGRESS while it undoes and ends as ROLLBACK_SUCCEEDED, or
	// as ROLLBACK_FAILED if that cannot be done. It runs in the transaction that records the
	// failure, and may run twice. nil, or false: the operation ends as FAILED.
	Rollback func(ctx context.Context, tx *store.Tx, op apron.Operation) (bool, error)
}

// failed returns the final status of an operation that has the given one after its undo steps.
func failed(status apron.OperationStatus, undone bool) apron.OperationStatus {
	switch {
	case status != apron.OperationRollbackInProgress:
		return apron.OperationFailed
	case undone:
		return apron.OperationRollbackSucceeded
	default:
		return apron.OperationRollbackFailed
	}
}

// nextStep returns the name of the step after the checkpoint.
func nextStep(steps []Step, checkpoint string) string {
	if i := next(steps, checkpoint); i < len(steps) {
		return steps[i].Name
	}
	return endStep
}

// next returns the index of the step after the checkpoint: len(steps) when all are done, 0 when
// the checkpoint is empty or names a step that no longer exists.
func next(steps []Step, checkpoint string) int {
	for i, s := range steps {
		if s.Name == checkpoint {
			return i + 1
		}
	}
	return 0
}
