package containerd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestRush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rush
		start := time.Now()
		r.pass(t.Context(), time.Minute) // nobody is on the way
		r.enter()
		r.enter()
		for range 2 {
			go func() {
				time.Sleep(time.Second)
				r.leave()
			}()
		}
		r.pass(t.Context(), time.Minute)
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited for %s, want until both had left", d)
		}
		r.pass(t.Context(), time.Minute)
		r.enter()
		r.pass(t.Context(), time.Second)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("waited until %s, want no longer than the patience", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.pass(ctx, time.Minute)
		r.leave()
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("waited until %s with a context that is done", d)
		}
	})
}
