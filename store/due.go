package store

import (
	"context"
	"fmt"
	"time"
)

// NextDue returns when the status of a VPC ingress connection or custom domain is next to be moved
// on: now or earlier if one is. false: all of them rest.
func (s *Store) NextDue(ctx context.Context) (time.Time, bool, error) {
	var at int64
	err := s.row(ctx, func(r scanner) error { return r.Scan(&at) },
		`select coalesce(min(due), 0) from (
			select min(due_at) as due from vpc_ingress_connections where due_at <> 0
			union all select min(due_at) from custom_domains where due_at <> 0) as d`)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("next due status: %w", err)
	}
	return fromMicros(at), at != 0, nil
}

// wakeAt has other processes see when the transaction commits that something is due at a time; zero
// is never.
func (t *Tx) wakeAt(ctx context.Context, due time.Time) error {
	if due.IsZero() {
		return nil
	}
	return t.wake(ctx)
}
