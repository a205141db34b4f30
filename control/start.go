package control

import (
	"context"

	"apron"
	"apron/store"
)

// StartDeployment records the deployment of the newest version of a service's source, also when
// that is the one that serves. Faults: Invalid, also for a service that is not running, because the
// action's error set has no other (reference/api.md §5.1); NotFound.
func (c *Control) StartDeployment(ctx context.Context, scope apron.Scope, arn string) (apron.OperationID, error) {
	var op apron.OperationID
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := c.service(ctx, tx, scope, arn)
		if err != nil {
			return err
		}
		if !svc.Status.Allows(apron.OperationStartDeployment) {
			return apron.Faultf(apron.Invalid, "Can't start a deployment on the specified service, because it isn't in RUNNING state")
		}
		if err := candidate(ctx, tx, &svc, apron.Image{}); err != nil {
			return err
		}
		op, err = c.begin(ctx, tx, &svc, apron.OperationStartDeployment, svc.Candidate)
		return err
	})
	if err != nil {
		return "", err
	}
	c.cfg.Wake()
	return op, nil
}
