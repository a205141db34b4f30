package deploy

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/logs"
	"apron/operation"
	"apron/store"
)

// rollout is what creating, updating and deploying have in common: a revision is made to serve, in
// the place of the one that does, if any.
func (d *deployer) rollout(end endFunc) operation.Plan {
	return operation.Plan{
		Steps: []operation.Step{
			{Name: "resolve", Run: d.resolve},
			{Name: "build", Run: d.build},
			{Name: "prepare", Run: d.prepare},
			{Name: "provision", Run: d.provision},
			{Name: "route", Run: d.route},
			{Name: "retire", Run: d.retire},
		},
		Undo: []operation.Step{
			{Name: "revert", Run: d.revert},
			{Name: "discard", Run: d.discard},
		},
		End:      end,
		Rollback: hasPrevious,
	}
}

// hasPrevious reports whether there is a revision to go back to when the operation's own fails. A
// service that could not be created has none: its rebuild has just failed.
func hasPrevious(ctx context.Context, tx *store.Tx, op apron.Operation) (bool, error) {
	svc, err := tx.Service(ctx, op.Service)
	if err != nil {
		return false, fmt.Errorf("read service: %w", err)
	}
	if svc.Active == op.Revision { // the routes have been switched already
		return svc.Candidate != "", nil
	}
	return svc.Active != "", nil
}

// endFunc is operation.Plan.End.
type endFunc = func(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error

// resolve pins the image by content, so that moving the tag later changes nothing. A revision that
// came with its image keeps the one that serves.
func (d *deployer) resolve(ctx context.Context, op apron.Operation) error {
	svc, rev, err := d.revision(ctx, op)
	if err != nil {
		return err
	}
	d.tellStart(op, svc, rev)
	image := rev.Config.Source.Image
	if image != nil && len(image.Run.Secrets) > 0 {
		return noSecrets()
	}
	if image == nil || !rev.Image.IsZero() {
		return nil
	}
	d.events(op, fmt.Sprintf("Pulling image %s from ECR repository.", image.Identifier))
	d.detail(op, "Starting to pull your application image.")
	resolved, err := d.Images.Resolve(ctx, svc.Scope, image.Identifier)
	if err != nil {
		return fmt.Errorf("resolve image %s: %w", image.Identifier, d.passing(op, err))
	}
	err = d.Store.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.SetRevisionImage(ctx, rev.ID, resolved); err != nil {
			return err
		}
		return tx.NoteVersion(ctx, svc.ID, resolved.Digest)
	})
	if err != nil {
		return err
	}
	here, err := d.keepsImage(ctx, op, svc, resolved)
	if here {
		d.events(op, pulled)
	}
	return err
}

// pulled is App Runner's line for the end of a pull.
const pulled = "Successfully pulled your application image from ECR."

// keepsImage reports whether the operation is an update to the image that serves: nothing is pulled that
// is not there, and only the configuration is new.
func (d *deployer) keepsImage(ctx context.Context, op apron.Operation, svc apron.Service, image apron.Image) (bool, error) {
	if op.Type != apron.OperationUpdate || svc.Active == "" || svc.Active == op.Revision {
		return false, nil
	}
	active, err := d.Store.Revision(ctx, svc.Active)
	if err != nil {
		return false, fmt.Errorf("read active revision: %w", err)
	}
	return active.Image == image, nil
}

// tellStart says what has begun, and what is to be deployed.
func (d *deployer) tellStart(op apron.Operation, svc apron.Service, rev apron.Revision) {
	started, trigger := begun(op.Type)
	d.events(op, statusLine(svc), started)
	if op.Type == apron.OperationCreate && rev.Config.Source.Code != nil && rev.Config.Source.AutoDeployments {
		d.events(op, "Creating pipeline for automatic deployments.", "Successfully created pipeline for automatic deployments.")
	}
	d.events(op,
		fmt.Sprintf("Deployment with ID : %s started. Triggering event : %s", logs.ShortID(op.ID), trigger),
		artifact(rev.Config.Source))
	if rev.CopyOf != 0 {
		d.events(op, fmt.Sprintf("Going back to revision %d.", rev.CopyOf))
	}
}

// artifact is App Runner's line for what is deployed.
func artifact(s apron.SourceConfiguration) string {
	if c := s.Code; c != nil {
		return fmt.Sprintf("Deployment Artifact: [Repo Type: Source], [Repository: %s], [Branch: %s], [SourceDirectory: %s]",
			c.URL, c.Branch, c.SourceDirectory)
	}
	return fmt.Sprintf("Deployment Artifact: [Repo Type: %s], [Image URL: %s]", s.Image.Type, s.Image.Identifier)
}

// begun returns App Runner's line for the start of a rollout, and its name for what triggers one.
func begun(t apron.OperationType) (started, trigger string) {
	switch t {
	case apron.OperationUpdate:
		return "Service update started.", "SERVICE_UPDATE"
	case apron.OperationStartDeployment:
		return "Deployment started.", "SERVICE_DEPLOY"
	default:
		return "Service creation started.", "SERVICE_CREATE"
	}
}

