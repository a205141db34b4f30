package store

import (
	"context"
	"errors"
	"fmt"

	"apron"
)

// InUse reports whether a service that is not deleted refers to the resource of a full ARN: an auto
// scaling or observability configuration, a VPC connector or a connection. While an operation runs,
// what the service may be rolled back to counts as well.
func (r reader) InUse(ctx context.Context, arn apron.ARN) (bool, error) {
	var column string
	switch arn.Type {
	case apron.ResourceAutoScalingConfiguration:
		column = "auto_scaling"
	case apron.ResourceObservabilityConfiguration:
		column = "observability"
	case apron.ResourceVPCConnector:
		column = "vpc_connector"
	case apron.ResourceConnection:
		column = "connection"
	case apron.ResourceService, apron.ResourceVPCIngressConnection:
		return false, nil // no service refers to those
	}
	var used bool
	err := r.row(ctx, func(row scanner) error { return row.Scan(&used) },
		`select exists (select 1 from services where `+column+` = ? and deleted_at = 0)
		or exists (select 1 from services s join revisions r on r.id = s.active
			where s.account = ? and s.region = ? and s.status = 'OPERATION_IN_PROGRESS' and r.`+column+` = ?)`,
		arn.String(), arn.Scope.Account, arn.Scope.Region, arn.String())
	if err != nil {
		return false, fmt.Errorf("use of %s: %w", arn, err)
	}
	return used, nil
}

// Exists reports whether the resource of a full ARN is there and not deleted.
func (r reader) Exists(ctx context.Context, arn apron.ARN) (bool, error) {
	var active bool
	var err error
	switch arn.Type {
	case apron.ResourceService:
		var svc apron.Service
		svc, err = r.Service(ctx, apron.ServiceID(arn.ID))
		active = svc.ARN() == arn && svc.Status != apron.ServiceDeleted
	case apron.ResourceConnection:
		var c apron.Connection
		c, err = r.Connection(ctx, arn)
		active = c.Status != apron.ConnectionDeleted
	case apron.ResourceAutoScalingConfiguration:
		var c apron.AutoScalingConfiguration
		c, err = r.AutoScalingConfiguration(ctx, arn)
		active = c.Active()
	case apron.ResourceObservabilityConfiguration:
		var c apron.ObservabilityConfiguration
		c, err = r.ObservabilityConfiguration(ctx, arn)
		active = c.Active()
	case apron.ResourceVPCConnector:
		var c apron.VPCConnector
		c, err = r.VPCConnector(ctx, arn)
		active = c.Active()
	case apron.ResourceVPCIngressConnection:
		var v apron.VPCIngressConnection
		v, err = r.VPCIngressConnection(ctx, arn)
		active = v.Status != apron.VPCIngressDeleted
	}
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return active && err == nil, err
}

// CountServices returns how many services of the scope are not deleted.
func (r reader) CountServices(ctx context.Context, scope apron.Scope) (int, error) {
	n, err := r.count(ctx, `select count(*) from services where account = ? and region = ? and deleted_at = 0`,
		scope.Account, scope.Region)
	if err != nil {
		return 0, fmt.Errorf("count services of %s: %w", scope, err)
	}
	return n, nil
}

func (r reader) count(ctx context.Context, query string, args ...any) (int, error) {
	var n int
	err := r.row(ctx, func(row scanner) error { return row.Scan(&n) }, query, args...)
	return n, err
}
