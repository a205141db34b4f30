package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

func TestRevisionBuild(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		build := apron.Build{
			Commit: "c0ffee", Version: "dec0de", RuntimeVersion: "22.1.0",
			Run: apron.RunConfiguration{
				Port: "9000", StartCommand: "node .", Env: map[string]string{"A": "ü"}, Secrets: map[string]string{"B": "arn"},
			},
		}
		image := apron.Image{Reference: "built/web@sha256:01", Digest: "sha256:01"}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.InsertRevision(ctx, apron.Revision{ID: "a", Service: service(1).ID, Config: service(1).Config}); err != nil {
				return err
			}
			if rev, err := tx.Revision(ctx, "a"); err != nil || rev.Build != nil {
				t.Errorf("before the build: %+v, %v", rev.Build, err)
			}
			if err := tx.SetRevisionBuild(ctx, "a", image, build); err != nil {
				return err
			}
			_, err := tx.InsertRevision(ctx, apron.Revision{ID: "b", Service: service(1).ID, Config: service(1).Config, Image: image, Build: &build})
			return err
		})
		for _, id := range []apron.RevisionID{"a", "b"} {
			rev, err := s.Revision(t.Context(), id)
			if err != nil || rev.Image != image {
				t.Errorf("%s: image %+v, %v", id, rev.Image, err)
			}
			if diff := cmp.Diff(&build, rev.Build); diff != "" {
				t.Errorf("%s (-want +got):\n%s", id, diff)
			}
		}
		err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetRevisionBuild(t.Context(), "none", image, build) })
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("build of no revision: %v", err)
		}
		build.Run.StartCommand = "\x00"
		err = s.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetRevisionBuild(t.Context(), "a", image, build) })
		if apron.KindOf(err) != apron.Invalid {
			t.Errorf("build with a NUL: %v", err)
		}
	})
}
