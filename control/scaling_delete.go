package control

import (
	"context"
	"fmt"

	"apron"
	"apron/store"
)

// DeleteAutoScalingConfiguration marks the active revision arn names, in full or in part, as
// deleted, and returns it so. With all it deletes every revision of a name, given as the ARN
// without a revision, and returns a configuration with just that ARN and DeletedAt. The default and
// what a service uses stay; then nothing is deleted. Faults: Invalid, NotFound.
func (c *Control) DeleteAutoScalingConfiguration(ctx context.Context, scope apron.Scope, arn string, all bool) (apron.AutoScalingConfiguration, error) {
	a, err := named(scope, arn, apron.ResourceAutoScalingConfiguration)
	if err != nil {
		return apron.AutoScalingConfiguration{}, err
	}
	if all && a.Revision != 0 {
		return apron.AutoScalingConfiguration{}, apron.Faultf(apron.Invalid,
			"You cannot specify full auto scaling configuration ARN and DeleteAllRevisions as true at same time")
	}
	var deleted apron.AutoScalingConfiguration
	err = c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		if !all {
			asc, err := c.autoScaling(ctx, tx, scope, arn)
			if err != nil {
				return err
			}
			deleted = asc
			deleted.Latest, deleted.DeletedAt = false, tx.Now()
			return deleteScaling(ctx, tx, asc)
		}
		revisions, _, err := tx.AutoScalingConfigurations(ctx, scope, store.ScalingFilter{Name: a.Name}, "", 0)
		if err != nil {
			return err
		}
		if len(revisions) == 0 {
			return notFound(arn)
		}
		for _, asc := range revisions {
			if err := deleteScaling(ctx, tx, asc); err != nil {
				return err
			}
		}
		deleted = apron.AutoScalingConfiguration{ARN: a, DeletedAt: tx.Now()}
		return nil
	})
	if err != nil {
		return apron.AutoScalingConfiguration{}, fmt.Errorf("delete auto scaling configuration: %w", err)
	}
	return deleted, nil
}

func deleteScaling(ctx context.Context, tx *store.Tx, asc apron.AutoScalingConfiguration) error {
	if asc.Default {
		return apron.Faultf(apron.Invalid, "Auto scaling configuration %s is the default and cannot be deleted.", asc.ARN)
	}
	if asc.InUse {
		return inUse("Auto scaling configuration", asc.ARN)
	}
	return tx.DeleteAutoScalingConfiguration(ctx, asc.ARN)
}

// inUse is the fault for the deletion of what services need.
func inUse(what string, arn apron.ARN) error {
	return apron.Faultf(apron.Invalid, "%s %s cannot be deleted because it is in use by one or more services.", what, arn)
}
