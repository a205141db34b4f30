package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// begin writes svc with an operation of type t on it, which deploys revision rev (empty: none). svc
// shows OPERATION_IN_PROGRESS from the moment the transaction commits. It is a State Fault when an
// operation on svc has not ended, whatever svc shows.
func (c *Control) begin(ctx context.Context, tx *store.Tx, svc *apron.Service, t apron.OperationType, rev apron.RevisionID) (apron.OperationID, error) {
	svc.Status = apron.ServiceOperationInProgress
	if err := tx.UpdateService(ctx, *svc); err != nil {
		return "", fmt.Errorf("update service: %w", err)
	}
	svc.UpdatedAt = tx.Now()
	op := c.newOperation(tx, *svc, t, rev)
	err := tx.InsertOperation(ctx, op)
	if errors.Is(err, store.ErrBusy) {
		return "", &apron.Fault{Kind: apron.State, Msg: "Another operation on the service is in progress.", Err: err}
	}
	if err != nil {
		return "", fmt.Errorf("insert operation: %w", err)
	}
	return op.ID, nil
}

// candidate gives svc a new revision of its configuration as the candidate. A zero image is
// resolved by the operation.
func candidate(ctx context.Context, tx *store.Tx, svc *apron.Service, image apron.Image) error {
	return candidateOf(ctx, tx, svc, apron.Revision{Image: image}, 0)
}

// candidateOf is candidate for a revision that runs what keep does, built or pulled; copied is the
// number of the revision it repeats, 0: none.
func candidateOf(ctx context.Context, tx *store.Tx, svc *apron.Service, keep apron.Revision, copied int) error {
	tags, err := tx.Tags(ctx, svc.ARN())
	if err != nil {
		return err
	}
	if svc.Config.Extensions, err = apron.ParseExtensions(tags); err != nil {
		return err
	}
	svc.Candidate = apron.RevisionID(newID())
	_, err = tx.InsertRevision(ctx, apron.Revision{
		ID: svc.Candidate, Service: svc.ID, Config: svc.Config, Image: keep.Image, Build: keep.Build, CopyOf: copied, CreatedAt: tx.Now(),
	})
	if err != nil {
		return fmt.Errorf("insert revision: %w", err)
	}
	return nil
}

// answer wakes the operation runner if an operation was begun, and returns what the client is told.
func (c *Control) answer(ctx context.Context, svc apron.Service, op apron.OperationID) (ServiceView, apron.OperationID, error) {
	if op != "" {
		c.cfg.Wake()
	}
	view, err := c.view(ctx, svc)
	return view, op, err
}
