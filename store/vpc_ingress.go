package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apron"
)

const ingressColumns = `id, account, region, name, service, service_name, vpc, endpoint, host, status,
	created_at, updated_at, deleted_at`

func scanIngress(r scanner, v *apron.VPCIngressConnection) error {
	var created, updated, deleted int64
	err := r.Scan(&v.ARN.ID, &v.ARN.Scope.Account, &v.ARN.Scope.Region, &v.ARN.Name, &v.Service.ID, &v.Service.Name,
		&v.VPCID, &v.VPCEndpointID, &v.Host, &v.Status, &created, &updated, &deleted)
	v.ARN.Type = apron.ResourceVPCIngressConnection
	v.Service.Type, v.Service.Scope = apron.ResourceService, v.ARN.Scope
	v.CreatedAt, v.UpdatedAt, v.DeletedAt = fromMicros(created), fromMicros(updated), fromMicros(deleted)
	return err
}

// InsertVPCIngressConnection adds a VPC ingress connection and its tags. Its status is to be moved
// on at due. ErrExists: one in the scope that is not deleted has the name, or any has the id. A
// zero CreatedAt or UpdatedAt becomes Now.
func (t *Tx) InsertVPCIngressConnection(ctx context.Context, v apron.VPCIngressConnection, due time.Time, tags []apron.Tag) error {
	n, err := t.exec(ctx, `insert into vpc_ingress_connections (`+ingressColumns+`, due_at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		v.ARN.ID, v.ARN.Scope.Account, v.ARN.Scope.Region, v.ARN.Name, v.Service.ID, v.Service.Name, v.VPCID, v.VPCEndpointID,
		v.Host, string(v.Status), t.orNow(v.CreatedAt), t.orNow(v.UpdatedAt), micros(v.DeletedAt), micros(due))
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err == nil {
		err = t.wakeAt(ctx, due)
	}
	if err != nil {
		return fmt.Errorf("insert VPC ingress connection %s: %w", v.ARN, err)
	}
	return t.PutTags(ctx, v.ARN, tags)
}

// UpdateVPCIngressConnection writes what can change of a VPC ingress connection: VPC, endpoint,
// host, status and time of deletion. It sets UpdatedAt to Now. Its status is to be moved on at due;
// zero: it rests. ErrNotFound. ErrHostTaken: another has the host.
func (t *Tx) UpdateVPCIngressConnection(ctx context.Context, v apron.VPCIngressConnection, due time.Time) error {
	if v.Host != "" {
		taken, err := t.count(ctx, `select (select count(*) from vpc_ingress_connections where host = ? and id <> ?)
			+ (select count(*) from services where host = ?)`, v.Host, v.ARN.ID, v.Host)
		if err == nil && taken > 0 {
			err = ErrHostTaken
		}
		if err != nil {
			return fmt.Errorf("update VPC ingress connection %s: %w", v.ARN, err)
		}
	}
	n, err := t.exec(ctx, `update vpc_ingress_connections set vpc = ?, endpoint = ?, host = ?, status = ?,
		updated_at = ?, deleted_at = ?, due_at = ? where id = ?`,
		v.VPCID, v.VPCEndpointID, v.Host, string(v.Status), micros(t.now), micros(v.DeletedAt), micros(due), v.ARN.ID)
	if err := changed(n, err, "update VPC ingress connection", v.ARN.String()); err != nil {
		return err
	}
	return t.wakeAt(ctx, due)
}

// VPCIngressConnection returns the VPC ingress connection of a full ARN in whatever state it is.
// ErrNotFound.
func (r reader) VPCIngressConnection(ctx context.Context, arn apron.ARN) (apron.VPCIngressConnection, error) {
	var v apron.VPCIngressConnection
	err := r.row(ctx, func(row scanner) error { return scanIngress(row, &v) },
		`select `+ingressColumns+` from vpc_ingress_connections where id = ?`, arn.ID)
	if err == nil && v.ARN != arn {
		err = ErrNotFound
	}
	if err != nil {
		return apron.VPCIngressConnection{}, fmt.Errorf("VPC ingress connection %s: %w", arn, err)
	}
	return v, nil
}

// IngressFilter chooses VPC ingress connections: those for which every member that is not zero
// agrees.
type IngressFilter struct {
	Service       apron.ARN // full
	VPCEndpointID string
}

// VPCIngressConnections returns the scope's VPC ingress connections that are not deleted and that
// the filter chooses, oldest first, from the cursor after (empty: the start), at most limit (0:
// all), and the cursor of the next page (empty: this is the last). A cursor that is not of this
// method's making is an Invalid Fault.
func (r reader) VPCIngressConnections(ctx context.Context, scope apron.Scope, f IngressFilter, after string, limit int) ([]apron.VPCIngressConnection, string, error) {
	list, next, err := page(after, limit, cursor{n: -1}, func(from cursor, rows int64) ([]apron.VPCIngressConnection, error) {
		query := `select ` + ingressColumns + ` from vpc_ingress_connections
			where account = ? and region = ? and (created_at, id) > (?, ?) and deleted_at = 0`
		args := []any{scope.Account, scope.Region, from.n, from.id}
		if f.Service != (apron.ARN{}) {
			query += ` and service = ? and service_name = ?`
			args = append(args, f.Service.ID, f.Service.Name)
		}
		if f.VPCEndpointID != "" {
			query += ` and endpoint = ?`
			args = append(args, f.VPCEndpointID)
		}
		return r.ingresses(ctx, query+` order by created_at, id limit ?`, append(args, rows)...)
	}, func(v apron.VPCIngressConnection) cursor { return cursor{n: micros(v.CreatedAt), id: v.ARN.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("VPC ingress connections of %s: %w", scope, err)
	}
	return list, next, nil
}

// IngressOf returns the service's VPC ingress connections that are not deleted, oldest first.
func (r reader) IngressOf(ctx context.Context, service apron.ServiceID) ([]apron.VPCIngressConnection, error) {
	list, err := r.ingresses(ctx, `select `+ingressColumns+` from vpc_ingress_connections
		where service = ? and deleted_at = 0 order by created_at, id`, string(service))
	if err != nil {
		return nil, fmt.Errorf("VPC ingress connections of service %s: %w", service, err)
	}
	return list, nil
}

func (r reader) ingresses(ctx context.Context, query string, args ...any) ([]apron.VPCIngressConnection, error) {
	var list []apron.VPCIngressConnection
	err := r.rows(ctx, func(row scanner) error {
		var v apron.VPCIngressConnection
		err := scanIngress(row, &v)
		list = append(list, v)
		return err
	}, query, args...)
	return list, err
}

// DueVPCIngressConnection returns the VPC ingress connection whose status has been due longest to be
// moved on. Nothing else changes it before the transaction ends; one that another transaction holds
// is left out. ErrNone: there is none.
func (t *Tx) DueVPCIngressConnection(ctx context.Context) (apron.VPCIngressConnection, error) {
	var v apron.VPCIngressConnection
	err := t.row(ctx, func(row scanner) error { return scanIngress(row, &v) },
		`select `+ingressColumns+` from vpc_ingress_connections where due_at <> 0 and due_at <= ?
		order by due_at limit 1`+t.d.lockClaim, micros(t.now))
	if errors.Is(err, ErrNotFound) {
		return apron.VPCIngressConnection{}, ErrNone
	}
	if err != nil {
		return apron.VPCIngressConnection{}, fmt.Errorf("next VPC ingress connection: %w", err)
	}
	return v, nil
}
