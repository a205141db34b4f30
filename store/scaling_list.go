package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"apron"
)

// ScalingFilter chooses auto scaling configurations. The zero value chooses every active one.
type ScalingFilter struct {
	Name    string // only revisions of this name; empty: of all
	Latest  bool   // only the latest of each name
	Default bool   // with Latest: also the scope's default, if it is not the latest of its name
}

func (f ScalingFilter) allows(c apron.AutoScalingConfiguration) bool {
	return (f.Name == "" || f.Name == c.ARN.Name) && (!f.Latest || c.Latest || f.Default && c.Default)
}

// AutoScalingConfigurations returns the scope's active configurations that the filter chooses, by
// name and then the newest revision first, from the cursor after (empty: the start), at most limit
// (0: all), and the cursor of the next page (empty: this is the last). A cursor that is not of this
// method's making is an Invalid Fault.
func (r reader) AutoScalingConfigurations(ctx context.Context, scope apron.Scope, f ScalingFilter, after string, limit int) ([]apron.AutoScalingConfiguration, string, error) {
	read := func(from cursor, rows int64) ([]apron.AutoScalingConfiguration, error) {
		return r.scalings(ctx, scope, f, from, rows)
	}
	list, next, err := page(after, limit, cursor{n: math.MaxInt64}, read, scalingCursor)
	for i := 0; i < len(list) && err == nil; i++ {
		err = r.setInUse(ctx, &list[i])
	}
	if err != nil {
		return nil, "", fmt.Errorf("auto scaling configurations of %s: %w", scope, err)
	}
	return list, next, nil
}

func scalingCursor(c apron.AutoScalingConfiguration) cursor {
	return cursor{n: int64(c.ARN.Revision), id: c.ARN.Name}
}

// byName orders cursors of a list by name with the highest revision of each name first.
func byName(a, b cursor) int {
	return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(b.n, a.n))
}

// scalings reads the rows behind a cursor, and puts what the scope starts with among them if it has
// no row of its own.
func (r reader) scalings(ctx context.Context, scope apron.Scope, f ScalingFilter, from cursor, rows int64) ([]apron.AutoScalingConfiguration, error) {
	// Before the rows: if it gets one in between, it is seen twice rather than not at all.
	initial, err := r.initialScaling(ctx, apron.DefaultAutoScaling(scope).ARN)
	missing := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	query := `select ` + scalingColumns + ` from auto_scaling_configurations
		where account = ? and region = ? and deleted_at = 0 and (name > ? or (name = ? and revision < cast(? as bigint)))`
	args := []any{scope.Account, scope.Region, from.id, from.id, from.n}
	if f.Name != "" {
		query += ` and name = ?`
		args = append(args, f.Name)
	}
	switch {
	case f.Latest && f.Default:
		query += ` and (latest = 1 or is_default = 1)`
	case f.Latest:
		query += ` and latest = 1`
	}
	var list []apron.AutoScalingConfiguration
	err = r.rows(ctx, func(row scanner) error {
		var c apron.AutoScalingConfiguration
		err := scanScaling(row, &c)
		missing = missing && c.ARN != initial.ARN
		list = append(list, c)
		return err
	}, query+` order by name, revision desc limit ?`, append(args, rows)...)
	if err != nil || !missing || !f.allows(initial) || byName(from, scalingCursor(initial)) >= 0 {
		return list, err
	}
	at, _ := slices.BinarySearchFunc(list, scalingCursor(initial), func(c apron.AutoScalingConfiguration, at cursor) int {
		return byName(scalingCursor(c), at)
	})
	return slices.Insert(list, at, initial), nil
}

// CountAutoScalingNames returns how many names the scope's active configurations have, besides
// DefaultConfiguration.
func (r reader) CountAutoScalingNames(ctx context.Context, scope apron.Scope) (int, error) {
	n, err := r.count(ctx, `select count(distinct name) from auto_scaling_configurations
		where account = ? and region = ? and deleted_at = 0 and name <> ?`,
		scope.Account, scope.Region, apron.DefaultConfigurationName)
	if err != nil {
		return 0, fmt.Errorf("count auto scaling configurations of %s: %w", scope, err)
	}
	return n, nil
}

// ServicesWithAutoScaling returns the ARNs of the services, not deleted, whose configuration refers
// to the auto scaling configuration of a full ARN, oldest first, from the cursor after (empty: the
// start), at most limit (0: all), and the cursor of the next page (empty: this is the last). A
// cursor that is not of this method's making is an Invalid Fault.
func (r reader) ServicesWithAutoScaling(ctx context.Context, arn apron.ARN, after string, limit int) ([]apron.ARN, string, error) {
	list, next, err := page(after, limit, cursor{n: -1}, func(from cursor, rows int64) (list []apron.Service, err error) {
		err = r.rows(ctx, func(row scanner) error {
			var created int64
			svc := apron.Service{Scope: arn.Scope}
			err := row.Scan(&svc.ID, &svc.Name, &created)
			svc.CreatedAt = fromMicros(created)
			list = append(list, svc)
			return err
		}, `select id, name, created_at from services where auto_scaling = ? and (created_at, id) > (?, ?) and deleted_at = 0
			order by created_at, id limit ?`, arn.String(), from.n, from.id, rows)
		return list, err
	}, func(svc apron.Service) cursor { return cursor{n: micros(svc.CreatedAt), id: string(svc.ID)} })
	if err != nil {
		return nil, "", fmt.Errorf("services with auto scaling configuration %s: %w", arn, err)
	}
	arns := make([]apron.ARN, len(list))
	for i, svc := range list {
		arns[i] = svc.ARN()
	}
	return arns, next, nil
}
