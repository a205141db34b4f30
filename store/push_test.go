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

func TestPush(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		busy := service(2)
		busy.Status = apron.ServiceOperationInProgress
		insert(t, s, service(1), busy)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(
				tx.NoteVersion(ctx, service(1).ID, "a"),
				tx.SetPush(ctx, busy.ID, store.Push{Version: "b", Pending: true}),
				tx.NoteVersion(ctx, busy.ID, "older"), // what an operation found before the push
			)
		})
		for id, want := range map[apron.ServiceID]store.Push{service(1).ID: {Version: "a"}, busy.ID: {Version: "b", Pending: true}} {
			if got, err := s.Push(t.Context(), id); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		}
		if list, err := s.PendingPushes(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("pending during an operation: %v, %v", list, err)
		}
		busy.Status = apron.ServicePaused
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateService(ctx, busy) })
		list, err := s.PendingPushes(t.Context())
		if diff := cmp.Diff([]apron.ServiceID{busy.ID}, list); diff != "" || err != nil {
			t.Errorf("pending after it: %v\n%s", err, diff)
		}
		if _, err := s.Push(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("push to no service: %v", err)
		}
		err = s.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetPush(t.Context(), "none", store.Push{}) })
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("push to no service: %v", err)
		}
	})
}

func TestFollowedImages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		follows, manual, code, gone := service(1), service(2), service(3), service(4)
		follows.Config.Source.AutoDeployments = true
		code.Config.Source = apron.SourceConfiguration{AutoDeployments: true, Code: &apron.CodeRepository{URL: "https://example.com/x", Branch: "main"}}
		gone.Config.Source.AutoDeployments = true
		gone.Status = apron.ServiceDeleted
		insert(t, s, follows, manual, code, gone)
		want := []apron.FollowedImage{{Service: follows.ID, Scope: scope, Identifier: follows.Config.Source.Image.Identifier}}
		got, err := s.FollowedImages(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		manual.Config.Source.AutoDeployments = true // an update
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateService(ctx, manual) })
		if got, err := s.FollowedImages(t.Context()); err != nil || len(got) != 2 {
			t.Errorf("after the update %v, %v", got, err)
		}
	})
}

func TestFollowedBranches(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		code := apron.SourceConfiguration{
			AutoDeployments: true, ConnectionARN: "arn",
			Code: &apron.CodeRepository{URL: "https://example.com/x", Branch: "main", SourceDirectory: "/web"},
		}
		follows, manual, image, gone := service(1), service(2), service(3), service(4)
		follows.Config.Source, manual.Config.Source, gone.Config.Source = code, code, code
		manual.Config.Source.AutoDeployments, image.Config.Source.AutoDeployments = false, true
		gone.Status = apron.ServiceDeleted
		insert(t, s, follows, manual, image, gone)
		want := []apron.FollowedBranch{{
			Service: follows.ID, Scope: scope, URL: "https://example.com/x", Branch: "main", SourceDirectory: "/web", ConnectionARN: "arn",
		}}
		got, err := s.FollowedBranches(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
