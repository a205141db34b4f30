package control_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/control"
	"apron/store"
	"apron/store/storetest"
)

// statuses is a log that passes on which statuses Run has written.
type statuses struct {
	slog.Handler
	c chan string
}

func newStatuses() *statuses {
	return &statuses{Handler: slog.DiscardHandler, c: make(chan string, 100)}
}

func (s *statuses) Enabled(context.Context, slog.Level) bool { return true }

func (s *statuses) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "status" {
			s.c <- a.Value.String()
		}
		return true
	})
	return nil
}

// want waits for the next status.
func (s *statuses) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-s.c:
		if got != want {
			t.Errorf("status %s, want %s", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("no status, want %s", want)
	}
}

// run runs d until stop is called, which waits for its end.
func run(t *testing.T, d *desk) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Run is woken by writes and by due times, and another one goes on where it ended.
func TestRun(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		clock, seen := &clock{}, newStatuses()
		open := func() *desk {
			s := storetest.OpenDSN(t, dsn, store.WithNow(clock.now))
			return newDesk(s, clock, func(c *control.Config) { c.Log = slog.New(seen) })
		}
		first := open()
		stop := run(t, first)
		svc := first.running(t, "web1", private)
		v := first.ingress(t, "ingress", svc)
		seen.want(t, "AVAILABLE")
		first.associate(t, svc, "example.com", true)
		seen.want(t, "pending_certificate_dns_validation")
		_, err := first.DeleteVPCIngressConnection(t.Context(), first.scope, v.ARN.String())
		ok(t, err)
		seen.want(t, "DELETED")
		stop()

		// While nobody runs, things become due.
		first.ingress(t, "second", svc)
		clock.advance(10 * time.Second)
		second := open()
		run(t, second)
		seen.want(t, "AVAILABLE")
		seen.want(t, "active")
		second.associate(t, svc, "example.org", true)
		seen.want(t, "pending_certificate_dns_validation")
		// What is deleting is gone as soon as Run has seen it.
		_, err = second.DisassociateCustomDomain(t.Context(), second.scope, svc.ARN().String(), "example.com")
		ok(t, err)
		seen.want(t, "gone")
	})
}

// A due time that nobody writes about is met by a timer.
func TestRunWaitsForDueTime(t *testing.T) {
	const speed = 1000 // how much faster than the wall the clock goes
	started := time.Now()
	fast := func() time.Time { return started.Add(speed * time.Since(started)) }
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		seen := newStatuses()
		d := newDesk(s, &clock{}, func(c *control.Config) { c.Log, c.Now = slog.New(seen), fast })
		svc := d.running(t, "web1", nil)
		d.associate(t, svc, "example.com", true)
		run(t, d)
		seen.want(t, "pending_certificate_dns_validation")
		seen.want(t, "active")
	}, store.WithNow(fast))
}

// Two servers on one Postgres share the work: what one writes wakes the other, and nothing is done
// twice.
func TestRunTwice(t *testing.T) {
	dsn := storetest.Postgres(t)
	clock, seen := &clock{}, newStatuses()
	open := func(log *slog.Logger) *desk {
		s := storetest.OpenDSN(t, dsn, store.WithNow(clock.now))
		return newDesk(s, clock, func(c *control.Config) { c.Log, c.Quotas = log, apron.Quotas{} })
	}
	writer := open(slog.New(slog.DiscardHandler)) // does not run
	svc := writer.running(t, "web1", private)
	run(t, open(slog.New(seen)))
	run(t, open(slog.New(seen)))
	const n = 20
	for i := range n {
		writer.ingress(t, "ingress-"+string(rune('a'+i)), svc)
	}
	for range n {
		seen.want(t, "AVAILABLE")
	}
	select {
	case extra := <-seen.c:
		t.Errorf("one more status: %s", extra)
	default:
	}
}
