package apron

import "time"

// OperationID identifies an operation: a dashed, lower-case UUIDv4 of 36 characters.
type OperationID string

// OperationType is what an operation does (API shape OperationType).
type OperationType string

// The operation types.
const (
	OperationCreate          OperationType = "CREATE_SERVICE"
	OperationUpdate          OperationType = "UPDATE_SERVICE"
	OperationStartDeployment OperationType = "START_DEPLOYMENT"
	OperationPause           OperationType = "PAUSE_SERVICE"
	OperationResume          OperationType = "RESUME_SERVICE"
	OperationDelete          OperationType = "DELETE_SERVICE"
)

// OperationStatus is where an operation stands (API shape OperationStatus).
type OperationStatus string

// The operation statuses.
const (
	OperationPending            OperationStatus = "PENDING"
	OperationInProgress         OperationStatus = "IN_PROGRESS"
	OperationFailed             OperationStatus = "FAILED"
	OperationSucceeded          OperationStatus = "SUCCEEDED"
	OperationRollbackInProgress OperationStatus = "ROLLBACK_IN_PROGRESS"
	OperationRollbackFailed     OperationStatus = "ROLLBACK_FAILED"
	OperationRollbackSucceeded  OperationStatus = "ROLLBACK_SUCCEEDED"
)

// Final reports whether no further transition is possible.
func (s OperationStatus) Final() bool {
	switch s {
	case OperationFailed, OperationSucceeded, OperationRollbackFailed, OperationRollbackSucceeded:
		return true
	default:
		return false
	}
}

// CanBecome reports whether an operation may move from s to next. A status may always be written
// again, because every step may run twice.
func (s OperationStatus) CanBecome(next OperationStatus) bool {
	if s == next {
		return true
	}
	switch s {
	case OperationPending:
		return next == OperationInProgress || next == OperationFailed
	case OperationInProgress:
		return next == OperationSucceeded || next == OperationFailed || next == OperationRollbackInProgress
	case OperationRollbackInProgress:
		return next == OperationRollbackSucceeded || next == OperationRollbackFailed
	default:
		return false
	}
}

// Operation is one asynchronous change of a service. The store's operation table is the queue:
// an operation that is not Final is work to be done.
type Operation struct {
	ID       OperationID
	Service  ServiceID
	Type     OperationType
	Status   OperationStatus
	Revision RevisionID // the revision the operation deploys; empty for pause and delete

	// Step is the checkpoint: the name of the last step that completed, empty before the first.
	Step string
	// Attempt counts the tries of the step after Step; 0 before its first.
	Attempt int
	// Reason is why the operation failed, safe to show to the user; empty unless it did.
	Reason string
	// Canceled tells that somebody has asked that the operation end by undoing what it did.
	Canceled bool

	StartedAt time.Time
	UpdatedAt time.Time
	EndedAt   time.Time // zero until Status is final
	Deadline  time.Time // past it the operation fails
}
