package containerd

import (
	"context"
	"fmt"
	"sync"

	"apron"
	"apron/engine"
	"apron/health"
)

var _ engine.Freezer = (*Driver)(nil)

// ice is whether an instance is frozen, and what that holds up.
type ice struct {
	mu      sync.Mutex    // guards the fields below
	frozen  bool          // its processes do not run
	thawed  chan struct{} // closed when they run again; nil: they do
	probing func()        // ends the probing that goes on; nil: none does
}

// Freeze implements engine.Freezer.
func (d *Driver) Freeze(ctx context.Context, id apron.InstanceID, frozen bool) error {
	if _, err := d.await(ctx); err != nil {
		return err
	}
	now, ok := d.roster.Get(id)
	if !ok {
		return notRunning(id)
	}
	if frozen && now.State != apron.InstanceReady {
		return apron.Faultf(apron.State, "The instance %s is not ready.", id)
	}
	for _, i := range d.all() {
		if i.id == id {
			return i.freeze(frozen)
		}
	}
	return notRunning(id)
}

// freeze stops the instance's processes, or lets them go on. Nothing is probed that cannot answer.
func (i *instance) freeze(frozen bool) error {
	i.ice.mu.Lock()
	defer i.ice.mu.Unlock()
	if i.ice.frozen == frozen {
		return nil
	}
	if err := i.s.cgroups.freeze(groupOf(i.s.cfg.Dir, i.spec.Service, i.id), frozen); err != nil {
		return fmt.Errorf("freeze instance %s: %w", i.id, err)
	}
	i.setFrozen(frozen)
	return nil
}

// setFrozen notes it; ice.mu is held.
func (i *instance) setFrozen(frozen bool) {
	if i.ice.frozen == frozen {
		return
	}
	i.ice.frozen = frozen
	if !frozen {
		close(i.ice.thawed)
		i.ice.thawed = nil
		return
	}
	i.ice.thawed = make(chan struct{})
	if i.ice.probing != nil {
		i.ice.probing()
	}
}

// thaw lets the processes go on whether or not they were frozen by this driver: what is frozen does not
// end.
func (i *instance) thaw() {
	i.ice.mu.Lock()
	defer i.ice.mu.Unlock()
	_ = i.s.cgroups.freeze(groupOf(i.s.cfg.Dir, i.spec.Service, i.id), false) // without a group there is nothing frozen
	i.setFrozen(false)
}

// melt notes that nothing is frozen.
func (i *instance) melt() {
	i.ice.mu.Lock()
	defer i.ice.mu.Unlock()
	i.setFrozen(false)
}

// probe follows the process's health until it is found unhealthy or ctx is done, leaving out the time
// it is frozen.
func (i *instance) probe(ctx context.Context, status health.Status, report func(health.Report)) {
	for {
		probing, done, err := i.whileThawed(ctx)
		if err != nil {
			return
		}
		err = health.Follow(probing, i.spec.HealthCheck, i.now.Addr, status, report)
		done()
		if err == nil || ctx.Err() != nil {
			return // it was found unhealthy, or ended
		}
		status = health.Healthy // or it would not have been frozen
	}
}

// whileThawed waits until the processes run, and returns a context that ends when they are frozen.
func (i *instance) whileThawed(ctx context.Context) (probing context.Context, done func(), err error) {
	for {
		i.ice.mu.Lock()
		if thawed := i.ice.thawed; thawed != nil {
			i.ice.mu.Unlock()
			select {
			case <-thawed:
				continue
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		probing, cancel := context.WithCancel(ctx)
		i.ice.probing = cancel
		i.ice.mu.Unlock()
		return probing, func() {
			i.ice.mu.Lock()
			defer i.ice.mu.Unlock()
			i.ice.probing = nil
			cancel()
		}, nil
	}
}
