package store

import (
	"context"
	"fmt"
	"time"

	"apron"
)

// purgeBatch is how many services one transaction forgets: few enough that writers hardly wait.
const purgeBatch = 100

// Purge forgets the services that were deleted before the given time, with their revisions,
// operations and tags, and returns how many there were, also with an error.
func (s *Store) Purge(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for {
		var gone []apron.Service
		err := s.Tx(ctx, func(t *Tx) (err error) {
			gone, err = t.services(ctx, `select `+serviceColumns+` from services
				where deleted_at <> 0 and deleted_at < ? order by deleted_at limit ?`, micros(before), purgeBatch)
			if err != nil {
				return err
			}
			for _, svc := range gone {
				if err := t.forget(ctx, svc); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return total, fmt.Errorf("purge services: %w", err)
		}
		total += len(gone)
		if len(gone) < purgeBatch {
			return total, nil
		}
	}
}

// forget removes a service's row, and with it, by their foreign keys, revisions and operations.
func (t *Tx) forget(ctx context.Context, svc apron.Service) error {
	if _, err := t.exec(ctx, `delete from tags where arn = ?`, svc.ARN().String()); err != nil {
		return err
	}
	_, err := t.exec(ctx, `delete from services where id = ?`, string(svc.ID))
	return err
}
