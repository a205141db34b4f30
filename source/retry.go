package source

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryPolicy says how often and how soon a request is sent again.
type retryPolicy struct {
	tries int           // in all
	first time.Duration // pause after the first try; doubled after each
	limit time.Duration // longest pause, and longest that a registry may ask for
}

// defaultRetries makes a registry that is gone known within about 8 seconds.
func defaultRetries() retryPolicy {
	return retryPolicy{tries: 5, first: 500 * time.Millisecond, limit: 30 * time.Second}
}

// pause waits before the try after the one that has failed, for as long as the registry has asked
// for if it has. It returns false when that try is not to be made: there have been enough, the
// registry asks for more patience than there is, or ctx has ended.
func (p retryPolicy) pause(ctx context.Context, try int, asked time.Duration) bool {
	if try >= p.tries || asked > p.limit {
		return false
	}
	d := min(p.first<<(try-1), p.limit)
	d = time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // spreads out requests, nothing secret about it
	d = max(d, asked)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryAfter returns how long the registry asks to wait: Retry-After as seconds or as a date (RFC
// 9110, 10.2.3); 0 when it does not say.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	value := strings.TrimSpace(res.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}
