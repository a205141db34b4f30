package fleet

import (
	"context"
	"fmt"
	"slices"

	"apron"
)

// Park drains the revision's instances as Retire does and stops them, but keeps its image, so that
// Provision starts it again without the registry. It returns when none of them is left. The
// revision must not be serving; one the engine does not have is parked already.
func (f *Fleet) Park(ctx context.Context, rev apron.Revision) error {
	if err := f.drain(ctx, rev.ID); err != nil {
		return err
	}
	prepared, err := f.cfg.Engine.Revisions(ctx)
	if err != nil {
		return fmt.Errorf("list revisions in the engine: %w", err)
	}
	if !slices.Contains(prepared, rev.ID) {
		return nil
	}
	svc, err := f.cfg.Store.Service(ctx, rev.Service)
	if err != nil {
		return fmt.Errorf("read service of revision %s: %w", rev.ID, err)
	}
	if err := f.cfg.Engine.Scale(ctx, spec(svc, rev), 0); err != nil {
		return fmt.Errorf("stop instances: %w", err)
	}
	if err := f.awaitGone(ctx, rev.ID); err != nil {
		return fmt.Errorf("await the end of the instances of revision %s: %w", rev.ID, err)
	}
	return nil
}
