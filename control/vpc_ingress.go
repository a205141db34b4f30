package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// NewVPCIngressConnection is a request to create a VPC ingress connection.
type NewVPCIngressConnection struct {
	Name          string
	ServiceARN    string
	VPCID         string
	VPCEndpointID string
	Tags          []apron.Tag
}

// CreateVPCIngressConnection records a VPC ingress connection to a private service that is running.
// It is PENDING_CREATION; Run makes it AVAILABLE. Faults: Invalid, NotFound (the service), State,
// Quota.
func (c *Control) CreateVPCIngressConnection(ctx context.Context, scope apron.Scope, in NewVPCIngressConnection) (apron.VPCIngressConnection, error) {
	v := apron.VPCIngressConnection{VPCID: in.VPCID, VPCEndpointID: in.VPCEndpointID, Status: apron.VPCIngressPendingCreation}
	if err := errors.Join(v.Validate(), apron.CheckTags(apron.ResourceVPCIngressConnection, in.Tags)); err != nil {
		return apron.VPCIngressConnection{}, err
	}
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := c.privateService(ctx, tx, scope, in.ServiceARN)
		if err != nil {
			return err
		}
		if err := c.roomForIngress(ctx, tx, svc); err != nil {
			return err
		}
		v.ARN = apron.ARN{Scope: scope, Type: apron.ResourceVPCIngressConnection, Name: in.Name, ID: newID()}
		v.Service, v.CreatedAt, v.UpdatedAt = svc.ARN(), tx.Now(), tx.Now()
		err = tx.InsertVPCIngressConnection(ctx, v, tx.Now(), in.Tags)
		if errors.Is(err, store.ErrExists) {
			return apron.Faultf(apron.Invalid, "VPC ingress connection with the provided name already exists: %s", in.Name)
		}
		return err
	})
	if err != nil {
		return apron.VPCIngressConnection{}, fmt.Errorf("create VPC ingress connection: %w", err)
	}
	c.wakeWalk()
	return v, nil
}

// privateService returns the service a VPC ingress connection can be made for.
func (c *Control) privateService(ctx context.Context, tx *store.Tx, scope apron.Scope, arn string) (apron.Service, error) {
	svc, err := c.service(ctx, tx, scope, arn)
	if err != nil {
		return apron.Service{}, err
	}
	switch {
	case svc.Status == apron.ServiceDeleted:
		return apron.Service{}, notFound(arn)
	case svc.Config.Network.Public:
		return apron.Service{}, apron.Faultf(apron.Invalid, "Service %s is publicly accessible. A VPC ingress connection needs a private service.", arn)
	case svc.Status != apron.ServiceRunning:
		return apron.Service{}, apron.Faultf(apron.State, "VPC ingress connection cannot be created for a service in the current state: %s.", svc.Status)
	}
	return svc, nil
}

func (c *Control) roomForIngress(ctx context.Context, tx *store.Tx, svc apron.Service) error {
	list, err := tx.IngressOf(ctx, svc.ID)
	if err != nil {
		return err
	}
	return apron.OverQuota(c.cfg.Quotas.VPCIngressConnections, len(list), "VPC ingress connections per service")
}

// refuseWithIngress refuses what must not happen to a service that has a VPC ingress connection: to
// be deleted, and to become public. Fault: State.
func (c *Control) refuseWithIngress(ctx context.Context, tx *store.Tx, svc apron.Service) error {
	list, err := tx.IngressOf(ctx, svc.ID)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return apron.Faultf(apron.State, "Service has active VpcIngressConnections: %s. Delete them first.", list[0].ARN)
	}
	return nil
}

// ingressReader is what reading a VPC ingress connection needs of a *store.Store or *store.Tx.
type ingressReader interface {
	VPCIngressConnection(ctx context.Context, arn apron.ARN) (apron.VPCIngressConnection, error)
}

