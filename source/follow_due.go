package source

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits of looking at what changes elsewhere.
const (
	parallelLooks = 4                     // at a time
	maxInterval   = time.Hour             // between two looks at what cannot be seen
	minPause      = 10 * time.Millisecond // between two rounds
)

// due says when to look at something.
type due struct {
	at       time.Time
	failures int // looks in a row that failed
}

// when makes what embeds a due fit for the funcs below.
func (d *due) when() *due { return d }

// put takes note of a look that has just ended.
func (d *due) put(ok bool, pause func(failures int) time.Duration) {
	if d.failures++; ok {
		d.failures = 0
	}
	d.at = time.Now().Add(pause(d.failures))
}

// lookAtDue looks at the items that are due, a few at a time, and says when to look at them again.
func lookAtDue[T interface{ when() *due }](ctx context.Context, items map[string]T, pause func(failures int) time.Duration, look func(context.Context, T) error) {
	var g errgroup.Group
	g.SetLimit(parallelLooks)
	now := time.Now()
	for _, item := range items {
		d := item.when()
		if d.at.After(now) || ctx.Err() != nil {
			continue
		}
		g.Go(func() error {
			d.put(look(ctx, item) == nil, pause)
			return nil
		})
	}
	_ = g.Wait() // the funcs return no errors
}

// awaitDue waits until an item is due, at most as long as most, until somebody wakes it, or until ctx is
// done, whose error it returns. wake may be nil.
func awaitDue[T interface{ when() *due }](ctx context.Context, items map[string]T, most time.Duration, wake <-chan struct{}) error {
	for _, item := range items {
		most = min(most, time.Until(item.when().at))
	}
	timer := time.NewTimer(max(most, minPause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// pauseAfter is how long to wait before the next look: the interval give or take a tenth, doubled for
// each failure in a row.
func pauseAfter(interval time.Duration, failures int, jitter func(time.Duration) time.Duration) time.Duration {
	d := interval
	for range failures {
		if d = min(2*d, max(maxInterval, interval)); d >= maxInterval {
			break
		}
	}
	return d - d/10 + jitter(d/5)
}

// anyJitter spreads out what begins together over all of d.
func anyJitter(d time.Duration) time.Duration {
	return rand.N(d + 1) //nolint:gosec // spreads out requests, nothing secret about it
}
