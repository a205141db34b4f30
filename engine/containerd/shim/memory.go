package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// What a shim does with its memory. Most of its work is done in its first moments, where collecting
// garbage costs more than anything else; from then on it hardly does a thing, and should be small.
const (
	busyTime    = 3 * time.Second
	busyLimit   = 48 << 20 // bytes; nowhere near what those moments need
	idlePercent = 40       // as containerd has it
)

// hurry collects no garbage until the first moments are over.
func hurry() {
	runtime.GOMAXPROCS(min(2, runtime.NumCPU())) // containerd says 4 whatever the machine
	debug.SetMemoryLimit(busyLimit)
	debug.SetGCPercent(-1)
	time.AfterFunc(busyTime, func() {
		debug.SetGCPercent(idlePercent)
		debug.SetMemoryLimit(math.MaxInt64)
		debug.FreeOSMemory()
	})
}

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
