package fleet

import (
	"context"
	"fmt"
	"slices"

	"apron"
	"apron/store"
)

// RetireOthers drains and stops every revision of the service that the engine has, but for keep, which
// serves. Those in the service's history keep their images, so that they can be gone back to without
// the registry; the others are removed, and what is older than the history is forgotten. So what an
// earlier operation had to leave behind goes too.
func (f *Fleet) RetireOthers(ctx context.Context, id apron.ServiceID, keep apron.RevisionID) error {
	svc, err := f.cfg.Store.Service(ctx, id)
	if err != nil {
		return fmt.Errorf("read service %s: %w", id, err)
	}
	revisions, err := f.cfg.Store.Revisions(ctx, id)
	if err != nil {
		return fmt.Errorf("read revisions of service %s: %w", id, err)
	}
	present, err := f.present(ctx, revisions)
	if err != nil {
		return err
	}
	kept, old := history(revisions, keep, f.cfg.Revisions)
	for _, rev := range present {
		switch {
		case rev.ID == keep:
		case kept[rev.ID]:
			err = f.shelve(ctx, svc, rev)
		default:
			err = f.Retire(ctx, rev.ID)
		}
		if err != nil {
			return err
		}
	}
	return f.forgetRevisions(ctx, svc, old)
}

// RetireAll drains and removes every revision of the service that the engine has.
func (f *Fleet) RetireAll(ctx context.Context, id apron.ServiceID) error {
	revisions, err := f.cfg.Store.Revisions(ctx, id)
	if err != nil {
		return fmt.Errorf("read revisions of service %s: %w", id, err)
	}
	present, err := f.present(ctx, revisions)
	if err != nil {
		return err
	}
	for _, rev := range present {
		if err := f.Retire(ctx, rev.ID); err != nil {
			return err
		}
	}
	return nil
}

// present returns those of the revisions that the engine has.
func (f *Fleet) present(ctx context.Context, revisions []apron.Revision) ([]apron.Revision, error) {
	there, err := f.cfg.Engine.Revisions(ctx)
	if err != nil {
		return nil, fmt.Errorf("list revisions in the engine: %w", err)
	}
	in := make(map[apron.RevisionID]bool, len(there))
	for _, id := range there {
		in[id] = true
	}
	var list []apron.Revision
	for _, rev := range revisions {
		if in[rev.ID] {
			list = append(list, rev)
		}
	}
	return list, nil
}

// history returns which of a service's revisions, oldest first, keep their images: serving, and the
// newest others that have served, n together. old are those that can be forgotten: they have served
// before that, or are older than n revisions that never did. It is pure.
func history(revisions []apron.Revision, serving apron.RevisionID, n int) (kept map[apron.RevisionID]bool, old []apron.RevisionID) {
	kept = map[apron.RevisionID]bool{serving: true}
	served, failed := 1, 0
	for _, rev := range slices.Backward(revisions) {
		switch {
		case rev.ID == serving:
		case rev.Outcome.Served() && served < n:
			kept[rev.ID] = true
			served++
		case rev.Outcome.Served():
			old = append(old, rev.ID)
		case failed < n:
			failed++
		default:
			old = append(old, rev.ID)
		}
	}
	return kept, old
}

// forgetRevisions removes revisions that the engine no longer has from the store, but for those the
// service's operation is about.
func (f *Fleet) forgetRevisions(ctx context.Context, svc apron.Service, old []apron.RevisionID) error {
	if len(old) == 0 {
		return nil
	}
	return f.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		for _, id := range old {
			if id == svc.Active || id == svc.Candidate {
				continue
			}
			if err := tx.DeleteRevision(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}
