package control

import (
	"context"
	"fmt"
	"slices"

	"apron"
	"apron/store"
)

// Revisions returns the history of a service, oldest revision first, and the service. Faults: Invalid,
// NotFound.
func (c *Control) Revisions(ctx context.Context, scope apron.Scope, arn string) ([]apron.Revision, apron.Service, error) {
	svc, err := c.service(ctx, c.cfg.Store, scope, arn)
	if err != nil {
		return nil, apron.Service{}, err
	}
	list, err := c.cfg.Store.Revisions(ctx, svc.ID)
	return list, svc, err
}

// RollbackService records the deployment of a revision that has served before, by its number; 0 is the
// one that served last before the one that serves now. It makes a new revision with the old one's
// configuration and image, which is not looked up again: where its tag leads by now does not matter.
// What the old configuration refers to and has been deleted since is replaced by what the service
// refers to now. It returns the operation and the number of the revision that is deployed again.
// Faults: Invalid, NotFound, State.
func (c *Control) RollbackService(ctx context.Context, scope apron.Scope, arn string, number int) (apron.OperationID, int, error) {
	var op apron.OperationID
	var old apron.Revision
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := c.service(ctx, tx, scope, arn)
		if err != nil {
			return err
		}
		if !svc.Status.Allows(apron.OperationStartDeployment) {
			return apron.Faultf(apron.State, "Service cannot be rolled back in the current state: %s.", svc.Status)
		}
		revisions, err := tx.Revisions(ctx, svc.ID)
		if err != nil {
			return err
		}
		if old, err = target(svc, revisions, number); err != nil {
			return err
		}
		next, err := c.revive(ctx, tx, old.Config, svc.Config)
		if err != nil {
			return err
		}
		if next.Network.Public && !svc.Config.Network.Public {
			if err := c.refuseWithIngress(ctx, tx, svc); err != nil {
				return err
			}
		}
		svc.Config = next
		if err := candidateOf(ctx, tx, &svc, old, old.Number); err != nil {
			return err
		}
		op, err = c.begin(ctx, tx, &svc, apron.OperationStartDeployment, svc.Candidate)
		return err
	})
	if err != nil {
		return "", 0, err
	}
	c.cfg.Wake()
	return op, old.Number, nil
}

// target picks the revision to go back to. It is pure.
func target(svc apron.Service, revisions []apron.Revision, number int) (apron.Revision, error) {
	for _, rev := range slices.Backward(revisions) {
		switch {
		case number == 0 && rev.Outcome == apron.RevisionSuperseded:
			return rev, nil
		case number == 0 || rev.Number != number:
		case rev.ID == svc.Active:
			return apron.Revision{}, apron.Faultf(apron.Invalid, "Revision %d of service %s is the one that serves.", number, svc.Name)
		case !rev.Outcome.Served():
			return apron.Revision{}, apron.Faultf(apron.Invalid,
				"Revision %d of service %s has never served: its deployment failed.", number, svc.Name)
		default:
			return rev, nil
		}
	}
	if number == 0 {
		return apron.Revision{}, apron.Faultf(apron.Invalid, "Service %s has no earlier revision to go back to.", svc.Name)
	}
	return apron.Revision{}, apron.Faultf(apron.Invalid, "Service %s has no revision %d in its history.", svc.Name, number)
}

// revive returns an old configuration in which everything it refers to exists: what does not any more
// is as in the present one.
func (c *Control) revive(ctx context.Context, tx *store.Tx, old, now apron.ServiceConfiguration) (apron.ServiceConfiguration, error) {
	tracing := ""
	if old.Observability != nil {
		tracing = old.Observability.Configuration
	}
	for _, ref := range []struct {
		arn     string // empty: refers to nothing
		replace func()
	}{
		{old.AutoScaling.String(), func() { old.AutoScaling = now.AutoScaling }},
		{old.Network.VPCConnector, func() { old.Network.VPCConnector = now.Network.VPCConnector }},
		{old.Source.ConnectionARN, func() { old.Source.ConnectionARN = now.Source.ConnectionARN }},
		{tracing, func() { old.Observability = now.Observability }},
	} {
		if ref.arn == "" {
			continue
		}
		arn, err := apron.ParseARN(ref.arn)
		if err != nil {
			return apron.ServiceConfiguration{}, fmt.Errorf("reference of an old revision: %w", err)
		}
		there, err := tx.Exists(ctx, arn)
		if err != nil {
			return apron.ServiceConfiguration{}, err
		}
		if !there {
			ref.replace()
		}
	}
	return old, nil
}
