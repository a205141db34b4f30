package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/pkg/shim"
)

const (
	// restAfter is how long a shim is not asked anything before it rests. An instance's start is several
	// calls within a second.
	restAfter = 3 * time.Second
	// maxMemoryBytes is when a shim collects garbage without resting: one whose instance writes much, and
	// even that leaves hardly any. A start needs nowhere near as much.
	maxMemoryBytes = 48 << 20
)

// rest keeps a shim small for hardly any work: hundreds of them wait beside each other, most of them for
// days. Most of a shim's work is done in the first moments of its instance, where collecting garbage
// costs more than anything else; afterwards Go would do it every two minutes even if there is none. So
// it is done once, when there has been nothing to do for a while, and then the memory is given back.
type rest struct{ timer *time.Timer }

func newRest() rest {
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
	debug.SetMemoryLimit(maxMemoryBytes)
	debug.SetGCPercent(-1)
	return rest{timer: time.AfterFunc(restAfter, debug.FreeOSMemory)}
}

// later puts the rest off, because there is something to do.
func (r rest) later() { r.timer.Reset(restAfter) }

// brief is a shim whose calls, other than serving, are over before there is garbage worth collecting.
type brief struct{ shim.Shim }

// Start implements shim.Shim.
func (b brief) Start(ctx context.Context, p *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	debug.SetGCPercent(-1)
	return b.Shim.Start(ctx, p)
}

// Stop implements shim.Shim.
func (b brief) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	debug.SetGCPercent(-1)
	return b.Shim.Stop(ctx, id)
}