// prepare copies the image into the engine: from here on the registry is not needed.
func (d *deployer) prepare(ctx context.Context, op apron.Operation) error {
	svc, rev, err := d.revision(ctx, op)
	if err != nil {
		return err
	}
	if err := d.Fleet.PrepareReporting(ctx, rev, d.pulling(op)); err != nil {
		return fmt.Errorf("pull image %s: %w", rev.Image.Reference, d.passing(op, err))
	}
	here, err := d.keepsImage(ctx, op, svc, rev.Image)
	if err != nil || here || rev.Config.Source.Code != nil {
		return err
	}
	d.events(op, pulled)
	d.detail(op, pulled+" Digest: "+rev.Image.Digest)
	return nil
}

// provision starts the first instances and waits until they pass the health check.
func (d *deployer) provision(ctx context.Context, op apron.Operation) error {
	_, rev, err := d.revision(ctx, op)
	if err != nil {
		return err
	}
	check, port := rev.Config.HealthCheck, rev.Run().Port
	path := ""
	if check.Protocol == apron.HealthCheckHTTP {
		path = fmt.Sprintf("[Path: '%s'], ", check.Path)
	}
	d.events(op,
		"Provisioning instances and deploying image for publicly accessible service.",
		fmt.Sprintf("Performing health check on protocol `%s` %s[Port: '%s'].", check.Protocol, path, port))
	if err := d.Fleet.Provision(ctx, rev); err != nil {
		return fmt.Errorf("provision instances: %w", err)
	}
	d.events(op, "Health check is successful. Routing traffic to application.")
	return nil
}

// route sends requests to the operation's revision and makes it the active one.
func (d *deployer) route(ctx context.Context, op apron.Operation) error {
	svc, rev, err := d.revision(ctx, op)
	if err != nil {
		return err
	}
	if err := d.Fleet.Serve(ctx, svc, rev); err != nil {
		return fmt.Errorf("route requests: %w", err)
	}
	if err := d.activate(ctx, op.Service, rev.ID); err != nil {
		return err
	}
	d.events(op, "Successfully routed incoming traffic to application.")
	return nil
}

// activate records that requests go to the revision now, and makes the one they went to before the
// candidate. With an empty revision they go to none.
func (d *deployer) activate(ctx context.Context, id apron.ServiceID, rev apron.RevisionID) error {
	err := d.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := tx.Service(ctx, id)
		if err != nil || svc.Active == rev {
			return err
		}
		svc.Active, svc.Candidate = rev, svc.Active
		return tx.UpdateService(ctx, svc)
	})
	if err != nil {
		return fmt.Errorf("record the active revision: %w", err)
	}
	return nil
}

// retireTries is how often retiring is tried before it is left to the end of the operation.
const retireTries = 3

// retire makes certain that nothing that is to be retired is sent requests. The rest is the fleet's to
// do, and no matter of the operation: the service has its new version, and what served before may take
// its time to finish its requests and to end. As long as the operation lasts that is where it would go
// back to; Fleet.Tidy, called at its end, retires it. Whatever goes wrong here does not turn the operation
// round.
func (d *deployer) retire(ctx context.Context, op apron.Operation) error {
	svc, rev, err := d.revision(ctx, op)
	if err == nil {
		err = d.Fleet.Serve(ctx, svc, rev)
	}
	overdue := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if err != nil && (op.Attempt >= retireTries || overdue) {
		d.Log.Error("retire old revisions", "service", op.Service, "operation", op.ID, "err", err)
		return nil
	}
	return err
}

// revert sends requests where they went before the operation: to the revision that served then, or
// nowhere.
func (d *deployer) revert(ctx context.Context, op apron.Operation) error {
	svc, err := d.Store.Service(ctx, op.Service)
	if err != nil {
		return fmt.Errorf("read service: %w", err)
	}
	back := svc.Active
	if back == op.Revision {
		back = svc.Candidate
	}
	if back == "" {
		if err := d.Fleet.Withdraw(ctx, op.Service); err != nil {
			return fmt.Errorf("withdraw routes: %w", err)
		}
		return d.activate(ctx, op.Service, "")
	}
	rev, err := d.Store.Revision(ctx, back)
	if err != nil {
		return fmt.Errorf("read revision: %w", err)
	}
	if err := d.Fleet.Reinstate(ctx, svc, rev); err != nil {
		return fmt.Errorf("go back to revision %s: %w", back, err)
	}
	return d.activate(ctx, op.Service, back)
}

// discard has what the failed rollout has left in the engine removed: it may have requests to answer
// still, and take its time to end, but nothing waits for it. If going back was given up it is what serves.
func (d *deployer) discard(ctx context.Context, op apron.Operation) error {
	svc, err := d.Store.Service(ctx, op.Service)
	if err != nil {
		return fmt.Errorf("read service: %w", err)
	}
	if svc.Active != op.Revision {
		d.Fleet.Discard(op.Revision)
	}
	return nil
}
