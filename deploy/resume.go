package deploy

import (
	"context"
	"fmt"

	"apron"
	"apron/operation"
	"apron/store"
)

// resume is RESUME_SERVICE: the version that was paused serves again, without a build or a pull.
// When it fails the service stays paused.
func (d *deployer) resume() operation.Plan {
	return operation.Plan{
		Steps: []operation.Step{
			{Name: "provision", Run: d.provisionAgain},
			{Name: "route", Run: d.route},
		},
		Undo: []operation.Step{
			{Name: "withdraw", Run: d.withdraw},
			{Name: "park", Run: d.park, Timeout: Deadline(apron.OperationPause)},
		},
		End: d.endResume,
	}
}

// provisionAgain starts instances of a revision the engine has kept.
func (d *deployer) provisionAgain(ctx context.Context, op apron.Operation) error {
	d.events(op, "Service status is set to OPERATION_IN_PROGRESS.", "Service resume started.")
	_, rev, err := d.revision(ctx, op)
	if err != nil {
		return err
	}
	if err := d.Fleet.Prepare(ctx, rev); err != nil { // of use only if the engine lost its images
		return fmt.Errorf("prepare image %s: %w", rev.Image.Reference, err)
	}
	return d.provision(ctx, op)
}

// withdraw takes a service that could not be resumed off the router.
func (d *deployer) withdraw(ctx context.Context, op apron.Operation) error {
	if err := d.Fleet.Withdraw(ctx, op.Service); err != nil {
		return fmt.Errorf("withdraw routes: %w", err)
	}
	return d.activate(ctx, op.Service, "")
}

func (d *deployer) endResume(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return err
	}
	svc.Active, svc.Candidate = keptID(svc), ""
	if ok {
		svc.Status = apron.ServiceRunning
		d.events(op, statusLine(svc), "Service resume completed successfully.")
	} else {
		svc.Status = apron.ServicePaused
		d.events(op, op.Reason, "Service resume failed.", statusLine(svc))
	}
	return tx.UpdateService(ctx, svc)
}
