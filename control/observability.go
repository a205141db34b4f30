package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// NewObservabilityConfiguration is a request to create a revision of an observability
// configuration.
type NewObservabilityConfiguration struct {
	Name   string
	Vendor string // tracing vendor; empty: no tracing
	Tags   []apron.Tag
}

// CreateObservabilityConfiguration records the next revision of a name, which becomes its latest:
// one more than the highest active one, so that numbers of deleted ones come again. Faults:
// Invalid, Quota.
func (c *Control) CreateObservabilityConfiguration(ctx context.Context, scope apron.Scope, in NewObservabilityConfiguration) (apron.ObservabilityConfiguration, error) {
	if in.Name == apron.DefaultConfigurationName {
		return apron.ObservabilityConfiguration{}, apron.Faultf(apron.Invalid, "The name %s is reserved.", in.Name)
	}
	if err := apron.CheckTags(apron.ResourceObservabilityConfiguration, in.Tags); err != nil {
		return apron.ObservabilityConfiguration{}, err
	}
	config := apron.ObservabilityConfiguration{Vendor: in.Vendor, Latest: true}
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		active, _, err := tx.ObservabilityConfigurations(ctx, scope, store.ObservabilityFilter{Name: in.Name}, "", 0)
		if err != nil {
			return err
		}
		number := 1
		if len(active) > 0 { // the newest revision comes first
			number = active[0].ARN.Revision + 1
		}
		if err := c.roomForObservability(ctx, tx, scope, len(active)); err != nil {
			return err
		}
		config.ARN = apron.ARN{
			Scope: scope, Type: apron.ResourceObservabilityConfiguration, Name: in.Name, Revision: number, ID: newID(),
		}
		config.CreatedAt = tx.Now()
		if err := tx.InsertObservabilityConfiguration(ctx, config); err != nil {
			return err
		}
		return tx.PutTags(ctx, config.ARN, in.Tags)
	})
	if err != nil {
		return apron.ObservabilityConfiguration{}, fmt.Errorf("create observability configuration: %w", err)
	}
	return config, nil
}

// roomForObservability checks the quotas before one more revision of a name that has some already.
func (c *Control) roomForObservability(ctx context.Context, tx *store.Tx, scope apron.Scope, revisions int) error {
	q := c.cfg.Quotas
	if err := apron.OverQuota(q.ObservabilityRevisions, revisions, "active revisions of one observability configuration"); err != nil {
		return err
	}
	if q.ObservabilityConfigurations == 0 || revisions > 0 {
		return nil
	}
	names, err := tx.CountObservabilityNames(ctx, scope)
	if err != nil {
		return err
	}
	return apron.OverQuota(q.ObservabilityConfigurations, names, "observability configurations")
}

// observabilityReader is what reading an observability configuration needs of a *store.Store or
// *store.Tx.
type observabilityReader interface {
	ObservabilityConfiguration(ctx context.Context, arn apron.ARN) (apron.ObservabilityConfiguration, error)
}

// namedObservability reads what a full or partial ARN names; one that is deleted only by its full
// ARN.
func namedObservability(ctx context.Context, from observabilityReader, scope apron.Scope, arn string) (apron.ObservabilityConfiguration, error) {
	a, err := named(scope, arn, apron.ResourceObservabilityConfiguration)
	if err != nil {
		return apron.ObservabilityConfiguration{}, err
	}
	config, err := from.ObservabilityConfiguration(ctx, a)
	if errors.Is(err, store.ErrNotFound) {
		return apron.ObservabilityConfiguration{}, notFound(arn)
	}
	if err != nil {
		return apron.ObservabilityConfiguration{}, fmt.Errorf("read observability configuration: %w", err)
	}
	return config, nil
}

// ObservabilityConfiguration returns what arn names: in full any revision, deleted ones for as long
// as they are kept; in part the active revision of that number, or the latest. Faults: Invalid,
// NotFound.
func (c *Control) ObservabilityConfiguration(ctx context.Context, scope apron.Scope, arn string) (apron.ObservabilityConfiguration, error) {
	return namedObservability(ctx, c.cfg.Store, scope, arn)
}

// ObservabilityConfigurations returns one page of the scope's active configurations, the one every
// scope has among them, by name and then the newest revision first, and the cursor of the next page
// (empty: none). name, if not empty, leaves only its revisions; latestOnly only the latest of each
// name.
func (c *Control) ObservabilityConfigurations(ctx context.Context, scope apron.Scope, name string, latestOnly bool, page Page) ([]apron.ObservabilityConfiguration, string, error) {
	f := store.ObservabilityFilter{Name: name, Latest: latestOnly}
	return c.cfg.Store.ObservabilityConfigurations(ctx, scope, f, page.After, page.Limit)
}

// DeleteObservabilityConfiguration marks the active revision arn names, in full or in part, as
// deleted, and returns it so. What a service uses stays, and the one every scope has. Faults:
// Invalid, NotFound.
func (c *Control) DeleteObservabilityConfiguration(ctx context.Context, scope apron.Scope, arn string) (apron.ObservabilityConfiguration, error) {
	var config apron.ObservabilityConfiguration
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		var err error
		if config, err = namedObservability(ctx, tx, scope, arn); err != nil {
			return err
		}
		if !config.Active() {
			return notFound(arn)
		}
		if config.ARN == apron.DefaultObservability(scope).ARN {
			return apron.Faultf(apron.Invalid, "Observability configuration %s is the default and cannot be deleted.", config.ARN)
		}
		used, err := tx.InUse(ctx, config.ARN)
		if err != nil {
			return err
		}
		if used {
			return inUse("Observability configuration", config.ARN)
		}
		config.Latest, config.DeletedAt = false, tx.Now()
		return tx.DeleteObservabilityConfiguration(ctx, config.ARN)
	})
	if err != nil {
		return apron.ObservabilityConfiguration{}, fmt.Errorf("delete observability configuration: %w", err)
	}
	return config, nil
}
