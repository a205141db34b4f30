package containerd

import (
	"context"
	"errors"
	"os"

	"apron/engine"
)

var _ engine.Meter = (*Driver)(nil)

// Usage implements engine.Meter by reading control files: some 30 µs for an instance.
func (d *Driver) Usage(ctx context.Context) ([]engine.Usage, error) {
	s, err := d.await(ctx)
	if err != nil {
		return nil, err
	}
	var all []engine.Usage
	for _, i := range d.all() {
		u := engine.Usage{Instance: i.id, Service: i.spec.Service, At: d.cfg.Now()}
		u.CPU, u.Memory, err = s.cgroups.usage(groupOf(d.cfg.Dir, i.spec.Service, i.id))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoDevice) {
			continue // between two processes; the group went away while it was read
		}
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// all returns every instance that is not gone.
func (d *Driver) all() []*instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*instance
	for _, r := range d.revisions {
		all = append(all, r.instances...)
	}
	return all
}
