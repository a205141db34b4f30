package main

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// restAfter is how long a shim is not asked anything before it rests. An instance's start is several
	// calls within a second.
	restAfter = 3 * time.Second
	// garbage is how much of it, in percent of what is in use, a shim at work keeps: memory is dearer
	// here than time.
	garbage = 40
	// maxMemoryBytes is when a resting shim collects garbage after all: one whose instance writes much,
	// and even that leaves hardly any.
	maxMemoryBytes = 32 << 20
)

// rest is for the time in which a shim has nothing to do: hundreds of them wait beside each other, most
// of them for days. A shim that goes to rest gives back what memory it can. After that it does not
// collect garbage, which Go would do every two minutes even if there is none.
type rest struct {
	timer *time.Timer
	mu    sync.Mutex // guards rests, and what garbage is collected
	rests bool
}

func newRest() *rest {
	debug.SetMemoryLimit(maxMemoryBytes)
	debug.SetGCPercent(garbage)
	r := &rest{}
	r.timer = time.AfterFunc(restAfter, r.begin)
	return r
}

func (r *rest) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	debug.FreeOSMemory()
	debug.SetGCPercent(-1)
	r.rests = true
}

// later ends the rest, or puts it off, because there is something to do.
func (r *rest) later() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rests {
		debug.SetGCPercent(garbage)
		r.rests = false
	}
	r.timer.Reset(restAfter)
}
