package store

import (
	"context"
	"fmt"

	"apron"
)

// CancelOperation asks that an operation end by undoing what it did, and wakes the runners of other
// processes when the transaction commits. It changes nothing about one that is doing so already. One
// that nobody works on at the moment can be claimed at once. ErrNotFound: there is no such operation,
// or it has ended.
func (t *Tx) CancelOperation(ctx context.Context, id apron.OperationID) error {
	n, err := t.exec(ctx, `update operations set cancel_requested = 1,
		runnable_at = case when runner = '' and undoing = 0 then started_at else runnable_at end
		where id = ? and ended_at = 0`, string(id))
	if err := changed(n, err, "cancel operation", string(id)); err != nil {
		return err
	}
	return t.wake(ctx)
}

// CanceledOperations returns the operations a runner holds that are to be canceled and have not yet
// turned round.
func (r reader) CanceledOperations(ctx context.Context, runner string) ([]apron.OperationID, error) {
	var list []apron.OperationID
	err := r.rows(ctx, func(row scanner) error {
		var id apron.OperationID
		err := row.Scan(&id)
		list = append(list, id)
		return err
	}, `select id from operations where ended_at = 0 and cancel_requested = 1 and undoing = 0 and runner = ?`, runner)
	if err != nil {
		return nil, fmt.Errorf("canceled operations: %w", err)
	}
	return list, nil
}

// OpenOperation returns the service's operation that has not ended. ErrNotFound.
func (r reader) OpenOperation(ctx context.Context, service apron.ServiceID) (apron.Operation, error) {
	var op operationRow
	err := r.row(ctx, func(row scanner) error { return scanOperation(row, &op) },
		`select `+operationColumns+` from operations where service = ? and ended_at = 0`, string(service))
	if err != nil {
		return apron.Operation{}, fmt.Errorf("operation in progress of service %s: %w", service, err)
	}
	return op.Operation, nil
}
