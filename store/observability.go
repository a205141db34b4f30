package store

import (
	"context"
	"fmt"
	"math"
	"slices"

	"apron"
)

const observabilityColumns = `account, region, name, revision, id, vendor, latest, created_at, deleted_at`

func scanObservability(r scanner, c *apron.ObservabilityConfiguration) error {
	var (
		latest           int
		created, deleted int64
	)
	err := r.Scan(&c.ARN.Scope.Account, &c.ARN.Scope.Region, &c.ARN.Name, &c.ARN.Revision, &c.ARN.ID,
		&c.Vendor, &latest, &created, &deleted)
	c.ARN.Type = apron.ResourceObservabilityConfiguration
	c.Latest = latest != 0
	c.CreatedAt, c.DeletedAt = fromMicros(created), fromMicros(deleted)
	return err
}

// ObservabilityConfiguration returns the configuration arn names. A full ARN names one revision,
// active or deleted. Without an id it names the active revision of that number, without a number
// too the latest active one. ErrNotFound. Every scope has the revision that
// apron.DefaultObservability describes.
func (r reader) ObservabilityConfiguration(ctx context.Context, arn apron.ARN) (apron.ObservabilityConfiguration, error) {
	if c := apron.DefaultObservability(arn.Scope); arn.Name == c.ARN.Name {
		if (arn.Revision == 0 || arn.Revision == c.ARN.Revision) && (arn.ID == "" || arn.ID == c.ARN.ID) {
			return c, nil
		}
		return apron.ObservabilityConfiguration{}, fmt.Errorf("observability configuration %s: %w", arn, ErrNotFound)
	}
	query := `select ` + observabilityColumns + ` from observability_configurations where account = ? and region = ? and name = ?`
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
	var c apron.ObservabilityConfiguration
	err := r.row(ctx, func(row scanner) error { return scanObservability(row, &c) }, query, args...)
	if err != nil {
		return apron.ObservabilityConfiguration{}, fmt.Errorf("observability configuration %s: %w", arn, err)
	}
	return c, nil
}

// ObservabilityFilter chooses observability configurations. The zero value chooses every active one.
type ObservabilityFilter struct {
	Name   string // only revisions of this name; empty: of all
	Latest bool   // only the latest of each name
}

// ObservabilityConfigurations returns the scope's active configurations that the filter chooses,
// DefaultConfiguration among them, by name and then the newest revision first, from the cursor
// after (empty: the start), at most limit (0: all), and the cursor of the next page (empty: this is
// the last). A cursor that is not of this method's making is an Invalid Fault.
func (r reader) ObservabilityConfigurations(ctx context.Context, scope apron.Scope, f ObservabilityFilter, after string, limit int) ([]apron.ObservabilityConfiguration, string, error) {
	list, next, err := page(after, limit, cursor{n: math.MaxInt64}, func(from cursor, rows int64) ([]apron.ObservabilityConfiguration, error) {
		return r.observabilities(ctx, scope, f, from, rows)
	}, observabilityCursor)
	if err != nil {
		return nil, "", fmt.Errorf("observability configurations of %s: %w", scope, err)
	}
	return list, next, nil
}

func observabilityCursor(c apron.ObservabilityConfiguration) cursor {
	return cursor{n: int64(c.ARN.Revision), id: c.ARN.Name}
}