func namedIngress(ctx context.Context, from ingressReader, scope apron.Scope, arn string) (apron.VPCIngressConnection, error) {
	a, err := resource(scope, arn, apron.ResourceVPCIngressConnection)
	if err != nil {
		return apron.VPCIngressConnection{}, err
	}
	v, err := from.VPCIngressConnection(ctx, a)
	if errors.Is(err, store.ErrNotFound) {
		return apron.VPCIngressConnection{}, notFound(arn)
	}
	if err != nil {
		return apron.VPCIngressConnection{}, fmt.Errorf("read VPC ingress connection: %w", err)
	}
	return v, nil
}

// VPCIngressConnection returns the VPC ingress connection of a full ARN, a deleted one for as long
// as it is kept. Faults: Invalid, NotFound.
func (c *Control) VPCIngressConnection(ctx context.Context, scope apron.Scope, arn string) (apron.VPCIngressConnection, error) {
	return namedIngress(ctx, c.cfg.Store, scope, arn)
}

// IngressFilter chooses VPC ingress connections: those for which both members agree. An empty one
// agrees with all.
type IngressFilter struct {
	ServiceARN    string
	VPCEndpointID string
}

// VPCIngressConnections returns one page of the scope's VPC ingress connections that the filter
// chooses, oldest first, and the cursor of the next page (empty: none). Deleted ones are left out; a
// service that does not exist has none. Faults: Invalid.
func (c *Control) VPCIngressConnections(ctx context.Context, scope apron.Scope, f IngressFilter, page Page) ([]apron.VPCIngressConnection, string, error) {
	filter := store.IngressFilter{VPCEndpointID: f.VPCEndpointID}
	if f.ServiceARN != "" {
		a, err := resource(scope, f.ServiceARN, apron.ResourceService)
		if apron.KindOf(err) == apron.NotFound {
			return nil, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		filter.Service = a
	}
	return c.cfg.Store.VPCIngressConnections(ctx, scope, filter, page.After, page.Limit)
}

// UpdateVPCIngressConnection changes the VPC and endpoint, both of which are needed. It is
// PENDING_UPDATE; Run makes it AVAILABLE again. Faults: Invalid, NotFound, State.
func (c *Control) UpdateVPCIngressConnection(ctx context.Context, scope apron.Scope, arn, vpcID, endpointID string) (apron.VPCIngressConnection, error) {
	if err := (apron.VPCIngressConnection{VPCID: vpcID, VPCEndpointID: endpointID}).Validate(); err != nil {
		return apron.VPCIngressConnection{}, err
	}
	return c.changeIngress(ctx, scope, arn, "updated", func(v *apron.VPCIngressConnection) bool {
		allowed := v.Status.AllowsUpdate()
		v.VPCID, v.VPCEndpointID, v.Status = vpcID, endpointID, apron.VPCIngressPendingUpdate
		return allowed
	})
}

// DeleteVPCIngressConnection starts the deletion. It is PENDING_DELETION; Run makes it DELETED.
// Faults: Invalid, NotFound, State.
func (c *Control) DeleteVPCIngressConnection(ctx context.Context, scope apron.Scope, arn string) (apron.VPCIngressConnection, error) {
	return c.changeIngress(ctx, scope, arn, "deleted", func(v *apron.VPCIngressConnection) bool {
		allowed := v.Status.AllowsDelete()
		v.Status = apron.VPCIngressPendingDeletion
		return allowed
	})
}

// changeIngress writes what change makes of a VPC ingress connection, for Run to go on with, unless
// change says that its status forbids it.
func (c *Control) changeIngress(ctx context.Context, scope apron.Scope, arn, what string, change func(*apron.VPCIngressConnection) bool) (apron.VPCIngressConnection, error) {
	var v apron.VPCIngressConnection
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		was, err := namedIngress(ctx, tx, scope, arn)
		if err != nil {
			return err
		}
		if was.Status == apron.VPCIngressDeleted {
			return notFound(arn)
		}
		v = was
		if !change(&v) {
			return apron.Faultf(apron.State, "VPC ingress connection cannot be %s in the current state: %s.", what, was.Status)
		}
		v.UpdatedAt = tx.Now()
		return tx.UpdateVPCIngressConnection(ctx, v, tx.Now())
	})
	if err != nil {
		return apron.VPCIngressConnection{}, fmt.Errorf("change VPC ingress connection: %w", err)
	}
	c.wakeWalk()
	return v, nil
}
