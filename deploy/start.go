package deploy

import (
	"context"

	"apron"
	"apron/operation"
	"apron/store"
)

// start is START_DEPLOYMENT: instances of the newest version of the source take the place of those
// that serve, also when the version is the same. When it fails the old ones serve on.
func (d *deployer) start() operation.Plan {
	return d.rollout(d.endStart)
}

func (d *deployer) endStart(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return err
	}
	if err := d.settle(ctx, tx, &svc, ok); err != nil {
		return err
	}
	if ok {
		d.events(op, statusLine(svc), "Deployment completed successfully.")
	} else {
		d.tellFailure(op, svc, "Deployment failed. For details, see service logs.")
	}
	return nil
}
