package enginetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/engine"
)

func testNextDriverAdopts(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	scale(t, e, spec, 2)
	before := w.Ready(t, spec.Revision, 2)
	processes := map[apron.InstanceID]string{}
	for _, i := range before {
		processes[i.ID] = h.Process(t, i.ID)
	}
	second := h.Reopen(t)
	w = StartWatch(t, second)
	adopted := w.Ready(t, spec.Revision, 2)
	if diff := cmp.Diff(ids(before), ids(adopted)); diff != "" {
		t.Errorf("adopted instances (-before +after):\n%s", diff)
	}
	prepare(t, second, spec)
	scale(t, second, spec, 2)
	for _, i := range w.Ready(t, spec.Revision, 2) {
		if got := h.Process(t, i.ID); got != processes[i.ID] || i.Restarts != 0 {
			t.Errorf("instance %s is process %q after %d restarts, was %q", i.ID, got, i.Restarts, processes[i.ID])
		}
		if !reachable(i) {
			t.Errorf("adopted instance %s does not accept connections", i.ID)
		}
	}
	h.Crash(t, adopted[0])
	w.Until(t, "an adopted instance to be restarted", func(all []apron.Instance) bool {
		return slices.ContainsFunc(all, func(i apron.Instance) bool {
			return i.ID == adopted[0].ID && i.State == apron.InstanceReady && i.Restarts == 1
		})
	})
	remove(t, second, spec)
	if left := h.Left(t); len(left) != 0 {
		t.Errorf("left on the machine: %q", left)
	}
}

func testConcurrentCalls(t *testing.T, e engine.Engine, h Harness) {
	w := StartWatch(t, e)
	specs := []engine.Spec{SpecOf(h.Serve), SpecOf(h.Serve), SpecOf(h.Serve)}
	var wg sync.WaitGroup
	for _, spec := range specs {
		for n := range 3 {
			wg.Go(func() {
				if err := e.Prepare(t.Context(), spec); err != nil {
					t.Errorf("Prepare: %v", err)
				}
				if err := e.Scale(t.Context(), spec, n%2+1); err != nil {
					t.Errorf("Scale: %v", err)
				}
				if _, err := e.Revisions(t.Context()); err != nil {
					t.Errorf("Revisions: %v", err)
				}
			})
		}
	}
	wg.Wait()
	for _, spec := range specs {
		scale(t, e, spec, 2)
		w.Ready(t, spec.Revision, 2)
	}
	for _, spec := range slices.Repeat(specs, 2) {
		wg.Go(func() {
			if err := e.Remove(t.Context(), spec.Revision); err != nil {
				t.Errorf("Remove: %v", err)
			}
		})
	}
	wg.Wait()
	if left := revisions(t, e); len(left) != 0 {
		t.Errorf("revisions %v are left", left)
	}
	if left := h.Left(t); len(left) != 0 {
		t.Errorf("left on the machine: %q", left)
	}
}

func testWatchEndsWithContext(t *testing.T, e engine.Engine, _ Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	synced := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- e.Watch(ctx, func() { close(synced) }, func(apron.Instance) {}) }()
	select {
	case <-synced:
	case <-time.After(patience()):
		t.Error("Watch of an empty engine never synced")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v, want context.Canceled", err)
	}
}
