package deploy

import (
	"context"
	"fmt"

	"apron"
	"apron/operation"
	"apron/store"
)

// pause is PAUSE_SERVICE: no more requests, then no more instances. The image and everything
// configured stay. When it fails the service runs on.
func (d *deployer) pause() operation.Plan {
	return operation.Plan{
		Steps: []operation.Step{
			{Name: "suspend", Run: d.suspend},
			{Name: "park", Run: d.park},
		},
		Undo: []operation.Step{
			{Name: "reinstate", Run: d.reinstate},
		},
		End: d.endPause,
	}
}

// suspend takes the service off the router: after it, a restart does not bring it back.
func (d *deployer) suspend(ctx context.Context, op apron.Operation) error {
	d.events(op, "Service status is set to OPERATION_IN_PROGRESS.", "Service pause started.")
	if err := d.Fleet.Withdraw(ctx, op.Service); err != nil {
		return fmt.Errorf("withdraw routes: %w", err)
	}
	return d.activate(ctx, op.Service, "")
}

// park drains and stops the instances of a service that is off the router.
func (d *deployer) park(ctx context.Context, op apron.Operation) error {
	rev, err := d.kept(ctx, op)
	if err != nil {
		return err
	}
	return d.Fleet.Park(ctx, rev)
}

// reinstate makes a service that could not be paused serve again.
func (d *deployer) reinstate(ctx context.Context, op apron.Operation) error {
	svc, err := d.Store.Service(ctx, op.Service)
	if err != nil {
		return fmt.Errorf("read service: %w", err)
	}
	rev, err := d.kept(ctx, op)
	if err != nil {
		return err
	}
	if err := d.Fleet.Reinstate(ctx, svc, rev); err != nil {
		return fmt.Errorf("go back to revision %s: %w", rev.ID, err)
	}
	return d.activate(ctx, op.Service, rev.ID)
}

// kept returns the one revision of a service that is being paused or resumed.
func (d *deployer) kept(ctx context.Context, op apron.Operation) (apron.Revision, error) {
	svc, err := d.Store.Service(ctx, op.Service)
	if err != nil {
		return apron.Revision{}, fmt.Errorf("read service: %w", err)
	}
	rev, err := d.Store.Revision(ctx, keptID(svc))
	if err != nil {
		return apron.Revision{}, fmt.Errorf("read revision: %w", err)
	}
	return rev, nil
}

func keptID(svc apron.Service) apron.RevisionID {
	if svc.Active != "" {
		return svc.Active
	}
	return svc.Candidate
}

func (d *deployer) endPause(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return err
	}
	svc.Active, svc.Candidate = keptID(svc), ""
	if ok {
		svc.Status = apron.ServicePaused
		d.events(op, statusLine(svc), "Service pause completed successfully.")
	} else {
		svc.Status = apron.ServiceRunning
		d.events(op, op.Reason, "Service pause failed.", statusLine(svc))
	}
	return tx.UpdateService(ctx, svc)
}
