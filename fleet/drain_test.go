package fleet_test

import (
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
