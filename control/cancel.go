package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// CancelOperation asks that the operation in progress of the service arn names end at once by undoing
// what it did: an update or a deployment goes back to what served before, a creation ends as
// CREATE_FAILED, a paused service that was to be resumed stays paused and one that was to be paused
// runs on. A deletion cannot be undone: it ends as DELETE_FAILED, from where the service can be deleted
// again. It returns the operation and the service as they are now; the end takes as long as undoing does. An operation that
// is undoing already goes on with that. Faults: Invalid, NotFound, State (there is none in progress).
func (c *Control) CancelOperation(ctx context.Context, scope apron.Scope, arn string) (apron.Operation, apron.Service, error) {
	return c.cancel(ctx, func(tx *store.Tx) (op apron.Operation, svc apron.Service, err error) {
		if svc, err = c.service(ctx, tx, scope, arn); err != nil {
			return op, svc, err
		}
		op, err = tx.OpenOperation(ctx, svc.ID)
		if errors.Is(err, store.ErrNotFound) {
			err = apron.Faultf(apron.State, "Service %s has no operation in progress.", svc.Name)
		}
		return op, svc, err
	})
}

// CancelOperationByID is CancelOperation of the operation with the id. Faults: NotFound, State (it has
// ended).
func (c *Control) CancelOperationByID(ctx context.Context, scope apron.Scope, id apron.OperationID) (apron.Operation, apron.Service, error) {
	return c.cancel(ctx, func(tx *store.Tx) (op apron.Operation, svc apron.Service, err error) {
		if op, err = tx.Operation(ctx, id); err == nil {
			svc, err = tx.Service(ctx, op.Service)
		}
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && svc.Scope != scope:
			err = apron.Faultf(apron.NotFound, "Operation not found: %s", id)
		case err == nil && op.Status.Final():
			err = apron.Faultf(apron.State, "Operation %s has ended: it is %s.", id, op.Status)
		}
		return op, svc, err
	})
}

func (c *Control) cancel(
	ctx context.Context, find func(*store.Tx) (apron.Operation, apron.Service, error),
) (op apron.Operation, svc apron.Service, err error) {
	err = c.cfg.Store.Tx(ctx, func(tx *store.Tx) (err error) {
		if op, svc, err = find(tx); err != nil {
			return err
		}
		if err := tx.CancelOperation(ctx, op.ID); err != nil {
			return fmt.Errorf("cancel operation: %w", err)
		}
		op.Canceled = true
		return nil
	})
	if err != nil {
		return apron.Operation{}, apron.Service{}, err
	}
	c.cfg.Wake()
	return op, svc, nil
}
