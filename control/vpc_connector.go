package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"apron"
	"apron/store"
)

// NewVPCConnector is a request to create a VPC connector.
type NewVPCConnector struct {
	Name           string
	Subnets        []string
	SecurityGroups []string // empty: the default one of the network
	Tags           []apron.Tag
}

// CreateVPCConnector records a VPC connector, active at once. Faults: Invalid, Quota.
func (c *Control) CreateVPCConnector(ctx context.Context, scope apron.Scope, in NewVPCConnector) (apron.VPCConnector, error) {
	connector := apron.VPCConnector{Subnets: slices.Clone(in.Subnets), SecurityGroups: slices.Clone(in.SecurityGroups)}
	if len(connector.SecurityGroups) == 0 {
		connector.SecurityGroups = []string{apron.DefaultSecurityGroup(scope)}
	}
	if err := errors.Join(connector.Validate(), apron.CheckTags(apron.ResourceVPCConnector, in.Tags)); err != nil {
		return apron.VPCConnector{}, err
	}
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		connector.ARN = apron.ARN{Scope: scope, Type: apron.ResourceVPCConnector, Name: in.Name, Revision: 1, ID: newID()}
		connector.CreatedAt = tx.Now()
		err := tx.InsertVPCConnector(ctx, connector, in.Tags)
		if errors.Is(err, store.ErrExists) {
			return apron.Faultf(apron.Invalid, "VPC connector with the provided name already exists: %s", in.Name)
		}
		if err != nil || c.cfg.Quotas.VPCConnectors == 0 {
			return err
		}
		n, err := tx.CountVPCConnectors(ctx, scope)
		if err != nil {
			return err
		}
		return apron.OverQuota(c.cfg.Quotas.VPCConnectors, n-1, "VPC connectors")
	})
	if err != nil {
		return apron.VPCConnector{}, fmt.Errorf("create VPC connector: %w", err)
	}
	return connector, nil
}

// connectorReader is what reading a VPC connector needs of a *store.Store or *store.Tx.
type connectorReader interface {
	VPCConnector(ctx context.Context, arn apron.ARN) (apron.VPCConnector, error)
}

// namedConnector reads the connector of a full ARN, active or deleted.
func namedConnector(ctx context.Context, from connectorReader, scope apron.Scope, arn string) (apron.VPCConnector, error) {
	a, err := resource(scope, arn, apron.ResourceVPCConnector)
	if err != nil {
		return apron.VPCConnector{}, err
	}
	connector, err := from.VPCConnector(ctx, a)
	if errors.Is(err, store.ErrNotFound) {
		return apron.VPCConnector{}, notFound(arn)
	}
	if err != nil {
		return apron.VPCConnector{}, fmt.Errorf("read VPC connector: %w", err)
	}
	return connector, nil
}

// VPCConnector returns the connector of a full ARN, a deleted one for as long as it is kept.
// Faults: Invalid, NotFound.
func (c *Control) VPCConnector(ctx context.Context, scope apron.Scope, arn string) (apron.VPCConnector, error) {
	return namedConnector(ctx, c.cfg.Store, scope, arn)
}

// VPCConnectors returns one page of the scope's active connectors, oldest first, and the cursor of
// the next page (empty: none).
func (c *Control) VPCConnectors(ctx context.Context, scope apron.Scope, page Page) ([]apron.VPCConnector, string, error) {
	return c.cfg.Store.VPCConnectors(ctx, scope, page.After, page.Limit)
}

// DeleteVPCConnector marks the connector of a full ARN as deleted, and returns it so. What a
// service uses stays. Faults: Invalid, NotFound.
func (c *Control) DeleteVPCConnector(ctx context.Context, scope apron.Scope, arn string) (apron.VPCConnector, error) {
	var connector apron.VPCConnector
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		var err error
		if connector, err = namedConnector(ctx, tx, scope, arn); err != nil {
			return err
		}
		if !connector.Active() {
			return notFound(arn)
		}
		used, err := tx.InUse(ctx, connector.ARN)
		if err != nil {
			return err
		}
		if used {
			return inUse("VPC connector", connector.ARN)
		}
		connector.DeletedAt = tx.Now()
		return tx.DeleteVPCConnector(ctx, connector.ARN)
	})
	if err != nil {
		return apron.VPCConnector{}, fmt.Errorf("delete VPC connector: %w", err)
	}
	return connector, nil
}
