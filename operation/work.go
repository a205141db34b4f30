package operation

import (
	"context"
	"errors"
	"time"

	"apron"
	"apron/store"
)

// writeTimeout bounds the writes that follow a step, which must succeed also when the runner is
// being stopped.
const writeTimeout = 15 * time.Second

// work runs one operation until it ends, has to wait before another try, or must be left to a later
// run. It keeps the lease for as long as that takes.
func (r *Runner) work(ctx context.Context, l store.Lease) {
	log := r.cfg.Log.With("service", l.Operation.Service, "operation", l.Operation.ID, "type", l.Operation.Type)
	x := &execution{runner: r, lease: l, op: l.Operation, plan: r.cfg.Plans[l.Operation.Type], log: log}
	held, lose := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		x.renew(ctx, l, stop, lose)
	}()
	steps, cancel := context.WithCancelCause(held)
	leave := r.enter(held, l.Operation.ID, cancel)
	err := x.run(held, steps)
	leave()
	cancel(nil)
	close(stop)
	<-renewed
	lose(nil)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrLost) || errors.Is(context.Cause(held), store.ErrLost):
		log.Warn("lost the lease of an operation")
	case ctx.Err() != nil:
		x.release(ctx)
	default:
		// The store could not be written. What was done since the checkpoint will be done again.
		log.Error("run operation", "err", err)
		x.postpone(ctx)
	}
}

// occupancy is an operation being run here.
type occupancy struct {
	done   chan struct{}           // closed when that ends
	cancel context.CancelCauseFunc // ends the step that runs
}

// enter waits until an earlier lease of the same operation is no longer being worked on here: a
// machine that slept past the lease's end may have claimed its own operation again. cancel ends the
// step that runs. It returns the func that ends the work.
func (r *Runner) enter(ctx context.Context, id apron.OperationID, cancel context.CancelCauseFunc) (leave func()) {
	for {
		r.mu.Lock()
		earlier, busy := r.running[id]
		if !busy {
			mine := &occupancy{make(chan struct{}), cancel}
			r.running[id] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.running, id)
				r.mu.Unlock()
				close(mine.done)
			}
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done(): // the caller sees it too, before its first step
			return func() {}
		case <-earlier.done:
		}
	}
}

// renew keeps the lease until stop is closed, and calls lose with store.ErrLost when it cannot. It
// goes on while the runner is being stopped, for the steps that take a while to return. x.lease is for
// who runs them to change.
func (x *execution) renew(ctx context.Context, l store.Lease, stop <-chan struct{}, lose context.CancelCauseFunc) {
	cfg := x.runner.cfg
	every := cfg.LeaseTTL / 3
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	end := l.Until
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		tctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), every)
		until, err := cfg.Store.Renew(tctx, l, cfg.LeaseTTL)
		cancel()
		switch {
		case err == nil:
			end = until
		case errors.Is(err, store.ErrLost) || !cfg.Now().Add(every).Before(end):
			lose(store.ErrLost) // now, or before the next attempt to renew
			return
		default:
			x.log.Warn("renew lease", "err", err)
		}
	}
}

// release gives the operation back as it is.
func (x *execution) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := x.runner.cfg.Store.Release(ctx, x.lease); err != nil && !errors.Is(err, store.ErrLost) {
		x.log.Warn("release lease", "err", err) // the next start of this runner takes it back, or it ends
	}
}

// postpone gives the operation back to be tried after the longest pause.
func (x *execution) postpone(ctx context.Context) {
	at := x.runner.cfg.Now().Add(x.runner.cfg.Jitter(x.runner.cfg.MaxBackoff))
	if err := x.giveBack(ctx, at, x.op.Attempt); err != nil && !errors.Is(err, store.ErrLost) {
		x.log.Warn("postpone operation", "err", err) // the lease ends by itself
	}
}
