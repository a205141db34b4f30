package store

import (
	"context"
	"encoding/json"
	"fmt"

	"apron"
)

const connectorColumns = `id, account, region, name, subnets, security_groups, created_at, deleted_at`

func scanConnector(r scanner, c *apron.VPCConnector) error {
	var (
		subnets, groups  []byte
		created, deleted int64
	)
	err := r.Scan(&c.ARN.ID, &c.ARN.Scope.Account, &c.ARN.Scope.Region, &c.ARN.Name, &subnets, &groups, &created, &deleted)
	if err != nil {
		return err
	}
	c.ARN.Type, c.ARN.Revision = apron.ResourceVPCConnector, 1
	c.CreatedAt, c.DeletedAt = fromMicros(created), fromMicros(deleted)
	if err := json.Unmarshal(subnets, &c.Subnets); err != nil {
		return fmt.Errorf("decode subnets: %w", err)
	}
	if err := json.Unmarshal(groups, &c.SecurityGroups); err != nil {
		return fmt.Errorf("decode security groups: %w", err)
	}
	return nil
}

// InsertVPCConnector adds a VPC connector and its tags. ErrExists: one in the scope that is not
// deleted has the name, or any has the id. A zero CreatedAt becomes Now.
func (t *Tx) InsertVPCConnector(ctx context.Context, c apron.VPCConnector, tags []apron.Tag) error {
	if err := t.insertConnector(ctx, c); err != nil {
		return fmt.Errorf("insert VPC connector %s: %w", c.ARN, err)
	}
	return t.PutTags(ctx, c.ARN, tags)
}

func (t *Tx) insertConnector(ctx context.Context, c apron.VPCConnector) error {
	subnets, err := json.Marshal(c.Subnets)
	if err != nil {
		return err
	}
	groups, err := json.Marshal(c.SecurityGroups)
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, `insert into vpc_connectors (`+connectorColumns+`) values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		c.ARN.ID, c.ARN.Scope.Account, c.ARN.Scope.Region, c.ARN.Name, string(subnets), string(groups),
		t.orNow(c.CreatedAt), micros(c.DeletedAt))
	if err == nil && n == 0 {
		err = ErrExists
	}
	return err
}

// DeleteVPCConnector marks the active connector of a full ARN as deleted. ErrNotFound.
func (t *Tx) DeleteVPCConnector(ctx context.Context, arn apron.ARN) error {
	n, err := t.exec(ctx, `update vpc_connectors set deleted_at = ? where id = ? and deleted_at = 0`, micros(t.now), arn.ID)
	return changed(n, err, "delete VPC connector", arn.String())
}

// VPCConnector returns the connector of a full ARN, active or deleted. ErrNotFound.
func (r reader) VPCConnector(ctx context.Context, arn apron.ARN) (apron.VPCConnector, error) {
	var c apron.VPCConnector
	err := r.row(ctx, func(row scanner) error { return scanConnector(row, &c) },
		`select `+connectorColumns+` from vpc_connectors where id = ?`, arn.ID)
	if err == nil && c.ARN != arn {
		err = ErrNotFound
	}
	if err != nil {
		return apron.VPCConnector{}, fmt.Errorf("VPC connector %s: %w", arn, err)
	}
	return c, nil
}

// VPCConnectors returns the scope's active connectors, oldest first, from the cursor after (empty:
// the start), at most limit (0: all), and the cursor of the next page (empty: this is the last). A
// cursor that is not of this method's making is an Invalid Fault.
func (r reader) VPCConnectors(ctx context.Context, scope apron.Scope, after string, limit int) ([]apron.VPCConnector, string, error) {
	list, next, err := page(after, limit, cursor{n: -1}, func(from cursor, rows int64) (list []apron.VPCConnector, err error) {
		err = r.rows(ctx, func(row scanner) error {
			var c apron.VPCConnector
			err := scanConnector(row, &c)
			list = append(list, c)
			return err
		}, `select `+connectorColumns+` from vpc_connectors
			where account = ? and region = ? and (created_at, id) > (?, ?) and deleted_at = 0
			order by created_at, id limit ?`, scope.Account, scope.Region, from.n, from.id, rows)
		return list, err
	}, func(c apron.VPCConnector) cursor { return cursor{n: micros(c.CreatedAt), id: c.ARN.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("VPC connectors of %s: %w", scope, err)
	}
	return list, next, nil
}

// CountVPCConnectors returns how many connectors of the scope are active.
func (r reader) CountVPCConnectors(ctx context.Context, scope apron.Scope) (int, error) {
	n, err := r.count(ctx, `select count(*) from vpc_connectors where account = ? and region = ? and deleted_at = 0`,
		scope.Account, scope.Region)
	if err != nil {
		return 0, fmt.Errorf("count VPC connectors of %s: %w", scope, err)
	}
	return n, nil
}
