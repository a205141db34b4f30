package containerd_test

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"apron/engine/enginetest"
)

// TestFullDiskPacksIdleImages has less free than it wants: what no instance uses is packed, what one uses
// is not, and a packed image starts as ever.
func TestFullDiskPacksIdleImages(t *testing.T) {
	r := newRig(t)
	r.driver.stop()
	r.cfg.MinFree = 1 << 60
	busy := enginetest.SpecOf(r.images.push(t, "busy", v1.Config{Entrypoint: []string{"/app"}}))
	idle := enginetest.SpecOf(r.images.pushLayered(t, "idle"))
	r.driver = startDriver(t, r.cfg)
	w := enginetest.StartWatch(t, r.driver)
	runOne(t, r.driver, w, busy)
	if err := r.driver.Prepare(t.Context(), idle); err != nil {
		t.Fatal(err)
	}
	unpacked := func() (n int) {
		err := r.client(t).SnapshotService("overlayfs").Walk(t.Context(), func(_ context.Context, i snapshots.Info) error {
			if i.Kind == snapshots.KindCommitted {
				n++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(30 * time.Second); unpacked() != 1; <-tick.C {
		if time.Now().After(until) {
			t.Fatalf("%d layers are unpacked, want that of the image in use alone", unpacked())
		}
	}
	if err := r.driver.Scale(t.Context(), idle, 1); err != nil {
		t.Fatal(err)
	}
	mustGet(t, w.Ready(t, idle.Revision, 1)[0], "/")
	w.Ready(t, busy.Revision, 1)
}
