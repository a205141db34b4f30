package deploy

import (
	"context"
	"fmt"

	"apron"
	"apron/operation"
	"apron/store"
)

// delete is DELETE_SERVICE: no more requests, then no more instances, then no more images. Logs and
// the record of the service stay for a while.
func (d *deployer) delete() operation.Plan {
	return operation.Plan{
		Steps: []operation.Step{
			{Name: "unroute", Run: d.unroute},
			{Name: "retire", Run: d.retireAll},
		},
		End: d.endDelete,
	}
}

// unroute takes the service off the router for good: after it, a restart does not bring it back.
func (d *deployer) unroute(ctx context.Context, op apron.Operation) error {
	d.events(op, "Service status is set to OPERATION_IN_PROGRESS.", "Service deletion started.")
	if err := d.Fleet.Withdraw(ctx, op.Service); err != nil {
		return fmt.Errorf("withdraw routes: %w", err)
	}
	return d.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := tx.Service(ctx, op.Service)
		if err != nil {
			return err
		}
		svc.Active, svc.Candidate = "", ""
		return tx.UpdateService(ctx, svc)
	})
}

// retireAll drains and removes every revision of the service.
func (d *deployer) retireAll(ctx context.Context, op apron.Operation) error {
	return d.Fleet.RetireAll(ctx, op.Service)
}

func (d *deployer) endDelete(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return err
	}
	if ok {
		svc.Status, svc.DeletedAt = apron.ServiceDeleted, tx.Now()
		d.events(op, "Service status is set to DELETED.", "Service deletion completed successfully.")
	} else {
		svc.Status = apron.ServiceDeleteFailed
		d.events(op, op.Reason, "Service deletion failed.", "Service status is set to DELETE_FAILED.",
			"A deletion cannot be undone. Delete the service again.")
	}
	return tx.UpdateService(ctx, svc)
}
