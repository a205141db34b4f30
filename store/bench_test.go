package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

// benchmarkServices is the size of the store that the figures of the control plane are for.
const benchmarkServices = 10_000

// bench runs fn with a store of benchmarkServices services, on each database there is.
func bench(b *testing.B, fn func(b *testing.B, s *store.Store)) {
	for name, open := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			s := storetest.OpenDSN(b, open(b))
			tx(b, s, func(ctx context.Context, t *store.Tx) error {
				for n := range benchmarkServices {
					if err := t.InsertService(ctx, service(n), nil); err != nil {
						return err
					}
				}
				return nil
			})
			b.ReportAllocs()
			b.ResetTimer()
			fn(b, s)
		})
	}
}

func BenchmarkService(b *testing.B) {
	bench(b, func(b *testing.B, s *store.Store) {
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Service(b.Context(), service(int(n.Add(7919))%benchmarkServices).ID); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkServicesPage(b *testing.B) {
	bench(b, func(b *testing.B, s *store.Store) {
		_, after, err := s.Services(b.Context(), scope, "", benchmarkServices/2)
		if err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for b.Loop() {
			if list, _, err := s.Services(b.Context(), scope, after, 20); err != nil || len(list) != 20 {
				b.Fatal(len(list), err)
			}
		}
	})
}

// BenchmarkClaim claims an operation and gives it back, with benchmarkServices others that are
// being run or wait for their next try.
func BenchmarkClaim(b *testing.B) {
	bench(b, func(b *testing.B, s *store.Store) {
		tx(b, s, func(ctx context.Context, t *store.Tx) error {
			for n := range benchmarkServices {
				op := operation(n, service(n).ID)
				op.StartedAt = t.Now().Add(time.Hour)
				if n == 0 {
					op.StartedAt = t.Now()
				}
				if err := t.InsertOperation(ctx, op); err != nil {
					return err
				}
			}
			return nil
		})
		b.ResetTimer()
		for b.Loop() {
			l, err := s.Claim(b.Context(), "a", time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Release(b.Context(), l); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCreate writes what a request to create a service writes: one durable transaction.
func BenchmarkCreate(b *testing.B) {
	bench(b, func(b *testing.B, s *store.Store) {
		n := benchmarkServices
		for b.Loop() {
			n++
			svc := service(n)
			tx(b, s, func(ctx context.Context, t *store.Tx) error {
				if err := t.InsertService(ctx, svc, []apron.Tag{{Key: "team", Value: "web"}}); err != nil {
					return err
				}
				if _, err := t.InsertRevision(ctx, apron.Revision{ID: apron.RevisionID(svc.ID), Service: svc.ID, Config: svc.Config}); err != nil {
					return err
				}
				return t.InsertOperation(ctx, operation(n, svc.ID))
			})
		}
	})
}
