package store

import (
	"context"
	"errors"
	"fmt"

	"apron"
)

const scalingColumns = `account, region, name, revision, id, max_concurrency, min_size, max_size,
	latest, is_default, created_at, deleted_at`

func scanScaling(r scanner, c *apron.AutoScalingConfiguration) error {
	var (
		latest, isDefault int
		created, deleted  int64
	)
	err := r.Scan(&c.ARN.Scope.Account, &c.ARN.Scope.Region, &c.ARN.Name, &c.ARN.Revision, &c.ARN.ID,
		&c.MaxConcurrency, &c.MinSize, &c.MaxSize, &latest, &isDefault, &created, &deleted)
	c.ARN.Type = apron.ResourceAutoScalingConfiguration
	c.Latest, c.Default = latest != 0, isDefault != 0
	c.CreatedAt, c.DeletedAt = fromMicros(created), fromMicros(deleted)
	return err
}

// AutoScalingConfiguration returns the configuration arn names. A full ARN names one revision,
// active or deleted. Without an id it names the active revision of that number, without a number
// too the latest active one. ErrNotFound. Every scope has the revision that
// apron.DefaultAutoScaling describes from the start.
func (r reader) AutoScalingConfiguration(ctx context.Context, arn apron.ARN) (apron.AutoScalingConfiguration, error) {
	c, err := r.autoScaling(ctx, arn)
	if errors.Is(err, ErrNotFound) {
		c, err = r.initialScaling(ctx, arn)
	}
	if err == nil {
		err = r.setInUse(ctx, &c)
	}
	if err != nil {
		return apron.AutoScalingConfiguration{}, fmt.Errorf("auto scaling configuration %s: %w", arn, err)
	}
	return c, nil
}

func (r reader) autoScaling(ctx context.Context, arn apron.ARN) (apron.AutoScalingConfiguration, error) {
	query := `select ` + scalingColumns + ` from auto_scaling_configurations where account = ? and region = ? and name = ?`
	args := []any{arn.Scope.Account, arn.Scope.Region, arn.Name}
	switch {
	case arn.ID != "":
		query += ` and revision = ? and id = ?`
		args = append(args, arn.Revision, arn.ID)
	case arn.Revision != 0:
		query += ` and revision = ? and deleted_at = 0`
		args = append(args, arn.Revision)
	default:
		query += ` and deleted_at = 0 order by revision desc limit 1`
	}
	var c apron.AutoScalingConfiguration
	err := r.row(ctx, func(row scanner) error { return scanScaling(row, &c) }, query, args...)
	return c, err
}

// initialScaling returns the configuration a scope starts with if arn names it and it has no row,
// which it gets only when something about it changes. ErrNotFound.
func (r reader) initialScaling(ctx context.Context, arn apron.ARN) (apron.AutoScalingConfiguration, error) {
	c := apron.DefaultAutoScaling(arn.Scope)
	if arn.Name != c.ARN.Name || (arn.Revision != 0 && arn.Revision != c.ARN.Revision) || (arn.ID != "" && arn.ID != c.ARN.ID) {
		return c, ErrNotFound
	}
	if _, err := r.autoScaling(ctx, c.ARN); !errors.Is(err, ErrNotFound) {
		if err == nil { // it has a row, which arn did not find: it is deleted
			err = ErrNotFound
		}
		return c, err
	}
	var latest, isDefault int
	err := r.row(ctx, func(row scanner) error { return row.Scan(&latest, &isDefault) },
		`select coalesce(sum(case when name = ? then latest else 0 end), 0), coalesce(sum(is_default), 0)
		from auto_scaling_configurations where account = ? and region = ?`,
		c.ARN.Name, arn.Scope.Account, arn.Scope.Region)
	c.Latest, c.Default = latest == 0, isDefault == 0
	return c, err
}

func (r reader) setInUse(ctx context.Context, c *apron.AutoScalingConfiguration) (err error) {
	c.InUse, err = r.InUse(ctx, c.ARN)
	return err
}

// DefaultAutoScalingConfiguration returns the configuration that services of the scope get when
// they are created without one.
func (r reader) DefaultAutoScalingConfiguration(ctx context.Context, scope apron.Scope) (apron.AutoScalingConfiguration, error) {
	var c apron.AutoScalingConfiguration
	err := r.row(ctx, func(row scanner) error { return scanScaling(row, &c) },
		`select `+scalingColumns+` from auto_scaling_configurations where account = ? and region = ? and is_default = 1`,
		scope.Account, scope.Region)
	if errors.Is(err, ErrNotFound) {
		c, err = r.initialScaling(ctx, apron.DefaultAutoScaling(scope).ARN)
	}
	if err == nil {
		err = r.setInUse(ctx, &c)
	}
	if err != nil {
		return apron.AutoScalingConfiguration{}, fmt.Errorf("default auto scaling configuration of %s: %w", scope, err)
	}
	return c, nil
}

