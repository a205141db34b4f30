package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apron"
	"apron/store"
)

// AutoDeploy tells that version has just been pushed to the source of a service: the digest of an
// image, or a commit. It is for whoever receives pushes, who finds out which services follow what was
// pushed. Version is compared with apron.Revision.Version, and the operation looks up itself what the
// source's newest version is.
//
// A running service with AutoDeploymentsEnabled gets a START_DEPLOYMENT operation, unless it runs that
// version. While an operation is in progress the push is remembered, the newest one of several, also
// across restarts; Run deploys it after the operation's end if the service is running then and has not
// got the version by that operation. Everything else is left alone: a service that is paused or could
// not be created, one without automatic deployments, and one that does not exist (any more).
//
// It returns the operation it has begun, empty: none. Its errors are the store's; what was not recorded
// then can be told again.
func (c *Control) AutoDeploy(ctx context.Context, id apron.ServiceID, version string) (apron.OperationID, error) {
	return c.autoDeploy(ctx, id, version, true)
}

// Noticed is AutoDeploy for whoever looks at a source from time to time, and at each start, instead of
// being told of pushes: version is what the source's newest one is now. One that has been noticed or
// pushed before does nothing, so that neither a version that failed nor one that was gone back from
// nor one that came while the service was paused is deployed because somebody looked.
func (c *Control) Noticed(ctx context.Context, id apron.ServiceID, version string) (apron.OperationID, error) {
	return c.autoDeploy(ctx, id, version, false)
}

func (c *Control) autoDeploy(ctx context.Context, id apron.ServiceID, version string, told bool) (apron.OperationID, error) {
	var op apron.OperationID
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		op = "" // the transaction may run again
		svc, err := tx.Service(ctx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !svc.Config.Source.AutoDeployments {
			return nil
		}
		if err != nil {
			return err
		}
		known, err := tx.Push(ctx, id)
		if err != nil {
			return err
		}
		runs, err := runningVersion(ctx, tx, svc)
		if err != nil {
			return err
		}
		next, deploy := onPush(svc.Status, known, version, runs, told)
		if next != known {
			if err := tx.SetPush(ctx, id, next); err != nil {
				return err
			}
		}
		if deploy {
			op, err = c.beginPushed(ctx, tx, svc)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("deploy version %s of service %s automatically: %w", version, id, err)
	}
	c.begun(id, op, version)
	return op, nil
}

// onPush decides what a push means for a service with automatic deployments that runs a version
// (empty: none). told tells that somebody pushed it just now. It is pure.
func onPush(status apron.ServiceStatus, known store.Push, version, runs string, told bool) (next store.Push, deploy bool) {
	news := version != known.Version
	switch {
	case status == apron.ServiceOperationInProgress && news:
		return store.Push{Version: version, Pending: true}, false
	case status == apron.ServiceOperationInProgress, !news && !told:
		return known, false
	default:
		return store.Push{Version: version}, status.Allows(apron.OperationStartDeployment) && version != runs
	}
}

// runningVersion returns the version of the source a service runs; empty: it runs nothing.
func runningVersion(ctx context.Context, tx *store.Tx, svc apron.Service) (string, error) {
	if svc.Active == "" {
		return "", nil
	}
	rev, err := tx.Revision(ctx, svc.Active)
	if err != nil {
		return "", fmt.Errorf("read active revision: %w", err)
	}
	return rev.Version(), nil
}

// beginPushed begins the deployment of the newest version of a running service's source.
func (c *Control) beginPushed(ctx context.Context, tx *store.Tx, svc apron.Service) (apron.OperationID, error) {
	if err := candidate(ctx, tx, &svc, apron.Image{}); err != nil {
		return "", err
	}
	return c.begin(ctx, tx, &svc, apron.OperationStartDeployment, svc.Candidate)
}

// begun wakes the runner for an automatic deployment.
func (c *Control) begun(id apron.ServiceID, op apron.OperationID, version string) {
	if op == "" {
		return
	}
	c.cfg.Log.Info("deploying what was pushed", "service", id, "operation", op, "version", version)
	c.cfg.Wake()
}

// OperationEnded has Run look for pushes that waited for the end of an operation. It never blocks, and
// may be called before Run and without one.
func (c *Control) OperationEnded() {
	select {
	case c.push <- struct{}{}:
	default: // it will look anyway
	}
}

// deployPushes deploys pushes whose turn has come, now and after each OperationEnded, until ctx is done.
func (c *Control) deployPushes(ctx context.Context) error {
	pause := firstRetry
	for {
		err := c.DeployPushes(ctx)
		var retry <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.cfg.Log.Error("deploy what was pushed", "err", err, "retry_in", pause)
			retry = time.After(pause)
			pause = min(2*pause, maxRetry)
		default:
			pause = firstRetry
		}
		select {
		case <-retry:
		case <-c.push:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// DeployPushes begins the deployment of every push that waited for an operation which has ended. Run
// does nothing else about them. Each is a transaction of its own: an error leaves what is done done.
func (c *Control) DeployPushes(ctx context.Context) error {
	waiting, err := c.cfg.Store.PendingPushes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range waiting {
		if err := c.deployPending(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Control) deployPending(ctx context.Context, id apron.ServiceID) error {
	var op apron.OperationID
	var push store.Push
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) (err error) {
		op = "" // the transaction may run again
		if push, err = tx.Push(ctx, id); err != nil || !push.Pending {
			return err
		}
		svc, err := tx.Service(ctx, id)
		if err != nil || svc.Status == apron.ServiceOperationInProgress {
			return err // another operation was faster
		}
		runs, err := runningVersion(ctx, tx, svc)
		if err != nil {
			return err
		}
		if err := tx.SetPush(ctx, id, store.Push{Version: push.Version}); err != nil {
			return err
		}
		if !svc.Config.Source.AutoDeployments || !svc.Status.Allows(apron.OperationStartDeployment) || push.Version == runs {
			return nil
		}
		op, err = c.beginPushed(ctx, tx, svc)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // purged meanwhile
	}
	if err != nil {
		return err
	}
	c.begun(id, op, push.Version)
	return nil
}
