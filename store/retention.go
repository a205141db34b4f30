package store

import (
	"context"
	"fmt"
	"time"

	"apron"
)

// PurgeConfigurations forgets the auto scaling and observability configurations, connections, VPC
// connectors and VPC ingress connections that were deleted before the given time, with their tags,
// and returns how many there were. That DefaultConfiguration's first revision is gone is never
// forgotten: it would be back.
func (s *Store) PurgeConfigurations(ctx context.Context, before time.Time) (int, error) {
	total := 0
	err := s.Tx(ctx, func(t *Tx) error {
		total = 0
		for kind, query := range purges() {
			arns, err := t.purge(ctx, kind, query, micros(before))
			if err != nil {
				return err
			}
			for _, arn := range arns {
				if _, err := t.exec(ctx, `delete from tags where arn = ?`, arn.String()); err != nil {
					return err
				}
			}
			total += len(arns)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("purge configurations: %w", err)
	}
	return total, nil
}

// purges returns the statements that delete what has been deleted of each type before a time and
// return its names.
func purges() map[apron.ResourceType]string {
	return map[apron.ResourceType]string{
		apron.ResourceAutoScalingConfiguration: `delete from auto_scaling_configurations
			where deleted_at <> 0 and deleted_at < ? and id <> '` + apron.DefaultConfigurationID + `'
			returning account, region, name, revision, id`,
		apron.ResourceObservabilityConfiguration: `delete from observability_configurations
			where deleted_at <> 0 and deleted_at < ? returning account, region, name, revision, id`,
		apron.ResourceConnection: `delete from connections
			where deleted_at <> 0 and deleted_at < ? returning account, region, name, 0, id`,
		apron.ResourceVPCConnector: `delete from vpc_connectors
			where deleted_at <> 0 and deleted_at < ? returning account, region, name, 1, id`,
		apron.ResourceVPCIngressConnection: `delete from vpc_ingress_connections
			where deleted_at <> 0 and deleted_at < ? returning account, region, name, 0, id`,
	}
}

func (t *Tx) purge(ctx context.Context, kind apron.ResourceType, query string, before int64) ([]apron.ARN, error) {
	var list []apron.ARN
	err := t.rows(ctx, func(row scanner) error {
		arn := apron.ARN{Type: kind}
		err := row.Scan(&arn.Scope.Account, &arn.Scope.Region, &arn.Name, &arn.Revision, &arn.ID)
		list = append(list, arn)
		return err
	}, query, before)
	return list, err
}