// observabilities reads the rows behind a cursor, and puts the default one, which has none, among
// them.
func (r reader) observabilities(ctx context.Context, scope apron.Scope, f ObservabilityFilter, from cursor, rows int64) ([]apron.ObservabilityConfiguration, error) {
	query := `select ` + observabilityColumns + ` from observability_configurations
		where account = ? and region = ? and deleted_at = 0 and (name > ? or (name = ? and revision < cast(? as bigint)))`
	args := []any{scope.Account, scope.Region, from.id, from.id, from.n}
	if f.Name != "" {
		query += ` and name = ?`
		args = append(args, f.Name)
	}
	if f.Latest {
		query += ` and latest = 1`
	}
	var list []apron.ObservabilityConfiguration
	err := r.rows(ctx, func(row scanner) error {
		var c apron.ObservabilityConfiguration
		err := scanObservability(row, &c)
		list = append(list, c)
		return err
	}, query+` order by name, revision desc limit ?`, append(args, rows)...)
	initial := apron.DefaultObservability(scope)
	if err != nil || f.Name != "" && f.Name != initial.ARN.Name || byName(from, observabilityCursor(initial)) >= 0 {
		return list, err
	}
	at, _ := slices.BinarySearchFunc(list, observabilityCursor(initial), func(c apron.ObservabilityConfiguration, at cursor) int {
		return byName(observabilityCursor(c), at)
	})
	return slices.Insert(list, at, initial), nil
}

// CountObservabilityNames returns how many names the scope's active configurations have, besides
// DefaultConfiguration.
func (r reader) CountObservabilityNames(ctx context.Context, scope apron.Scope) (int, error) {
	n, err := r.count(ctx, `select count(distinct name) from observability_configurations
		where account = ? and region = ? and deleted_at = 0`, scope.Account, scope.Region)
	if err != nil {
		return 0, fmt.Errorf("count observability configurations of %s: %w", scope, err)
	}
	return n, nil
}

// InsertObservabilityConfiguration adds a revision. If it is Latest, the one that was so before is
// no longer. ErrExists: an active revision has the number, any has the full ARN, or the name is
// DefaultConfiguration. A zero CreatedAt becomes Now.
func (t *Tx) InsertObservabilityConfiguration(ctx context.Context, c apron.ObservabilityConfiguration) error {
	if err := t.insertObservability(ctx, c); err != nil {
		return fmt.Errorf("insert observability configuration %s: %w", c.ARN, err)
	}
	return nil
}

func (t *Tx) insertObservability(ctx context.Context, c apron.ObservabilityConfiguration) error {
	if c.ARN.Name == apron.DefaultConfigurationName {
		return ErrExists
	}
	scope := c.ARN.Scope
	if c.Latest {
		_, err := t.exec(ctx, `update observability_configurations set latest = 0
			where account = ? and region = ? and name = ? and latest = 1`, scope.Account, scope.Region, c.ARN.Name)
		if err != nil {
			return err
		}
	}
	n, err := t.exec(ctx, `insert into observability_configurations (`+observabilityColumns+`)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		scope.Account, scope.Region, c.ARN.Name, c.ARN.Revision, c.ARN.ID, c.Vendor, flag(c.Latest),
		t.orNow(c.CreatedAt), micros(c.DeletedAt))
	if err == nil && n == 0 {
		err = ErrExists
	}
	return err
}

// DeleteObservabilityConfiguration marks the active revision of a full ARN as deleted, and the
// highest one that is left of its name as the latest. ErrNotFound.
func (t *Tx) DeleteObservabilityConfiguration(ctx context.Context, arn apron.ARN) error {
	n, err := t.exec(ctx, `update observability_configurations set deleted_at = ?, latest = 0
		where account = ? and region = ? and name = ? and revision = ? and id = ? and deleted_at = 0`,
		micros(t.now), arn.Scope.Account, arn.Scope.Region, arn.Name, arn.Revision, arn.ID)
	if err := changed(n, err, "delete observability configuration", arn.String()); err != nil {
		return err
	}
	_, err = t.exec(ctx, `update observability_configurations set latest = 1
		where account = ? and region = ? and name = ? and deleted_at = 0 and latest = 0
		and revision = (select max(revision) from observability_configurations
			where account = ? and region = ? and name = ? and deleted_at = 0)`,
		arn.Scope.Account, arn.Scope.Region, arn.Name, arn.Scope.Account, arn.Scope.Region, arn.Name)
	if err != nil {
		return fmt.Errorf("delete observability configuration %s: %w", arn, err)
	}
	return nil
}
