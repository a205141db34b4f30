package fleet

import (
	"context"

	"apron"
	"apron/engine"
)

// reserve has the engine make as many instances of the revision in advance as its service's tags ask for
// while it serves, and none when it does not, if the engine can. It is no failure of anything when it
// cannot: instances start without, only later.
func (f *Fleet) reserve(ctx context.Context, want engine.Spec) {
	e, ok := f.cfg.Engine.(engine.Reserver)
	if !ok {
		return
	}
	// Whoever changes what is wanted while this asks for something else asks too: the last one to have
	// asked looks again.
	for n, asked := f.prepared(want.Service, want.Revision), -1; n != asked; n = f.prepared(want.Service, want.Revision) {
		if err := e.Reserve(ctx, want, n); err != nil {
			if n > 0 && ctx.Err() == nil {
				f.cfg.Log.Warn("no instances are made in advance", "service", want.Service, "revision", want.Revision, "err", err)
			}
			return
		}
		asked = n
	}
}

// prepared returns how many instances of the revision are to be made in advance now.
func (f *Fleet) prepared(id apron.ServiceID, rev apron.RevisionID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.serving[id]; s != nil && s.route.Revision == rev {
		return s.prepared
	}
	return 0
}
