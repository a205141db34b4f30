package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

func TestRevisions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1), service(2))
		want := make([]apron.Revision, 3)
		for n := range want {
			want[n] = apron.Revision{
				ID: apron.RevisionID(id(9 - n)), Service: service(1).ID, Config: service(1).Config, CreatedAt: start,
			}
			tx(t, s, func(ctx context.Context, tx *store.Tx) error {
				got, err := tx.InsertRevision(ctx, want[n])
				want[n].Number = n + 1
				if diff := cmp.Diff(want[n], got); diff != "" {
					t.Error(diff)
				}
				return err
			})
		}
		want[1].Image = apron.Image{Reference: "example.com/web@sha256:00", Digest: "sha256:00"}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.SetRevisionImage(ctx, want[1].ID, want[1].Image)
		})
		got, err := s.Revisions(t.Context(), service(1).ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for name, tc := range map[string]struct {
			fn   func(context.Context, *store.Tx) error
			want error
		}{
			"same id": {func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.InsertRevision(ctx, apron.Revision{ID: want[0].ID, Service: service(2).ID})
				return err
			}, store.ErrExists},
			"no service": {func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.InsertRevision(ctx, apron.Revision{ID: "x", Service: "none"})
				return err
			}, store.ErrNotFound},
			"image of none": {func(ctx context.Context, tx *store.Tx) error {
				return tx.SetRevisionImage(ctx, "none", apron.Image{})
			}, store.ErrNotFound},
		} {
			err := s.Tx(t.Context(), func(tx *store.Tx) error { return tc.fn(t.Context(), tx) })
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
		}
	})
}

func TestInsertOperation(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1), service(2))
		queue(t, s, operation(1, service(1).ID))
		started := operation(3, service(2).ID)
		started.Status = apron.OperationInProgress
		for name, tc := range map[string]struct {
			op   apron.Operation
			want error
		}{
			"another of the service": {operation(2, service(1).ID), store.ErrBusy},
			"same id":                {operation(1, service(2).ID), store.ErrExists},
			"no service":             {operation(4, "none"), store.ErrNotFound},
		} {
			err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertOperation(t.Context(), tc.op) })
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
		}
		if err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertOperation(t.Context(), started) }); err == nil {
			t.Error("an operation that is not PENDING was queued")
		}
		want := operation(1, service(1).ID)
		want.StartedAt, want.UpdatedAt = c.now(), c.now()
		got, err := s.Operation(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}, store.WithNow(c.now))
}

// Operations are listed newest first also when the clock does not tell them apart.
func TestOperationsPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1), service(2))
		var want []apron.OperationID
		for n := range 7 {
			op := operation(50-n, service(1).ID)
			queue(t, s, op)
			l, err := s.Claim(t.Context(), "r", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			tx(t, s, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.EndOperation(ctx, l, apron.OperationSucceeded)
				return err
			})
			want = append([]apron.OperationID{op.ID}, want...)
		}
		queue(t, s, operation(99, service(2).ID))
		for _, limit := range []int{0, 1, 3, 7, 8} {
			var got []apron.OperationID
			for after, more := "", true; more; more = after != "" {
				list, next, err := s.Operations(t.Context(), service(1).ID, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, op := range list {
					got = append(got, op.ID)
				}
				after = next
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("limit %d: %s", limit, diff)
			}
		}
	}, store.WithNow((&clock{}).now))
}

func TestEndOperation(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		statuses := []apron.OperationStatus{
			apron.OperationPending, apron.OperationInProgress, apron.OperationFailed, apron.OperationSucceeded,
			apron.OperationRollbackInProgress, apron.OperationRollbackFailed, apron.OperationRollbackSucceeded,
		}
		n := 0
		for _, rollback := range []bool{false, true} {
			from := apron.OperationInProgress
			if rollback {
				from = apron.OperationRollbackInProgress
			}
			for _, to := range statuses {
				n++
				queue(t, s, operation(n, service(1).ID))
				l, err := s.Claim(t.Context(), "r", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if rollback {
					tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.FailOperation(ctx, l, "because", true) })
				}
				c.advance(time.Second)
				var ended apron.Operation
				err = s.Tx(t.Context(), func(tx *store.Tx) (err error) {
					ended, err = tx.EndOperation(t.Context(), l, to)
					return err
				})
				legal := to.Final() && from.CanBecome(to)
				if legal != (err == nil) {
					t.Errorf("%s to %s: got %v", from, to, err)
				}
				if !legal { // make way for the next
					tx(t, s, func(ctx context.Context, tx *store.Tx) (err error) {
						last := apron.OperationFailed
						if rollback {
							last = apron.OperationRollbackFailed
						}
						ended, err = tx.EndOperation(ctx, l, last)
						return err
					})
				}
				got, err := s.Operation(t.Context(), l.Operation.ID)
				if err != nil || got.EndedAt.IsZero() || !got.EndedAt.Equal(got.UpdatedAt) {
					t.Errorf("ended at %v, updated at %v, %v", got.EndedAt, got.UpdatedAt, err)
				}
				if diff := cmp.Diff(got, ended); diff != "" {
					t.Error(diff)
				}
			}
		}
	}, store.WithNow(c.now))
}

// A reason comes from what an application wrote: any bytes, any length.
func TestFailOperationReason(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		for n, tc := range []struct{ reason, want string }{
			{"exit code 1\nlast log lines:\nboom", "exit code 1\nlast log lines:\nboom"},
			{"nul \x00 and \xff\xfe", "nul \uFFFD and \uFFFD"},
			{strings.Repeat("€", 10_000), strings.Repeat("€", (store.MaxReason-3)/3) + "…"},
		} {
			queue(t, s, operation(n, service(1).ID))
			l, err := s.Claim(t.Context(), "r", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.FailOperation(ctx, l, tc.reason, false) })
			tx(t, s, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.EndOperation(ctx, l, apron.OperationFailed)
				return err
			})
			got, err := s.Operation(t.Context(), l.Operation.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.Reason != tc.want || len(got.Reason) > store.MaxReason || !utf8.ValidString(got.Reason) {
				t.Errorf("got %d bytes %.50q, want %d bytes %.50q", len(got.Reason), got.Reason, len(tc.want), tc.want)
			}
		}
	})
}
