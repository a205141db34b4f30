package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
)

// makePatience bounds the making of one instance, on a machine that makes many at once.
const makePatience = 2 * time.Minute

// slot waits until this instance may be made, and returns how to let the next one. Making instances is
// work for the processor, which now and then waits for the kernel: one more at a time than there are cores
// makes use of that, and still more only makes all of them late.
func (i *instance) slot(ctx context.Context) (release func(), err error) {
	select {
	case i.s.slots <- struct{}{}:
		return func() { <-i.s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tryBegin makes what is missing and starts the process.
func (i *instance) tryBegin(ctx context.Context) error {
	if i.task == nil { // what was made in advance hardly needs the processor
		release, err := i.slot(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	// From here on half-made things must not be left to a cancelled context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), makePatience)
	defer cancel()
	if i.task == nil {
		if err := i.arrange(ctx); err != nil {
			return err
		}
	}
	i.melt() // the next process has never been frozen
	i.now.StartedAt = i.s.cfg.Now()
	i.report(apron.InstanceStarting, nil)
	if i.task == nil {
		if err := i.makeTask(ctx); err != nil {
			return err
		}
	}
	t := i.task
	i.task = nil
	if err := t.Start(ctx); err != nil {
		return fmt.Errorf("start process: %w", err)
	}
	return nil
}

// arrange makes what a process needs before there is one.
func (i *instance) arrange(ctx context.Context) error {
	if i.made {
		return i.renew(ctx)
	}
	return i.make(ctx)
}

// makeTask makes the process, which waits to be started.
func (i *instance) makeTask(ctx context.Context) (err error) {
	if i.task, i.logFrom, err = i.s.makeTask(ctx, i.id); err != nil {
		return err
	}
	if err := shorten(int(i.task.Pid())); err != nil {
		i.log.Warn("the instance waits longer for a busy processor", "err", err)
	}
	return nil
}

// make makes container and network of a new instance, side by side.
func (i *instance) make(ctx context.Context) error {
	if i.tried { // and failed half-way
		if err := i.s.removeContainer(ctx, i.id); err != nil {
			return err
		}
	}
	i.tried = true
	img, user, err := i.s.imageOf(ctx, i.spec.Revision)
	if err != nil {
		return err
	}
	spare, ok := i.takeSpare() // from here on it is nobody else's: settle is certain to be called
	if !i.addr.IsValid() {
		addr, err := i.s.net.addrs.take()
		if err != nil {
			return err
		}
		i.addr = addr
	}
	i.now.Addr = netip.AddrPortFrom(i.addr, i.spec.Port)
	i.ids = i.s.ids(i.spec, i.addr, user)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return i.s.createContainer(ctx, img, i.id, i.spec, place{i.addr, i.ids}, i.reserve != nil)
	})
	g.Go(func() error {
		err := writeNames(i.s.cfg.Dir, i.id, i.addr) // first: to renew, a network that is there means that these are too
		if ok {
			return errors.Join(err, i.s.net.settle(spare, i.id, i.ids))
		}
		return errors.Join(err, i.s.net.connect(i.id, i.addr, i.ids))
	})
	if err := g.Wait(); err != nil {
		return err
	}
	i.made = true
	return nil
}

// renew prepares the container of an ended process for the next one: with its own address, but
// nothing else of what was.
func (i *instance) renew(ctx context.Context) error {
	if err := i.s.removeTask(ctx, i.id); err != nil {
		return err
	}
	// What a shim that died left running would hold the address.
	if err := i.s.clearGroup(ctx, groupOf(i.s.cfg.Dir, i.spec.Service, i.id)); err != nil {
		return err
	}
	if err := i.s.resetRoot(ctx, i.id, i.ids); err != nil {
		return err
	}
	if err := i.s.label(ctx, i.id, i.now.Restarts, time.Time{}, i.reserve != nil && !i.reserve.taken()); err != nil {
		return err
	}
	// gVisor takes the address off the link and answers for it itself: the next one finds none.
	if !i.s.cfg.sandboxed(i.spec) && i.s.net.connected(i.id, i.ids) {
		return nil
	}
	if err := writeNames(i.s.cfg.Dir, i.id, i.addr); err != nil {
		return err
	}
	return i.s.net.connect(i.id, i.addr, i.ids)
}
