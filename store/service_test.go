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

func TestInsertService(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		renamed := func(n int, name string) apron.Service { svc := service(n); svc.Name = name; return svc }
		elsewhere := renamed(2, "service-1")
		elsewhere.Scope.Region = "eu-west-1"
		sameHost := service(3)
		sameHost.Host = service(1).Host
		sameID := renamed(1, "other")
		sameID.Host = "other.example.com"
		for name, tc := range map[string]struct {
			svc  apron.Service
			want error
		}{
			"same name, other region": {elsewhere, nil},
			"same name":               {renamed(4, "service-1"), store.ErrExists},
			"same host":               {sameHost, store.ErrHostTaken},
			"same id":                 {sameID, store.ErrExists},
			"same everything":         {service(1), store.ErrExists},
		} {
			t.Run(name, func(t *testing.T) {
				err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertService(t.Context(), tc.svc, nil) })
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
			})
		}
	})
}

func TestServiceNotFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		if _, err := s.Service(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("read: got %v", err)
		}
		for name, fn := range map[string]func(context.Context, *store.Tx) error{
			"read":    func(ctx context.Context, tx *store.Tx) error { _, err := tx.Service(ctx, "none"); return err },
			"update":  func(ctx context.Context, tx *store.Tx) error { return tx.UpdateService(ctx, service(9)) },
			"release": func(ctx context.Context, tx *store.Tx) error { return tx.ReleaseName(ctx, "none") },
		} {
			err := s.Tx(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) })
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s in a transaction: got %v", name, err)
			}
		}
	})
}

func TestUpdateService(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		c.advance(time.Minute)
		want := service(1)
		want.Status, want.Active, want.Candidate = apron.ServiceOperationInProgress, "a", "b"
		want.Config.HealthCheck.Path = "/healthz"
		want.Config.Source.Image.Run.Env["TEXT"] = `quote ", backslash \u0000, snowman ☃`
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			changed := want
			changed.Name, changed.Host = "ignored", "ignored.example.com" // these never change
			want.UpdatedAt = tx.Now()
			return tx.UpdateService(ctx, changed)
		})
		got, err := s.Service(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}, store.WithNow(c.now))
}

