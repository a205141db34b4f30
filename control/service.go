package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// ServiceView is a service with what Describe shows beside it.
type ServiceView struct {
	apron.Service
	AutoScaling apron.AutoScalingConfiguration
}

// NewService is a request to create a service. Config has passed the model's constraints and has
// every default filled in that does not depend on the store.
type NewService struct {
	Name   string
	Config apron.ServiceConfiguration
	Tags   []apron.Tag
	// AutoScalingARN is what the client sent, full or partial; empty: the scope's default.
	AutoScalingARN string
}

// CreateService records a new service and its create operation. Faults: Invalid, Quota.
func (c *Control) CreateService(ctx context.Context, scope apron.Scope, in NewService) (ServiceView, apron.OperationID, error) {
	var (
		svc apron.Service
		op  apron.Operation
	)
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		config := in.Config
		if err := apron.CheckTags(apron.ResourceService, in.Tags); err != nil {
			return err
		}
		var err error
		if config.Extensions, err = apron.ParseExtensions(in.Tags); err != nil {
			return err
		}
		if err := c.resolveReferences(ctx, tx, scope, &config, in.AutoScalingARN); err != nil {
			return err
		}
		if err := c.roomForService(ctx, tx, scope); err != nil {
			return err
		}
		now := tx.Now()
		svc = apron.Service{
			ID: apron.ServiceID(newID()), Scope: scope, Name: in.Name,
			Host:   c.newHost(scope.Region),
			Status: apron.ServiceOperationInProgress, Config: config,
			Candidate: apron.RevisionID(newID()), CreatedAt: now, UpdatedAt: now,
		}
		op = c.newOperation(tx, svc, apron.OperationCreate, svc.Candidate)
		return insertService(ctx, tx, svc, op, in.Tags)
	})
	if err != nil {
		return ServiceView{}, "", err
	}
	c.cfg.Wake()
	view, err := c.view(ctx, svc)
	return view, op.ID, err
}

// roomForService checks the quota. What is being deleted counts until it is gone.
func (c *Control) roomForService(ctx context.Context, tx *store.Tx, scope apron.Scope) error {
	if c.cfg.Quotas.Services == 0 {
		return nil
	}
	n, err := tx.CountServices(ctx, scope)
	if err != nil {
		return err
	}
	return apron.OverQuota(c.cfg.Quotas.Services, n, "services")
}

// insertService writes the service, its first revision and its create operation.
func insertService(ctx context.Context, tx *store.Tx, svc apron.Service, op apron.Operation, tags []apron.Tag) error {
	err := tx.InsertService(ctx, svc, tags)
	if errors.Is(err, store.ErrExists) {
		return apron.Faultf(apron.Invalid, "Service with the provided name already exists: %s", svc.Name)
	}
	if err != nil {
		return fmt.Errorf("insert service: %w", err)
	}
	_, err = tx.InsertRevision(ctx, apron.Revision{
		ID: svc.Candidate, Service: svc.ID, Config: svc.Config, CreatedAt: tx.Now(),
	})
	if err != nil {
		return fmt.Errorf("insert revision: %w", err)
	}
	if err := tx.InsertOperation(ctx, op); err != nil {
		return fmt.Errorf("insert operation: %w", err)
	}
	return nil
}

// Service returns the service arn names, in any state. Faults: Invalid (not a service ARN),
// NotFound.
func (c *Control) Service(ctx context.Context, scope apron.Scope, arn string) (ServiceView, error) {
	svc, err := c.service(ctx, c.cfg.Store, scope, arn)
	if err != nil {
		return ServiceView{}, err
	}
	return c.view(ctx, svc)
}

// reader is what service needs of a *store.Store or a *store.Tx.
type reader interface {
	Service(ctx context.Context, id apron.ServiceID) (apron.Service, error)
}

// service reads the service arn names. A name that does not belong to the id is not found.
func (c *Control) service(ctx context.Context, from reader, scope apron.Scope, arn string) (apron.Service, error) {
	a, err := resource(scope, arn, apron.ResourceService)
	if err != nil {
		return apron.Service{}, err
	}
	svc, err := from.Service(ctx, apron.ServiceID(a.ID))
	if errors.Is(err, store.ErrNotFound) || err == nil && svc.ARN() != a {
		return apron.Service{}, notFound(arn)
	}
	if err != nil {
		return apron.Service{}, fmt.Errorf("read service: %w", err)
	}
	return svc, nil
}

// Services returns one page of the scope's services, oldest first, and the cursor of the next page
// (empty: none). Deleted services are left out.
func (c *Control) Services(ctx context.Context, scope apron.Scope, page Page) ([]apron.Service, string, error) {
	return c.cfg.Store.Services(ctx, scope, page.After, page.Limit)
}

// DeleteService records a delete operation and frees the service's name. Faults: Invalid, NotFound,
// State.
func (c *Control) DeleteService(ctx context.Context, scope apron.Scope, arn string) (ServiceView, apron.OperationID, error) {
	var (
		svc apron.Service
		op  apron.OperationID
	)
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		var err error
		if svc, err = c.service(ctx, tx, scope, arn); err != nil {
			return err
		}
		if svc.Status == apron.ServiceDeleted {
			return notFound(arn)
		}
		if !svc.Status.Allows(apron.OperationDelete) {
			return apron.Faultf(apron.State, "Service cannot be deleted in the current state: %s.", svc.Status)
		}
		if err := c.refuseWithIngress(ctx, tx, svc); err != nil {
			return err
		}
		if op, err = c.begin(ctx, tx, &svc, apron.OperationDelete, ""); err != nil {
			return err
		}
		if err := tx.ReleaseName(ctx, svc.ID); err != nil {
			return fmt.Errorf("release service name: %w", err)
		}
		return nil
	})
	if err != nil {
		return ServiceView{}, "", err
	}
	return c.answer(ctx, svc, op)
}

// Operations returns one page of a service's operations, newest first, and the cursor of the next
// page (empty: none). Faults: Invalid, NotFound.
func (c *Control) Operations(ctx context.Context, scope apron.Scope, arn string, page Page) ([]apron.Operation, string, error) {
	svc, err := c.service(ctx, c.cfg.Store, scope, arn)
	if err != nil {
		return nil, "", err
	}
	return c.cfg.Store.Operations(ctx, svc.ID, page.After, page.Limit)
}

func (c *Control) newOperation(tx *store.Tx, svc apron.Service, t apron.OperationType, rev apron.RevisionID) apron.Operation {
	now, limit := tx.Now(), c.cfg.Deadline(t)
	switch t {
	case apron.OperationCreate, apron.OperationUpdate, apron.OperationStartDeployment:
		if svc.Config.Source.Code != nil {
			limit += c.cfg.BuildTime
		}
	default: // the others build nothing
	}
	return apron.Operation{
		ID: newOperationID(), Service: svc.ID, Type: t, Status: apron.OperationPending, Revision: rev,
		StartedAt: now, UpdatedAt: now, Deadline: now.Add(limit),
	}
}
