package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

// history adds revisions with outcomes to a service, oldest first.
func history(t *testing.T, s *store.Store, svc apron.ServiceID, ids map[string]apron.RevisionOutcome) {
	t.Helper()
	names := make([]string, 0, len(ids))
	for name := range ids {
		names = append(names, name)
	}
	slices.Sort(names)
	tx(t, s, func(ctx context.Context, tx *store.Tx) error {
		for n, name := range names {
			rev := apron.Revision{ID: apron.RevisionID(name), Service: svc, Config: service(1).Config, CopyOf: n}
			if _, err := tx.InsertRevision(ctx, rev); err != nil {
				return err
			}
			if err := tx.SetRevisionOutcome(ctx, rev.ID, ids[name], "because of \x00 it"); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestRevisionOutcome(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		history(t, s, service(1).ID, map[string]apron.RevisionOutcome{"a": apron.RevisionSuperseded, "b": apron.RevisionFailed})
		list, err := s.Revisions(t.Context(), service(1).ID)
		if err != nil || len(list) != 2 {
			t.Fatalf("%v, %v", list, err)
		}
		if got := list[1]; got.Outcome != apron.RevisionFailed || got.Reason != "because of \uFFFD it" || got.CopyOf != 1 {
			t.Errorf("got %+v", got)
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.SetRevisionOutcome(ctx, "a", apron.RevisionDeployed, strings.Repeat("x", 2*store.MaxReason))
		})
		if got, err := s.Revision(t.Context(), "a"); err != nil || got.Outcome != apron.RevisionDeployed || len(got.Reason) != store.MaxReason {
			t.Errorf("got %s with a reason of %d bytes, %v", got.Outcome, len(got.Reason), err)
		}
		err = s.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetRevisionOutcome(t.Context(), "none", apron.RevisionFailed, "") })
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("outcome of no revision: %v", err)
		}
	})
}

func TestKeptRevisions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		busy, gone := service(2), service(3)
		busy.Status, gone.Status = apron.ServiceOperationInProgress, apron.ServiceDeleted
		insert(t, s, service(1), busy, gone)
		for svc, prefix := range map[apron.ServiceID]string{service(1).ID: "run", busy.ID: "busy", gone.ID: "gone"} {
			history(t, s, svc, map[string]apron.RevisionOutcome{
				prefix + "-1": apron.RevisionSuperseded, prefix + "-2": apron.RevisionFailed, prefix + "-3": apron.RevisionRolledBack,
				prefix + "-4": apron.RevisionDeployed, prefix + "-5": apron.RevisionPending,
			})
		}
		got, err := s.KeptRevisions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		want := []apron.RevisionID{"busy-1", "busy-2", "busy-3", "busy-4", "busy-5", "run-1", "run-4"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.DeleteRevision(ctx, "run-1"), tx.DeleteRevision(ctx, "run-1"))
		})
		if _, err := s.Revision(t.Context(), "run-1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a deleted revision: %v", err)
		}
	})
}
