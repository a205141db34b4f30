package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

// scaling returns revision n of a configuration.
func scaling(name string, n int) apron.AutoScalingConfiguration {
	return apron.AutoScalingConfiguration{
		ARN: apron.ARN{
			Scope: scope, Type: apron.ResourceAutoScalingConfiguration, Name: name, Revision: n, ID: id(100 + n),
		},
		MaxConcurrency: 10 * n, MinSize: 1, MaxSize: n, Latest: true, CreatedAt: start,
	}
}

func TestAutoScalingConfiguration(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		deleted := scaling("web", 3)
		deleted.Latest, deleted.DeletedAt = false, start.Add(time.Hour)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			for _, c := range []apron.AutoScalingConfiguration{scaling("web", 1), scaling("web", 2), deleted} {
				if err := tx.InsertAutoScalingConfiguration(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
		first, second := scaling("web", 1), scaling("web", 2)
		first.Latest = false
		byName := func(name string, revision int) apron.ARN {
			return apron.ARN{Scope: scope, Type: apron.ResourceAutoScalingConfiguration, Name: name, Revision: revision}
		}
		abroad := apron.DefaultAutoScaling(apron.Scope{Account: scope.Account, Region: "eu-west-1"})
		wrongID := first.ARN
		wrongID.ID = id(7)
		for name, tc := range map[string]struct {
			arn  apron.ARN
			want apron.AutoScalingConfiguration // zero: not found
		}{
			"full":                  {first.ARN, first},
			"full, deleted":         {deleted.ARN, deleted},
			"full, wrong id":        {arn: wrongID},
			"name":                  {byName("web", 0), second},
			"name and revision":     {byName("web", 1), first},
			"revision is deleted":   {arn: byName("web", 3)},
			"unknown":               {arn: byName("api", 0)},
			"default":               {byName(apron.DefaultConfigurationName, 0), apron.DefaultAutoScaling(scope)},
			"default, revision":     {byName(apron.DefaultConfigurationName, 1), apron.DefaultAutoScaling(scope)},
			"default, no revision":  {arn: byName(apron.DefaultConfigurationName, 2)},
			"default, full, abroad": {abroad.ARN, abroad},
		} {
			got, err := s.AutoScalingConfiguration(t.Context(), tc.arn)
			if missing := tc.want.MaxConcurrency == 0; missing != errors.Is(err, store.ErrNotFound) || !missing && err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
}

func TestDefaultAutoScalingConfiguration(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		wantDefault := func(want apron.AutoScalingConfiguration) {
			t.Helper()
			got, err := s.DefaultAutoScalingConfiguration(t.Context(), scope)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		initial := apron.DefaultAutoScaling(scope)
		wantDefault(initial)
		insert(t, s, service(1)) // it refers to the default
		initial.InUse = true
		wantDefault(initial)

		web := scaling("web", 1)
		web.Default = true
		revised := scaling(apron.DefaultConfigurationName, 2)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			if err := tx.InsertAutoScalingConfiguration(ctx, web); err != nil {
				return err
			}
			return tx.InsertAutoScalingConfiguration(ctx, revised)
		})
		wantDefault(web)
		initial.Default, initial.Latest = false, false // it has been revised and replaced, though it has no row
		got, err := s.AutoScalingConfiguration(t.Context(), initial.ARN)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(initial, got); diff != "" {
			t.Error(diff)
		}
		err = s.Tx(t.Context(), func(tx *store.Tx) error {
			again := web
			again.ARN.ID = id(9)
			return tx.InsertAutoScalingConfiguration(t.Context(), again)
		})
		if !errors.Is(err, store.ErrExists) {
			t.Errorf("a number twice: got %v, want ErrExists", err)
		}
	})
}

func TestAccessKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		one := apron.AccessKey{ID: "AKIAONE", Secret: "s1", Account: scope.Account, Principal: "p1", CreatedAt: start}
		two := apron.AccessKey{ID: "AKIATWO", Secret: "s2", Account: scope.Account, Principal: "p2", CreatedAt: start.Add(time.Second)}
		foreign := apron.AccessKey{ID: "AKIAX", Secret: "s3", Account: "210987654321", Principal: "p3", CreatedAt: start}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertAccessKey(ctx, two), tx.InsertAccessKey(ctx, one), tx.InsertAccessKey(ctx, foreign))
		})
		if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.InsertAccessKey(ctx, one) }); !errors.Is(err, store.ErrExists) {
			t.Errorf("insert again: got %v, want ErrExists", err)
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.SetAccessKeyDisabled(ctx, two.ID, true) })
		late, early := start.Add(time.Hour), start.Add(time.Minute)
		for _, used := range []map[string]time.Time{{one.ID: late, "AKIAGONE": late}, {one.ID: early}, nil} {
			if err := s.TouchAccessKeys(ctx, used); err != nil {
				t.Fatal(err)
			}
		}
		one.LastUsedAt, two.Disabled = late, true
		got, err := s.AccessKeys(ctx, scope.Account)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]apron.AccessKey{one, two}, got); diff != "" {
			t.Error(diff)
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteAccessKey(ctx, one.ID) })
		if _, err := s.AccessKey(ctx, one.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after delete: got %v, want ErrNotFound", err)
		}
		for name, fn := range map[string]func(*store.Tx) error{
			"delete":  func(tx *store.Tx) error { return tx.DeleteAccessKey(ctx, one.ID) },
			"disable": func(tx *store.Tx) error { return tx.SetAccessKeyDisabled(ctx, one.ID, true) },
		} {
			if err := s.Tx(ctx, fn); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s a key that is gone: got %v, want ErrNotFound", name, err)
			}
		}
	})
}
