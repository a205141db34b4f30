package deploy

import (
	"context"
	"fmt"
	"strings"

	"apron"
	"apron/logs"
	"apron/store"
)

// endRollout ends a rollout and says so: done if the revision serves, failed if it does not.
func (d *deployer) endRollout(done, failed string) endFunc {
	return func(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
		svc, err := tx.Service(ctx, op.Service)
		if err != nil {
			return err
		}
		if err := d.settle(ctx, tx, &svc, op, ok); err != nil {
			return err
		}
		if ok {
			d.events(op, statusLine(svc), done)
		} else {
			d.tellFailure(op, svc, failed)
		}
		return nil
	}
}

// settle gives a service the state it has after a rollout and writes it, with the outcome of the
// revisions concerned. Whatever serves then is running and its configuration is the service's; without
// anything that serves the service could not be created, and shows what was asked for.
func (d *deployer) settle(ctx context.Context, tx *store.Tx, svc *apron.Service, op apron.Operation, ok bool) error {
	if err := recordOutcomes(ctx, tx, *svc, op, ok); err != nil {
		return err
	}
	svc.Status, svc.Candidate = apron.ServiceRunning, ""
	switch {
	case svc.Active == "":
		svc.Status = apron.ServiceCreateFailed
	case !ok:
		active, err := tx.Revision(ctx, svc.Active)
		if err != nil {
			return fmt.Errorf("read active revision: %w", err)
		}
		svc.Config = active.Config
	}
	return tx.UpdateService(ctx, *svc)
}

// recordOutcomes records what became of the operation's revision and of the one that served before it.
// A revision that could not be gone back from serves, whatever went wrong.
func recordOutcomes(ctx context.Context, tx *store.Tx, svc apron.Service, op apron.Operation, ok bool) error {
	switch {
	case !ok && svc.Active == "":
		return tx.SetRevisionOutcome(ctx, op.Revision, apron.RevisionFailed, op.Reason)
	case !ok && svc.Active != op.Revision:
		return tx.SetRevisionOutcome(ctx, op.Revision, apron.RevisionRolledBack, op.Reason)
	}
	if err := tx.SetRevisionOutcome(ctx, op.Revision, apron.RevisionDeployed, op.Reason); err != nil {
		return err
	}
	if svc.Candidate == "" || svc.Candidate == op.Revision {
		return nil
	}
	return tx.SetRevisionOutcome(ctx, svc.Candidate, apron.RevisionSuperseded, "")
}

// tellFailure says why a rollout failed and what has become of the service.
func (d *deployer) tellFailure(op apron.Operation, svc apron.Service, failed string) {
	if svc.Config.Source.Image != nil {
		d.detail(op, "Failed to deploy your application image.")
	}
	d.detail(op, op.Reason)
	d.events(op,
		op.Reason,
		fmt.Sprintf("Deployment with ID : %s failed. Failure reason : %s", logs.ShortID(op.ID), firstLine(op.Reason)),
		failed,
		statusLine(svc))
}

// statusLine is App Runner's line for a service's new status.
func statusLine(svc apron.Service) string {
	return fmt.Sprintf("Service status is set to %s.", svc.Status)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
