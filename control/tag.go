package control

import (
	"context"
	"fmt"

	"apron"
	"apron/store"
)

// existence is what finding a taggable resource needs of a *store.Store or *store.Tx.
type existence interface {
	Exists(ctx context.Context, arn apron.ARN) (bool, error)
}

// taggable parses the full ARN of a resource of any type that is there and not deleted.
func taggable(ctx context.Context, from existence, scope apron.Scope, arn string) (apron.ARN, error) {
	a, err := apron.ParseARN(arn)
	if err != nil {
		return apron.ARN{}, err
	}
	if a.Partial() {
		return apron.ARN{}, apron.Faultf(apron.Invalid, "Invalid ARN: %s is not the full ARN of a resource.", arn)
	}
	if a.Scope != scope {
		return apron.ARN{}, notFound(arn)
	}
	ok, err := from.Exists(ctx, a)
	if err != nil {
		return apron.ARN{}, err
	}
	if !ok {
		return apron.ARN{}, notFound(arn)
	}
	return a, nil
}

// TagResource adds tags to the resource of a full ARN; a key it has keeps its place and gets the new
// value. Faults: Invalid, NotFound.
func (c *Control) TagResource(ctx context.Context, scope apron.Scope, arn string, tags []apron.Tag) error {
	var a apron.ARN
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) (err error) {
		if a, err = taggable(ctx, tx, scope, arn); err != nil {
			return err
		}
		if err := apron.CheckTags(a.Type, tags); err != nil {
			return err
		}
		if err := tx.PutTags(ctx, a, tags); err != nil {
			return err
		}
		all, err := tx.Tags(ctx, a)
		if err != nil {
			return err
		}
		if len(all) > apron.MaxTags {
			return apron.TooManyTags()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("tag resource: %w", err)
	}
	c.retagged(a)
	return nil
}

// retagged tells whoever acts on tags.
func (c *Control) retagged(a apron.ARN) {
	if a.Type == apron.ResourceService {
		c.cfg.Retagged(apron.ServiceID(a.ID))
	}
}

// UntagResource removes the tags with the keys from the resource of a full ARN. Keys it does not
// have are left out. Faults: Invalid, NotFound.
func (c *Control) UntagResource(ctx context.Context, scope apron.Scope, arn string, keys []string) error {
	var a apron.ARN
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) (err error) {
		if a, err = taggable(ctx, tx, scope, arn); err != nil {
			return err
		}
		return tx.DeleteTags(ctx, a, keys)
	})
	if err != nil {
		return fmt.Errorf("untag resource: %w", err)
	}
	c.retagged(a)
	return nil
}

// Tags returns the tags of the resource of a full ARN, in the order in which their keys were first
// added. Faults: Invalid, NotFound.
func (c *Control) Tags(ctx context.Context, scope apron.Scope, arn string) ([]apron.Tag, error) {
	a, err := taggable(ctx, c.cfg.Store, scope, arn)
	if err != nil {
		return nil, err
	}
	return c.cfg.Store.Tags(ctx, a)
}
