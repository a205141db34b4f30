package containerd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"

	"apron"
)

// stock is what outlived an earlier driver.
type stock struct {
	images    []apron.RevisionID
	instances []*instance // oldest first
}

// takeStock finds what there is of revisions and instances, and removes what a crash left half made.
func (s *session) takeStock(ctx context.Context) (stock, error) {
	var found stock
	var err error
	if found.images, err = s.imageRevisions(ctx); err != nil {
		return stock{}, err
	}
	records, err := s.client.ContainerService().List(ctx)
	if err != nil {
		return stock{}, fmt.Errorf("list containers: %w", err)
	}
	slices.SortFunc(records, func(a, b containers.Container) int { return a.CreatedAt.Compare(b.CreatedAt) })
	known := map[apron.InstanceID]bool{}
	for _, c := range records {
		r, ours, err := readRecord(c)
		if !ours {
			continue // a build's
		}
		if err == nil && c.Labels[labelReserved] != "" {
			// One that runs has been taken out of the reserve and may be sent requests: its driver did not
			// come to noting that.
			started, err := s.revive(ctx, r)
			if err == nil && !started { // whoever wants some in reserve asks again
				err = s.removeContainer(ctx, r.id)
			}
			if err != nil {
				return stock{}, err
			}
			if !started {
				continue
			}
		}
		if err == nil && !s.net.addrs.claim(r.addr) {
			err = fmt.Errorf("its address %s is not free", r.addr)
		}
		if err != nil {
			s.cfg.Log.Warn("instance cannot be adopted and is removed", "instance", c.ID, "err", err)
			if err := s.removeContainer(ctx, apron.InstanceID(c.ID)); err != nil {
				return stock{}, err
			}
			continue
		}
		alive, err := s.revive(ctx, r)
		if err != nil {
			return stock{}, err
		}
		known[r.id] = true
		found.instances = append(found.instances, adopt(s, r, alive))
	}
	if err := s.sweep(ctx, known); err != nil {
		s.cfg.Log.Warn("leftovers of earlier instances could not be removed", "err", err)
	}
	return found, nil
}

// revive reports whether an instance's process runs. One that an earlier driver froze goes on, without the
// commands it ran there; one that it made and did not come to start is removed.
func (s *session) revive(ctx context.Context, r record) (alive bool, err error) {
	_ = s.cgroups.freeze(groupOf(s.cfg.Dir, r.spec.Service, r.id), false) // without a group nothing is frozen
	t, err := s.task(ctx, r.id)
	if err != nil || t == nil {
		return false, err
	}
	status, err := t.Status(ctx)
	if err != nil {
		return false, fmt.Errorf("look at process of instance %s: %w", r.id, err)
	}
	if status.Status == client.Created {
		return false, s.removeTask(ctx, r.id)
	}
	if status.Status != client.Running {
		return false, nil
	}
	if err := s.endCommands(ctx, t); err != nil {
		s.cfg.Log.Warn("commands of an earlier driver may still run", "instance", r.id, "err", err)
	}
	return true, nil
}

// imageRevisions returns the revisions whose images are kept.
func (s *session) imageRevisions(ctx context.Context) ([]apron.RevisionID, error) {
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var ids []apron.RevisionID
	for _, img := range all {
		if id, ok := strings.CutPrefix(img.Name, imagePrefix); ok && img.Labels[labelRevision] == id {
			ids = append(ids, apron.RevisionID(id))
		}
	}
	return ids, nil
}
