package fleet_test

import (
	"testing"
	"time"

	"apron"
	"apron/store"
)

// What tags ask of the router is in effect without a deployment, and survives a restart.
func TestOptionsFollowTags(t *testing.T) {
	w := newWorld(t)
	w.boot(fast(w.memory), nil)
	svc, _ := w.serving("web")
	if r, _ := w.route(svc.ID); r.Options != (apron.RouteOptions{}) {
		t.Errorf("without tags: got %+v", r.Options)
	}
	w.tx(func(tx *store.Tx) error {
		return tx.PutTags(t.Context(), svc.ARN(), []apron.Tag{{Key: "apron:request-timeout", Value: "10m"}, {Key: "apron:websocket", Value: "off"}})
	})
	w.fleet.Refresh(svc.ID)
	want := apron.RouteOptions{RequestTimeout: 10 * time.Minute, NoWebSocket: true}
	w.until(func() bool { r, _ := w.route(svc.ID); return r.Options == want }, "the tags are in effect")

	w.boot(fast(w.memory), nil)
	if r, _ := w.route(svc.ID); r.Options != want {
		t.Errorf("after a restart: got %+v", r.Options)
	}
	w.tx(func(tx *store.Tx) error {
		return tx.DeleteTags(t.Context(), svc.ARN(), []string{"apron:request-timeout", "apron:websocket"})
	})
	w.fleet.Refresh(svc.ID)
	w.until(func() bool { r, _ := w.route(svc.ID); return r.Options == (apron.RouteOptions{}) }, "the tags are gone")
}
