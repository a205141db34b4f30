package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"apron"
	"apron/store"
)

var scope = apron.Scope{Account: "123456789012", Region: "us-east-1"}

// start is when the clock of a test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// clock is a time that a test moves. It is safe for concurrent use.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return start.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

func id(n int) string { return fmt.Sprintf("%032x", n) }

// service returns the n-th of a test's services, RUNNING.
func service(n int) apron.Service {
	arn := apron.DefaultAutoScaling(scope).ARN
	return apron.Service{
		ID: apron.ServiceID(id(n)), Scope: scope, Name: fmt.Sprintf("service-%d", n),
		Host: fmt.Sprintf("host%06d.us-east-1.apron.localhost", n), Status: apron.ServiceRunning,
		Config: apron.ServiceConfiguration{
			Source: apron.SourceConfiguration{Image: &apron.ImageRepository{
				Identifier: "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:latest", Type: apron.ImageRepositoryECR,
				Run: apron.RunConfiguration{Port: "8080", Env: map[string]string{"GREETING": "hello"}},
			}},
			Instance:    apron.InstanceConfiguration{MilliCPU: 1000, MemoryMiB: 2048},
			HealthCheck: apron.DefaultHealthCheck(),
			Network:     apron.NetworkConfiguration{Public: true, IPAddressType: "IPV4"},
			AutoScaling: arn,
		},
		CreatedAt: start.Add(time.Duration(n) * time.Second), UpdatedAt: start.Add(time.Duration(n) * time.Second),
	}
}

// operation returns the n-th of a test's operations, PENDING, for the service.
func operation(n int, svc apron.ServiceID) apron.Operation {
	return apron.Operation{
		ID: apron.OperationID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)), Service: svc,
		Type: apron.OperationUpdate, Status: apron.OperationPending, Revision: apron.RevisionID(id(n)),
		Deadline: start.Add(time.Hour),
	}
}

// tx runs fn in a transaction that must succeed.
func tx(tb testing.TB, s *store.Store, fn func(ctx context.Context, t *store.Tx) error) {
	tb.Helper()
	ctx := tb.Context()
	if err := s.Tx(ctx, func(t *store.Tx) error { return fn(ctx, t) }); err != nil {
		tb.Fatal(err)
	}
}

// insert adds services.
func insert(tb testing.TB, s *store.Store, list ...apron.Service) {
	tb.Helper()
	tx(tb, s, func(ctx context.Context, t *store.Tx) error {
		for _, svc := range list {
			if err := t.InsertService(ctx, svc, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// queue adds an operation.
func queue(tb testing.TB, s *store.Store, op apron.Operation) {
	tb.Helper()
	tx(tb, s, func(ctx context.Context, t *store.Tx) error { return t.InsertOperation(ctx, op) })
}
