package fleet

import (
	"context"
	"fmt"

	"apron"
)

// RetireOthers retires every revision of the service that the engine still has, but for keep
// (empty: none is kept). So what an earlier operation had to leave behind goes too.
func (f *Fleet) RetireOthers(ctx context.Context, id apron.ServiceID, keep apron.RevisionID) error {
	revisions, err := f.cfg.Store.Revisions(ctx, id)
	if err != nil {
		return fmt.Errorf("read revisions of service %s: %w", id, err)
	}
	present, err := f.cfg.Engine.Revisions(ctx)
	if err != nil {
		return fmt.Errorf("list revisions in the engine: %w", err)
	}
	in := make(map[apron.RevisionID]bool, len(present))
	for _, rev := range present {
		in[rev] = true
	}
	for _, rev := range revisions {
		if rev.ID == keep || !in[rev.ID] {
			continue
		}
		if err := f.Retire(ctx, rev.ID); err != nil {
			return err
		}
	}
	return nil
}
