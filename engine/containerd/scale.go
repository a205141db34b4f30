package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"apron"
	"apron/engine"
)

// Prepare implements engine.Engine.
func (d *Driver) Prepare(ctx context.Context, spec engine.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting implements engine.ProgressPreparer.
func (d *Driver) PrepareReporting(ctx context.Context, spec engine.Spec, report func(done, total int64)) error {
	s, err := d.await(ctx)
	if err != nil {
		return err
	}
	if err := s.checkRuntime(spec); err != nil {
		return err
	}
	r, release, err := d.hold(ctx, spec.Revision)
	if err != nil {
		return err
	}
	defer release()
	err = s.pull(ctx, spec, report)
	if s.clearRemnant(err) {
		err = s.pull(ctx, spec, report)
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r.prepared, r.spec, r.idle = true, spec, d.cfg.Now()
	return nil
}

// hold keeps Prepare and Remove of one revision apart.
func (d *Driver) hold(ctx context.Context, id apron.RevisionID) (r *revision, release func(), err error) {
	for {
		d.mu.Lock()
		r := d.revision(id)
		d.mu.Unlock()
		select {
		case r.busy <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("wait for another call for revision %s: %w", id, ctx.Err())
		}
		d.mu.Lock()
		same := d.revisions[id] == r
		d.mu.Unlock()
		if same {
			return r, func() { d.forget(id, r); <-r.busy }, nil
		}
		<-r.busy // the revision was removed while we waited
	}
}

// forget drops a revision of which nothing is left; it is called by whoever holds it.
func (d *Driver) forget(id apron.RevisionID, r *revision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !r.prepared && len(r.instances)+len(r.reserved) == 0 {
		delete(d.revisions, id)
	}
}

// Scale implements engine.Engine.
func (d *Driver) Scale(ctx context.Context, spec engine.Spec, n int) error {
	err := d.want(ctx, spec, n, func(s *session, r *revision) {
		live := slices.DeleteFunc(slices.Clone(r.instances), (*instance).stopping)
		for range n - len(live) {
			if r.claim(backOff{}) == nil {
				i := newInstance(s, spec)
				r.instances = append(r.instances, i)
				d.look(r, i)
			}
		}
		d.stock(s, r)
		for _, i := range d.surplus(live, n) {
			i.stop()
		}
	})
	if err != nil {
		return fmt.Errorf("scale revision %s to %d instances: %w", spec.Revision, n, err)
	}
	return nil
}

// want takes note that n instances of the spec's revision are wanted, for one purpose or another, by
// calling note with mu held, once there is contact with the engine child.
func (d *Driver) want(ctx context.Context, spec engine.Spec, n int, note func(*session, *revision)) error {
	if n < 0 {
		return errors.New("a count is never negative")
	}
	s, err := d.await(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.revisions[spec.Revision]
	if !ok || !r.prepared {
		return errors.New("it has not been prepared")
	}
	if d.ended {
		return errors.New("the engine driver has been stopped")
	}
	r.spec = spec
	note(s, r)
	return nil
}

// surplus picks which of live to stop so that n are left: those that serve nobody first, then the
// youngest.
func (d *Driver) surplus(live []*instance, n int) []*instance {
	if len(live) <= n {
		return nil
	}
	slices.Reverse(live)
	slices.SortStableFunc(live, func(a, b *instance) int { return cmp.Compare(d.rank(a.id), d.rank(b.id)) })
	return live[:len(live)-n]
}

func (d *Driver) rank(id apron.InstanceID) int {
	if i, ok := d.roster.Get(id); ok && i.State == apron.InstanceReady {
		return 1
	}
	return 0
}

// Remove implements engine.Engine.
func (d *Driver) Remove(ctx context.Context, id apron.RevisionID) error {
	s, err := d.await(ctx)
	if err != nil {
		return err
	}
	r, release, err := d.hold(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	d.mu.Lock()
	r.prepared, r.reserve = false, 0
	leaving := slices.Concat(r.instances, r.reserved)
	d.mu.Unlock()
	for _, i := range leaving {
		i.stop()
	}
	for _, i := range leaving {
		select {
		case <-i.done:
			if !i.removed {
				return fmt.Errorf("remove revision %s: the engine driver has been stopped", id)
			}
		case <-ctx.Done():
			return fmt.Errorf("remove revision %s: %w", id, ctx.Err())
		}
	}
	d.mu.Lock()
	left := func(i *instance) bool { return slices.Contains(leaving, i) }
	r.instances, r.reserved = slices.DeleteFunc(r.instances, left), slices.DeleteFunc(r.reserved, left)
	d.mu.Unlock()
	return s.dropImage(ctx, id)
}

// Revisions implements engine.Engine.
func (d *Driver) Revisions(ctx context.Context) ([]apron.RevisionID, error) {
	s, err := d.await(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := s.imageRevisions(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	for id, r := range d.revisions {
		if len(r.instances) > 0 {
			ids = append(ids, id)
		}
	}
	d.mu.Unlock()
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
