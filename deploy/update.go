package deploy

import (
	"context"
	"fmt"

	"apron"
	"apron/operation"
	"apron/store"
)

// update is UPDATE_SERVICE: a revision with the new configuration takes the place of the one that
// serves, without a request lost. When it fails the old one serves on and its configuration is the
// service's again. For a service that could not be created it is another attempt to.
func (d *deployer) update() operation.Plan {
	return d.rollout(d.endUpdate)
}

func (d *deployer) endUpdate(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return err
	}
	what, err := deployed(ctx, tx, svc)
	if err != nil {
		return err
	}
	done := fmt.Sprintf("Service update completed successfully. New %s deployed.", what)
	return d.endRollout(done, "Service update failed. For details, see service logs.")(ctx, tx, op, ok)
}

// deployed says what of a service an update has replaced.
func deployed(ctx context.Context, tx *store.Tx, svc apron.Service) (string, error) {
	if svc.Active == "" || svc.Candidate == "" {
		return "application and configuration is", nil
	}
	now, err := tx.Revision(ctx, svc.Active)
	if err != nil {
		return "", fmt.Errorf("read revision: %w", err)
	}
	before, err := tx.Revision(ctx, svc.Candidate)
	if err != nil {
		return "", fmt.Errorf("read revision: %w", err)
	}
	if now.Image.Digest == before.Image.Digest {
		return "configuration is", nil
	}
	return "application and configuration is", nil
}
