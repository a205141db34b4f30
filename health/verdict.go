package health

import (
	"time"

	"apron"
)

// Status is what is known about an instance's health.
type Status int

// The statuses. A process starts as Starting, and Unhealthy is the end: it will be replaced.
const (
	// Starting: never healthy so far; failures do not count yet.
	Starting Status = iota
	// Healthy: passed HealthyThreshold probes in a row.
	Healthy
	// Unhealthy: was healthy, then failed UnhealthyThreshold probes in a row.
	Unhealthy
)

// Verdict judges a process by its probes so far. The zero value is that of a process just started.
// It is a value: Next returns the verdict after one more probe.
type Verdict struct {
	Status Status
	// Streak counts the latest probes in a row that spoke against Status: passes while Starting,
	// failures while Healthy.
	Streak int
}

// Next returns the verdict after a probe that passed or failed, by the thresholds of c; thresholds
// below 1 count as 1. Until a process has been healthy once its failures do not count: whoever
// deploys it decides how long to wait.
func (v Verdict) Next(c apron.HealthCheck, ok bool) Verdict {
	switch v.Status {
	case Starting:
		if !ok {
			return Verdict{}
		}
		if v.Streak++; v.Streak >= max(c.HealthyThreshold, 1) {
			return Verdict{Status: Healthy}
		}
	case Healthy:
		if ok {
			return Verdict{Status: Healthy}
		}
		if v.Streak++; v.Streak >= max(c.UnhealthyThreshold, 1) {
			return Verdict{Status: Unhealthy}
		}
	case Unhealthy:
	}
	return v
}

// Pacing of the probes before a process is healthy for the first time.
const (
	quickPace  = 2 * time.Millisecond  // for the first 40 ms, in which the quickest applications boot
	quickOff   = 20                    // then a twentieth of the age, so at most 5 % late, up to
	firstPace  = 10 * time.Millisecond // while most applications boot
	secondPace = 20 * time.Millisecond
	firstPhase = 500 * time.Millisecond // how long firstPace is kept
	backOff    = 50                     // afterwards: a fiftieth of the age, so at most 2 % late
)

// Pace returns how long to wait before the next probe of a process that is age old and has status s.
// A starting process is probed every 2 ms at first, soon every 10 and 20 ms, then ever more slowly up to
// c.Interval; one that was healthy every c.Interval (5 s when that is zero).
func Pace(c apron.HealthCheck, s Status, age time.Duration) time.Duration {
	interval := c.Interval
	if interval <= 0 {
		interval = apron.DefaultHealthCheck().Interval
	}
	switch {
	case s != Starting:
		return interval
	case age < firstPhase:
		return min(max(quickPace, age/quickOff), firstPace, interval)
	default:
		return min(max(secondPace, age/backOff), interval)
	}
}
