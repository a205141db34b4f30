package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// NewAutoScalingConfiguration is a request to create a revision of an auto scaling configuration. A
// size that is 0 was absent and takes App Runner's default.
type NewAutoScalingConfiguration struct {
	Name           string
	MaxConcurrency int
	MinSize        int
	MaxSize        int
	Tags           []apron.Tag
}

// CreateAutoScalingConfiguration records the next revision of a name, which becomes its latest: one
// more than the highest active one, so that numbers of deleted ones come again. Faults: Invalid,
// Quota.
func (c *Control) CreateAutoScalingConfiguration(ctx context.Context, scope apron.Scope, in NewAutoScalingConfiguration) (apron.AutoScalingConfiguration, error) {
	initial := apron.DefaultAutoScaling(scope)
	asc := apron.AutoScalingConfiguration{
		MaxConcurrency: sizeOr(in.MaxConcurrency, initial.MaxConcurrency),
		MinSize:        sizeOr(in.MinSize, initial.MinSize),
		MaxSize:        sizeOr(in.MaxSize, initial.MaxSize),
		Latest:         true,
	}
	if err := errors.Join(asc.Validate(), apron.CheckTags(apron.ResourceAutoScalingConfiguration, in.Tags)); err != nil {
		return apron.AutoScalingConfiguration{}, err
	}
	if most := c.cfg.Quotas.MaxSize; most > 0 && asc.MaxSize > most {
		return apron.AutoScalingConfiguration{}, apron.Faultf(apron.Quota, "MaxSize (%d) is over the quota of %d instances per service.", asc.MaxSize, most)
	}
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		active, _, err := tx.AutoScalingConfigurations(ctx, scope, store.ScalingFilter{Name: in.Name}, "", 0)
		if err != nil {
			return err
		}
		number := 1
		if len(active) > 0 { // the newest revision comes first
			number = active[0].ARN.Revision + 1
		}
		if err := c.roomForScaling(ctx, tx, scope, in.Name, len(active)); err != nil {
			return err
		}
		asc.ARN = apron.ARN{
			Scope: scope, Type: apron.ResourceAutoScalingConfiguration, Name: in.Name, Revision: number, ID: newID(),
		}
		asc.CreatedAt = tx.Now()
		if err := tx.InsertAutoScalingConfiguration(ctx, asc); err != nil {
			return err
		}
		return tx.PutTags(ctx, asc.ARN, in.Tags)
	})
	if err != nil {
		return apron.AutoScalingConfiguration{}, fmt.Errorf("create auto scaling configuration: %w", err)
	}
	return asc, nil
}

func sizeOr(size, otherwise int) int {
	if size == 0 {
		return otherwise
	}
	return size
}

// roomForScaling checks the quotas before one more revision of a name that has some already.
func (c *Control) roomForScaling(ctx context.Context, tx *store.Tx, scope apron.Scope, name string, revisions int) error {
	q := c.cfg.Quotas
	if err := apron.OverQuota(q.AutoScalingRevisions, revisions, "active revisions of one auto scaling configuration"); err != nil {
		return err
	}
	if q.AutoScalingConfigurations == 0 || revisions > 0 || name == apron.DefaultConfigurationName {
		return nil
	}
	names, err := tx.CountAutoScalingNames(ctx, scope)
	if err != nil {
		return err
	}
	return apron.OverQuota(q.AutoScalingConfigurations, names, "auto scaling configurations")
}

// scalingReader is what reading an auto scaling configuration needs of a *store.Store or *store.Tx.
type scalingReader interface {
	AutoScalingConfiguration(ctx context.Context, arn apron.ARN) (apron.AutoScalingConfiguration, error)
}

