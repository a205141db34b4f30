package control

import (
	"context"

	"apron"
	"apron/store"
)

// ResumeService records that a paused service is to serve again, with the version it had. A service
// that is running stays so: there is no operation then, and its id is empty. Faults: Invalid,
// NotFound, State.
func (c *Control) ResumeService(ctx context.Context, scope apron.Scope, arn string) (ServiceView, apron.OperationID, error) {
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
		if svc.Status == apron.ServiceRunning {
			return nil
		}
		if !svc.Status.Allows(apron.OperationResume) {
			return apron.Faultf(apron.State, "Service cannot be resumed in the current state: %s.", svc.Status)
		}
		// It does not serve until the operation has routed it: a restart in between must not do that.
		svc.Active, svc.Candidate = "", svc.Active
		op, err = c.begin(ctx, tx, &svc, apron.OperationResume, svc.Candidate)
		return err
	})
	if err != nil {
		return ServiceView{}, "", err
	}
	return c.answer(ctx, svc, op)
}