func TestConfigNUL(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		svc := service(1)
		svc.Config.Source.Image.Run.Env["TEXT"] = `\` + "\x00"
		err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertService(t.Context(), svc, nil) })
		if apron.KindOf(err) != apron.Invalid {
			t.Errorf("got %v, want an Invalid Fault", err)
		}
	})
}

// A name is free again as soon as the deletion of its service was accepted, and stays so when the
// deletion fails.
func TestReleaseName(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1))
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.ReleaseName(ctx, service(1).ID) })
		again := service(2)
		again.Name = service(1).Name
		insert(t, s, again)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			first := service(1)
			first.Status = apron.ServiceDeleteFailed
			return tx.UpdateService(ctx, first)
		})
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			again.Status = apron.ServiceDeleted
			return tx.UpdateService(ctx, again)
		})
		got, err := s.Service(t.Context(), again.ID)
		if err != nil || got.DeletedAt.IsZero() {
			t.Errorf("got deleted at %v, %v; want a time", got.DeletedAt, err)
		}
		third := service(3)
		third.Name = service(1).Name
		insert(t, s, third) // deleting released the name too
	})
}

func TestServicesPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var want []apron.ServiceID
		for n := range 7 {
			svc := service(n)
			svc.CreatedAt = start.Add(time.Duration(n/3) * time.Second) // three share each time
			insert(t, s, svc)
			want = append(want, svc.ID)
		}
		foreign := service(90)
		foreign.Scope.Account = "210987654321"
		deleted := service(91)
		deleted.Status = apron.ServiceDeleted
		insert(t, s, foreign, deleted)
		for _, limit := range []int{0, 1, 2, 3, 7, 8} {
			var got []apron.ServiceID
			after := ""
			for {
				list, next, err := s.Services(t.Context(), scope, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, svc := range list {
					got = append(got, svc.ID)
				}
				if limit > 0 && len(list) > limit {
					t.Errorf("limit %d: a page has %d", limit, len(list))
				}
				if next == "" {
					break
				}
				after = next
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("limit %d: %s", limit, diff)
			}
		}
		live, err := s.LiveServices(t.Context())
		if err != nil || len(live) != 8 {
			t.Errorf("got %d live services, %v; want 8", len(live), err)
		}
	})
}

func TestPageCursor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert(t, s, service(1), service(2), service(3))
		_, next, err := s.Services(t.Context(), scope, "", 1)
		if err != nil {
			t.Fatal(err)
		}
		// The service the cursor points at goes away; one that is newer than all is added.
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			gone := service(1)
			gone.Status = apron.ServiceDeleted
			return tx.UpdateService(ctx, gone)
		})
		insert(t, s, service(4))
		list, _, err := s.Services(t.Context(), scope, next, 0)
		if err != nil || len(list) != 3 || list[0].ID != service(2).ID || list[2].ID != service(4).ID {
			t.Errorf("got %d services, %v", len(list), err)
		}
		for _, bad := range []string{"!", "AAAA", next + "=", "MS8"[:2]} {
			if _, _, err := s.Services(t.Context(), scope, bad, 1); apron.KindOf(err) != apron.Invalid {
				t.Errorf("cursor %q: got %v, want an Invalid Fault", bad, err)
			}
			if _, _, err := s.Operations(t.Context(), service(1).ID, bad, 1); apron.KindOf(err) != apron.Invalid {
				t.Errorf("cursor %q: got %v, want an Invalid Fault", bad, err)
			}
		}
	})
}

func TestTags(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		svc := service(1)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertService(ctx, svc, []apron.Tag{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "ключ", Value: "значение"}})
		})
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			if err := tx.PutTags(ctx, svc.ARN(), []apron.Tag{{Key: "c", Value: ""}, {Key: "b", Value: "3"}}); err != nil {
				return err
			}
			return tx.DeleteTags(ctx, svc.ARN(), []string{"a", "unknown", "\x00"})
		})
		got, err := s.Tags(t.Context(), svc.ARN())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]apron.Tag{{Key: "b", Value: "3"}, {Key: "ключ", Value: "значение"}, {Key: "c", Value: ""}}, got); diff != "" {
			t.Error(diff)
		}
		err = s.Tx(t.Context(), func(tx *store.Tx) error {
			return tx.PutTags(t.Context(), svc.ARN(), []apron.Tag{{Key: "nul", Value: "\x00"}})
		})
		if apron.KindOf(err) != apron.Invalid {
			t.Errorf("NUL: got %v, want an Invalid Fault", err)
		}
		other := svc.ARN()
		other.ID = id(2)
		if tags, err := s.Tags(t.Context(), other); err != nil || len(tags) != 0 {
			t.Errorf("other resource: got %v, %v", tags, err)
		}
	})
}

func TestPurge(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const old = 250 // more than two batches
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			for n := range old + 2 {
				svc := service(n)
				svc.Status, svc.DeletedAt = apron.ServiceDeleted, start
				switch n {
				case old:
					svc.DeletedAt = start.Add(time.Hour)
				case old + 1:
					svc.Status = apron.ServiceRunning
				}
				if err := tx.InsertService(ctx, svc, []apron.Tag{{Key: "k", Value: "v"}}); err != nil {
					return err
				}
			}
			if _, err := tx.InsertRevision(ctx, apron.Revision{ID: "r", Service: service(0).ID}); err != nil {
				return err
			}
			return tx.InsertOperation(ctx, operation(1, service(0).ID))
		})
		n, err := s.Purge(t.Context(), start.Add(time.Minute))
		if err != nil || n != old {
			t.Fatalf("got %d, %v; want %d", n, err, old)
		}
		if _, err := s.Revision(t.Context(), "r"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revision: got %v", err)
		}
		if _, err := s.Operation(t.Context(), operation(1, "").ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("operation: got %v", err)
		}
		if tags, err := s.Tags(t.Context(), service(0).ARN()); err != nil || len(tags) != 0 {
			t.Errorf("tags: got %v, %v", tags, err)
		}
		for _, kept := range []int{old, old + 1} {
			if _, err := s.Service(t.Context(), service(kept).ID); err != nil {
				t.Errorf("service %d: %v", kept, err)
			}
			if tags, err := s.Tags(t.Context(), service(kept).ARN()); err != nil || len(tags) != 1 {
				t.Errorf("tags: got %v, %v", tags, err)
			}
		}
	})
}
