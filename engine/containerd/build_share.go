package containerd

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/buildkit/executor"
	resources "github.com/moby/buildkit/executor/resources/types"
)

// How long builds may go on with little of the processor, and which part of a core is little.
const (
	buildPatience = 5 * time.Second
	buildLeast    = 2 // half
)

// buildShare keeps builds out of the way: they run while nobody else on the machine wants to, and whoever
// wakes takes the processor from them, but for the few turns that an idle group has (treeShares). With
// shares alone, who wakes waits until a compiler has used up its slice, milliseconds for every process
// that a request passes through. Where a machine leaves builds little they have their shares every other time, so that they
// end nevertheless: what is idle loses to processes of the lowest priority too.
type buildShare struct {
	cg       cgroups
	group    string
	patience time.Duration
	log      *slog.Logger

	mu    sync.Mutex // guards the fields below
	steps int        // that run
	rest  context.CancelFunc
}

// yielding returns an executor that runs steps as inner does, while those of the group that
// limitBuilds has made yield.
func yielding(dir string, log *slog.Logger, inner executor.Executor) (executor.Executor, error) {
	cg, err := detectCgroups()
	if err != nil {
		return nil, err
	}
	b := &buildShare{cg: cg, group: buildGroup(dir), patience: buildPatience, log: log}
	switch err := cg.idle(b.group, true); {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("builds have a small share of the processor, and not what is left over", "reason", "Linux is older than 5.15")
		return inner, nil
	case err != nil:
		log.Warn("builds have a small share of the processor, and not what is left over", "err", err)
		return inner, nil
	}
	return yieldingExecutor{Executor: inner, share: b}, nil
}

// enter and leave say when a step begins and has ended. Without steps nothing is looked at.
func (b *buildShare) enter() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.steps++; b.steps == 1 {
		var ctx context.Context
		ctx, b.rest = context.WithCancel(context.Background())
		go b.watch(ctx)
	}
}

func (b *buildShare) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.steps--; b.steps == 0 {
		b.rest()
	}
}

// watch looks at what builds get until ctx is done.
func (b *buildShare) watch(ctx context.Context) {
	tick := time.NewTicker(b.patience)
	defer tick.Stop()
	yields := true
	last, _, _ := b.cg.usage(b.group) // not there before the first step is: nothing used
	for {
		select {
		case <-ctx.Done():
			if !yields {
				b.set(true)
			}
			return
		case <-tick.C:
		}
		used, _, err := b.cg.usage(b.group)
		if err != nil {
			used = last + b.patience // unknown: they yield
		}
		next := yieldsNext(yields, used-last, b.patience)
		last = used
		if next != yields {
			b.set(next)
			yields = next
		}
	}
}

// yieldsNext says whether builds yield in the time to come, having used so much in the time that was.
func yieldsNext(yields bool, used, patience time.Duration) bool {
	return !yields || used >= patience/buildLeast
}

// set has builds yield, or gives them their shares. Whichever fails, they go on as they did.
func (b *buildShare) set(yield bool) {
	err := b.cg.idle(b.group, yield)
	if err == nil && !yield {
		err = b.cg.make(b.group, buildShares)
	}
	if err != nil {
		b.log.Warn("the share of builds stays as it is", "err", err)
	}
}

// yieldingExecutor tells share what it runs.
type yieldingExecutor struct {
	executor.Executor
	share *buildShare
}

// Run implements executor.Executor.
func (e yieldingExecutor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resources.Recorder, error) {
	e.share.enter()
	defer e.share.leave()
	return e.Executor.Run(ctx, id, root, mounts, process, started)
}
