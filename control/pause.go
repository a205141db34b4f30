package control

import (
	"context"

	"apron"
	"apron/store"
)

// PauseService records that a service's instances are to be stopped. A service that is paused stays
// so: there is no operation then, and its id is empty. Faults: Invalid, NotFound, State.
func (c *Control) PauseService(ctx context.Context, scope apron.Scope, arn string) (ServiceView, apron.OperationID, error) {
	var (
		svc apron.Service
		op  apron.OperationID
	)
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		var err error
		if svc, err = c.service(ctx, tx, scope, arn); err != nil {
			return err
		}
		op = "" // the transaction may run again
		if svc.Status == apron.ServicePaused {
			return nil
		}
		if !svc.Status.Allows(apron.OperationPause) {
			return apron.Faultf(apron.State, "Service cannot be paused in the current state: %s.", svc.Status)
		}
		op, err = c.begin(ctx, tx, &svc, apron.OperationPause, "")
		return err
	})
	if err != nil {
		return ServiceView{}, "", err
	}
	return c.answer(ctx, svc, op)
}
