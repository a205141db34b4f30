package health

import (
	"context"
	"net/netip"
	"time"

	"apron"
)

// Report tells what Follow has learnt: the status, and the last probe's answer.
type Report struct {
	Status Status
	Answer string
}

// Follow probes the process behind addr, which has just started unless status says it was Healthy
// before, and calls report whenever its status changes or, before it is healthy, its answer does.
// It returns nil after reporting Unhealthy, or ctx's error; report is never called after that, nor
// twice at a time.
func Follow(ctx context.Context, c apron.HealthCheck, addr netip.AddrPort, status Status, report func(Report)) error {
	v, start, last := Verdict{Status: status}, time.Now(), ""
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		result := Check(ctx, c, addr)
		if ctx.Err() != nil {
			return ctx.Err() // the probe was cut short and says nothing about the process
		}
		before := v.Status
		v = v.Next(c, result.OK)
		if v.Status != before || (v.Status == Starting && !result.OK && result.Answer != last) {
			last = result.Answer
			report(Report{Status: v.Status, Answer: result.Answer})
		}
		if v.Status == Unhealthy {
			return nil
		}
		timer.Reset(Pace(c, v.Status, time.Since(start)))
	}
}
