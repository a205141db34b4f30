package control

import (
	"context"
	"fmt"
	"reflect"

	"apron"
	"apron/store"
)

// UpdateService merges what was sent into a service's configuration and records the operation that
// deploys the result. The service shows the new configuration from the first answer on; a failed
// deployment takes it back. check, which may be nil, judges the merged configuration as that of a
// new service would be; it must be pure. Faults: Invalid, NotFound, State.
//
// A service that could not be created is built anew, also when nothing was sent.
func (c *Control) UpdateService(
	ctx context.Context, scope apron.Scope, arn string, patch ServicePatch, check func(apron.ServiceConfiguration) error,
) (ServiceView, apron.OperationID, error) {
	var (
		svc apron.Service
		op  apron.OperationID
	)
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		var err error
		if svc, err = c.service(ctx, tx, scope, arn); err != nil {
			return err
		}
		if !svc.Status.Allows(apron.OperationUpdate) {
			return apron.Faultf(apron.State, "Service cannot be updated in the current state: %s.", svc.Status)
		}
		next, change, err := Merge(svc.Config, patch)
		if err != nil {
			return err
		}
		if err := checkUpdate(svc, next, change); err != nil {
			return err
		}
		if err := c.resolveReferences(ctx, tx, scope, &next, patch.AutoScalingARN); err != nil {
			return err
		}
		if next.Network.Public && !svc.Config.Network.Public {
			if err := c.refuseWithIngress(ctx, tx, svc); err != nil {
				return err
			}
		}
		if check != nil {
			if err := check(next); err != nil {
				return err
			}
		}
		keep, err := revisionToKeep(ctx, tx, svc, next, change)
		if err != nil {
			return err
		}
		svc.Config = next
		if err := candidateOf(ctx, tx, &svc, keep, 0); err != nil {
			return err
		}
		op, err = c.begin(ctx, tx, &svc, apron.OperationUpdate, svc.Candidate)
		return err
	})
	if err != nil {
		return ServiceView{}, "", err
	}
	return c.answer(ctx, svc, op)
}

// checkUpdate refuses an update for what it changes, given where the service stands. It is pure.
func checkUpdate(svc apron.Service, next apron.ServiceConfiguration, change Change) error {
	failed := svc.Status == apron.ServiceCreateFailed
	if change.None() && !failed {
		return apron.Faultf(apron.Invalid, "No configurations provided in the UpdateService request.")
	}
	was, is := svc.Config.Source.Code, next.Source.Code
	if failed && was != nil && is != nil &&
		was.ConfigurationSource == apron.ConfigurationFromRepository && is.ConfigurationSource == apron.ConfigurationFromAPI {
		return apron.Faultf(apron.Invalid, "ConfigurationSource cannot be changed from REPOSITORY to API for CREATE_FAILED services.")
	}
	return nil
}

// revisionToKeep returns the revision that serves if the new one is to run the same, or none when the
// operation is to resolve or build it: because an image's source was sent, so that its newest version
// is wanted, because what the code is built from or by has changed, or because nothing serves yet.
func revisionToKeep(
	ctx context.Context, tx *store.Tx, svc apron.Service, next apron.ServiceConfiguration, change Change,
) (apron.Revision, error) {
	if svc.Active == "" || change.Source && next.Source.Code == nil {
		return apron.Revision{}, nil
	}
	active, err := tx.Revision(ctx, svc.Active)
	if err != nil {
		return apron.Revision{}, fmt.Errorf("read active revision: %w", err)
	}
	if next.Source.Code == nil {
		return active, nil
	}
	tags, err := tx.Tags(ctx, svc.ARN())
	if err != nil {
		return apron.Revision{}, err
	}
	extensions, err := apron.ParseExtensions(tags)
	if err != nil {
		return apron.Revision{}, err
	}
	if extensions.Dockerfile != active.Config.Extensions.Dockerfile || !sameCode(active.Config.Source, next.Source) {
		return apron.Revision{}, nil
	}
	return active, nil
}

// sameCode reports whether two services from source code are built alike, but for newer commits.
func sameCode(a, b apron.SourceConfiguration) bool {
	a.AutoDeployments, b.AutoDeployments = false, false
	return reflect.DeepEqual(a, b)
}
