package deploy

import (
	"context"

	"apron"
	"apron/operation"
	"apron/store"
)

// create is CREATE_SERVICE: the first deployment of a new service. When it fails the service stays,
// CREATE_FAILED, with its logs; nothing of it runs.
func (d *deployer) create() operation.Plan {
	return d.rollout(d.endCreate)
}

func (d *deployer) endCreate(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return err
	}
	if err := d.settle(ctx, tx, &svc, ok); err != nil {
		return err
	}
	if ok {
		d.events(op, statusLine(svc), "Service creation completed successfully.")
	} else {
		d.tellFailure(op, svc, "Service creation failed. For details, see service logs.")
	}
	return nil
}