// InsertAutoScalingConfiguration adds a revision. If it is Latest or Default, the one that was so
// before is no longer. ErrExists: an active revision has the number, or any has the full ARN. InUse
// is not stored; a zero CreatedAt becomes Now.
func (t *Tx) InsertAutoScalingConfiguration(ctx context.Context, c apron.AutoScalingConfiguration) error {
	if err := t.insertScaling(ctx, c); err != nil {
		return fmt.Errorf("insert auto scaling configuration %s: %w", c.ARN, err)
	}
	return nil
}

func (t *Tx) insertScaling(ctx context.Context, c apron.AutoScalingConfiguration) error {
	if c.Latest {
		if err := t.clearScaling(ctx, "latest", c.ARN); err != nil {
			return err
		}
	}
	if c.Default {
		if err := t.clearScaling(ctx, "is_default", c.ARN); err != nil {
			return err
		}
	}
	scope := c.ARN.Scope
	n, err := t.exec(ctx, `insert into auto_scaling_configurations (`+scalingColumns+`)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		scope.Account, scope.Region, c.ARN.Name, c.ARN.Revision, c.ARN.ID, c.MaxConcurrency, c.MinSize, c.MaxSize,
		flag(c.Latest), flag(c.Default), t.orNow(c.CreatedAt), micros(c.DeletedAt))
	if err == nil && n == 0 {
		err = ErrExists
	}
	return err
}

// clearScaling takes a flag from whichever configuration has it: latest within the name, is_default
// within the scope.
func (t *Tx) clearScaling(ctx context.Context, column string, arn apron.ARN) error {
	query := `update auto_scaling_configurations set ` + column + ` = 0 where account = ? and region = ? and ` + column + ` = 1`
	args := []any{arn.Scope.Account, arn.Scope.Region}
	if column == "latest" {
		query += ` and name = ?`
		args = append(args, arn.Name)
	}
	_, err := t.exec(ctx, query, args...)
	return err
}

// SetDefaultAutoScalingConfiguration makes the active revision of a full ARN the one that services
// of its scope get when they are created without one, instead of the one before. ErrNotFound.
func (t *Tx) SetDefaultAutoScalingConfiguration(ctx context.Context, arn apron.ARN) error {
	err := t.clearScaling(ctx, "is_default", arn)
	if err != nil {
		return fmt.Errorf("set default auto scaling configuration %s: %w", arn, err)
	}
	n, err := t.exec(ctx, `update auto_scaling_configurations set is_default = 1
		where account = ? and region = ? and name = ? and revision = ? and id = ? and deleted_at = 0`,
		arn.Scope.Account, arn.Scope.Region, arn.Name, arn.Revision, arn.ID)
	if err == nil && n == 0 {
		// The configuration a scope starts with has no row: it is the default when no other is.
		_, err = t.initialScaling(ctx, arn)
	}
	if err != nil {
		return fmt.Errorf("set default auto scaling configuration %s: %w", arn, err)
	}
	return nil
}

// DeleteAutoScalingConfiguration marks the active revision of a full ARN as deleted, and the
// highest one that is left of its name as the latest. ErrNotFound.
func (t *Tx) DeleteAutoScalingConfiguration(ctx context.Context, arn apron.ARN) error {
	if err := t.deleteScaling(ctx, arn); err != nil {
		return fmt.Errorf("delete auto scaling configuration %s: %w", arn, err)
	}
	return nil
}

func (t *Tx) deleteScaling(ctx context.Context, arn apron.ARN) error {
	n, err := t.exec(ctx, `update auto_scaling_configurations set deleted_at = ?, latest = 0, is_default = 0
		where account = ? and region = ? and name = ? and revision = ? and id = ? and deleted_at = 0`,
		micros(t.now), arn.Scope.Account, arn.Scope.Region, arn.Name, arn.Revision, arn.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		// What a scope starts with needs a row now, to say that it is gone.
		initial, err := t.initialScaling(ctx, arn)
		if err != nil {
			return err
		}
		initial.Latest, initial.Default, initial.DeletedAt = false, false, t.now
		return t.insertScaling(ctx, initial)
	}
	_, err = t.exec(ctx, `update auto_scaling_configurations set latest = 1
		where account = ? and region = ? and name = ? and deleted_at = 0 and latest = 0
		and revision = (select max(revision) from auto_scaling_configurations
			where account = ? and region = ? and name = ? and deleted_at = 0)`,
		arn.Scope.Account, arn.Scope.Region, arn.Name, arn.Scope.Account, arn.Scope.Region, arn.Name)
	return err
}