// namedScaling reads what a full or partial ARN names; one that is deleted only by its full ARN.
func namedScaling(ctx context.Context, from scalingReader, scope apron.Scope, arn string) (apron.AutoScalingConfiguration, error) {
	a, err := named(scope, arn, apron.ResourceAutoScalingConfiguration)
	if err != nil {
		return apron.AutoScalingConfiguration{}, err
	}
	asc, err := from.AutoScalingConfiguration(ctx, a)
	if errors.Is(err, store.ErrNotFound) {
		return apron.AutoScalingConfiguration{}, notFound(arn)
	}
	if err != nil {
		return apron.AutoScalingConfiguration{}, fmt.Errorf("read auto scaling configuration: %w", err)
	}
	return asc, nil
}

// autoScaling resolves what a client named, full or partial ARN, to one active revision; nothing
// named means the scope's default.
func (c *Control) autoScaling(ctx context.Context, tx *store.Tx, scope apron.Scope, arn string) (apron.AutoScalingConfiguration, error) {
	if arn == "" {
		asc, err := tx.DefaultAutoScalingConfiguration(ctx, scope)
		if err != nil {
			return asc, fmt.Errorf("read default auto scaling configuration: %w", err)
		}
		return asc, nil
	}
	asc, err := namedScaling(ctx, tx, scope, arn)
	if err == nil && !asc.Active() {
		err = notFound(arn)
	}
	return asc, err
}

// AutoScalingConfiguration returns what arn names: in full any revision, deleted ones for as long
// as they are kept; in part the active revision of that number, or the latest. Faults: Invalid,
// NotFound.
func (c *Control) AutoScalingConfiguration(ctx context.Context, scope apron.Scope, arn string) (apron.AutoScalingConfiguration, error) {
	return namedScaling(ctx, c.cfg.Store, scope, arn)
}

// AutoScalingConfigurations returns one page of the scope's active configurations, by name and then
// the newest revision first, and the cursor of the next page (empty: none). name, if not empty,
// leaves only its revisions. latestOnly leaves only the latest of each name; nil does too but shows
// the scope's default also when it is not the latest, since no client could find it otherwise.
func (c *Control) AutoScalingConfigurations(ctx context.Context, scope apron.Scope, name string, latestOnly *bool, page Page) ([]apron.AutoScalingConfiguration, string, error) {
	f := store.ScalingFilter{Name: name, Latest: latestOnly == nil || *latestOnly, Default: latestOnly == nil}
	return c.cfg.Store.AutoScalingConfigurations(ctx, scope, f, page.After, page.Limit)
}

// ServicesForAutoScalingConfiguration returns one page of the ARNs of the services that use the
// revision arn names, in full or in part, oldest first, and the cursor of the next page (empty:
// none). Faults: Invalid, NotFound.
func (c *Control) ServicesForAutoScalingConfiguration(ctx context.Context, scope apron.Scope, arn string, page Page) ([]apron.ARN, string, error) {
	asc, err := namedScaling(ctx, c.cfg.Store, scope, arn)
	if err != nil {
		return nil, "", err
	}
	return c.cfg.Store.ServicesWithAutoScaling(ctx, asc.ARN, page.After, page.Limit)
}

// UpdateDefaultAutoScalingConfiguration makes the active revision arn names, in full or in part,
// the scope's default: the one that services created later get. Faults: Invalid, NotFound.
func (c *Control) UpdateDefaultAutoScalingConfiguration(ctx context.Context, scope apron.Scope, arn string) (apron.AutoScalingConfiguration, error) {
	var asc apron.AutoScalingConfiguration
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		target, err := c.autoScaling(ctx, tx, scope, arn)
		if err != nil {
			return err
		}
		if err := tx.SetDefaultAutoScalingConfiguration(ctx, target.ARN); err != nil {
			return err
		}
		asc, err = tx.AutoScalingConfiguration(ctx, target.ARN)
		return err
	})
	if err != nil {
		return apron.AutoScalingConfiguration{}, fmt.Errorf("update default auto scaling configuration: %w", err)
	}
	return asc, nil
}
