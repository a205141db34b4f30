package fleet_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"apron"
	"apron/engine/enginetest"
	"apron/fleet"
	"apron/store"
)

// A request in flight keeps its instance from being stopped for as long as one may take: by the
// service's tag, if it has one, else by the drain timeout.
func TestDrainIsBoundedByTheRequestTimeout(t *testing.T) {
	for name, tags := range map[string][]apron.Tag{
		"by default": nil,
		"by tag":     {{Key: "apron:request-timeout", Value: "30s"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			arrived, proceed := make(chan struct{}), make(chan struct{})
			w.memory.Image("web", enginetest.Behaviour{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-proceed:
					_, _ = rw.Write([]byte("at last"))
				case <-r.Context().Done():
				}
			})})
			w.boot(fast(w.memory), func(cfg *fleet.Config) { cfg.DrainTimeout = 50 * time.Millisecond })
			svc, rev := w.serving("web")
			w.tx(func(tx *store.Tx) error { return tx.PutTags(t.Context(), svc.ARN(), tags) })
			addrs, err := w.router.Addresses(t.Context())
			w.must(err)
			answer := make(chan string, 1)
			go func() { answer <- get(t.Context(), addrs.HTTP, svc.Host) }()
			<-arrived
			w.must(w.fleet.Withdraw(t.Context(), svc.ID))
			parked := make(chan error, 1)
			go func() { parked <- w.fleet.Park(t.Context(), rev) }()
			if tags != nil {
				select {
				case err := <-parked:
					t.Errorf("the instance was stopped while it had a request: %v", err)
				case <-time.After(200 * time.Millisecond): // four drain timeouts
				}
				close(proceed)
				if got := <-answer; got != "at last" {
					t.Errorf("the request was answered %q", got)
				}
				w.must(<-parked)
				return
			}
			// The instance is told to end, with its request; it has its own grace period for that.
			w.until(func() bool { _, n, _ := w.memory.Asked(rev.ID); return n == 0 }, "the instance is told to stop")
			close(proceed)
			w.must(<-parked)
			<-answer
		})
	}
}

// A request that may take long keeps its instance for as long, unless an operation waits.
func TestLastDrainBoundsOperations(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), func(cfg *fleet.Config) { cfg.DrainTimeout, cfg.LastDrain = time.Millisecond, 50*time.Millisecond })
	v := w.visits("web")
	svc, old := w.serving("web")
	w.tx(func(tx *store.Tx) error {
		return tx.PutTags(t.Context(), svc.ARN(), []apron.Tag{{Key: "apron:request-timeout", Value: "24h"}})
	})
	w.begin(v, svc)
	w.outcome(apron.RevisionSuperseded, old.ID)
	next := w.revision(svc, "web-2", "other")
	w.start(next)
	w.must(w.fleet.Serve(t.Context(), svc, next))
	w.record(&svc, apron.ServiceRunning, next.ID, "")
	w.fleet.Tidy(svc.ID)
	select {
	case <-time.After(150 * time.Millisecond): // three times what an operation would have waited
	case got := <-v.answered:
		t.Errorf("the request was answered %q", got)
	}
	w.wantAsked(map[apron.RevisionID]int{old.ID: 1})
	retired := make(chan error, 1)
	go func() { retired <- w.fleet.RetireAll(context.WithoutCancel(t.Context()), svc.ID) }()
	w.until(func() bool { _, n, _ := w.memory.Asked(old.ID); return n == 0 }, "the instance is told to stop")
	w.finish(v)
	w.must(<-retired)
}
