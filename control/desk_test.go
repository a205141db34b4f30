package control_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apron"
	"apron/control"
	"apron/store"
	"apron/store/storetest"
)

// desk is a control over an empty store, seen from one account and region, and a clock.
type desk struct {
	*control.Control
	store *store.Store
	clock *clock
	scope apron.Scope
}

// clock is a time that a test moves; every look at it takes a millisecond. It is safe for
// concurrent use.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC).Add(time.Duration(c.passed.Add(int64(time.Millisecond))))
}

func (c *clock) advance(d time.Duration) { c.passed.Add(int64(d)) }

// eachDesk runs fn as a subtest with a desk on each database.
func eachDesk(t *testing.T, fn func(t *testing.T, d *desk), edit ...func(*control.Config)) {
	t.Helper()
	clocks := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) { fn(t, newDesk(s, clocks, edit...)) }, store.WithNow(clocks.now))
}

func newDesk(s *store.Store, clock *clock, edit ...func(*control.Config)) *desk {
	cfg := control.Config{
		Store: s, Domain: "apron.example.com", Wake: func() {},
		Deadline: func(apron.OperationType) time.Duration { return time.Minute }, Log: slog.New(slog.DiscardHandler),
		Quotas: apron.DefaultQuotas(), SimulateValidation: true, Now: clock.now,
	}
	for _, e := range edit {
		e(&cfg)
	}
	return &desk{
		Control: control.New(cfg), store: s, clock: clock, scope: apron.Scope{Account: "123456789012", Region: "us-east-1"},
	}
}

// elsewhere is the same server seen from another account.
func (d *desk) elsewhere() *desk {
	other := *d
	other.scope.Account = "210987654321"
	return &other
}

// running makes a service that is RUNNING, with change, which may be nil, made to its configuration.
func (d *desk) running(t *testing.T, name string, change func(*apron.ServiceConfiguration)) apron.Service {
	t.Helper()
	svc, err := d.create(t.Context(), name, change)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := d.store.Claim(t.Context(), "test", time.Minute)
	if err != nil || lease.Operation.Service != svc.ID {
		t.Fatalf("claimed an operation of %s: %v", lease.Operation.Service, err)
	}
	ok(t, d.store.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.EndOperation(t.Context(), lease, apron.OperationSucceeded)
		return err
	}))
	return d.become(t, svc, apron.ServiceRunning)
}

func (d *desk) create(ctx context.Context, name string, change func(*apron.ServiceConfiguration)) (apron.Service, error) {
	config := apron.ServiceConfiguration{
		Source: apron.SourceConfiguration{Image: &apron.ImageRepository{
			Identifier: "registry.example.com/web:1", Type: apron.ImageRepositoryECR, Run: apron.RunConfiguration{Port: "8080"},
		}},
		Instance: apron.InstanceConfiguration{MilliCPU: 1000, MemoryMiB: 2048}, HealthCheck: apron.DefaultHealthCheck(),
		Network: apron.NetworkConfiguration{Public: true, IPAddressType: "IPV4"},
	}
	if change != nil {
		change(&config)
	}
	view, _, err := d.CreateService(ctx, d.scope, control.NewService{Name: name, Config: config})
	return view.Service, err
}

// become writes a service's status as an operation would at its end.
func (d *desk) become(t *testing.T, svc apron.Service, status apron.ServiceStatus) apron.Service {
	t.Helper()
	svc.Status = status
	if status == apron.ServiceRunning && svc.Active == "" {
		svc.Active, svc.Candidate = svc.Candidate, ""
	}
	err := d.store.Tx(t.Context(), func(tx *store.Tx) error { return tx.UpdateService(t.Context(), svc) })
	if err != nil {
		t.Fatal(err)
	}
	svc, err = d.store.Service(t.Context(), svc.ID)
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// advance runs what is due and returns when the next is.
func (d *desk) advance(t *testing.T) time.Time {
	t.Helper()
	next, err := d.Advance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// refused checks that err is a fault of the kind with text in its message.
func refused(t *testing.T, err error, kind apron.FaultKind, text string) {
	t.Helper()
	if apron.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got %s fault %v, want %s with %q", apron.KindOf(err), err, kind, text)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// private makes a configuration that of a private service.
func private(c *apron.ServiceConfiguration) { c.Network.Public = false }
