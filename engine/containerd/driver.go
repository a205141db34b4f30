package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"

	"apron"
	"apron/engine"
)

var (
	_ engine.Engine           = (*Driver)(nil)
	_ engine.Describer        = (*Driver)(nil)
	_ engine.ProgressPreparer = (*Driver)(nil)
)

// Driver implements engine.Engine on the engine child. Until Run has made contact with the engine
// child, every other method waits. Safe for concurrent use.
type Driver struct {
	cfg    Config
	roster *engine.Roster

	// instances is Run's wait group; every instance's goroutine is in it.
	instances sync.WaitGroup

	mu        sync.Mutex                 // guards the fields below; never held during I/O
	session   *session                   // nil before contact
	look      func(*revision, *instance) // starts looking after an instance; mu is held
	ended     bool                       // Run has returned or is about to: no more instances
	revisions map[apron.RevisionID]*revision
}

// revision is what the driver knows of a revision; Driver.mu guards it but for busy.
type revision struct {
	busy      chan struct{} // capacity 1: held while its image is prepared or removed
	spec      engine.Spec
	prepared  bool
	instances []*instance // oldest first, those on their way out included
	idle      time.Time   // since when it has had no instance; zero: before this driver
	reserve   int         // how many are to be made in advance
	reserved  []*instance // those, oldest first, those on their way out included
}

// New returns a Driver that does nothing until Run.
func New(c Config) *Driver {
	return &Driver{cfg: c.defaulted(), roster: engine.NewRoster(), revisions: map[apron.RevisionID]*revision{}}
}

// Run connects to the engine child, waiting for one if need be, adopts the instances it has, and
// looks after all instances until ctx is done; it then returns ctx's error, leaving the instances
// running. It must be called once. The engine child may go away and come back meanwhile.
func (d *Driver) Run(ctx context.Context) error {
	cl, err := dial(d.cfg.Socket, d.cfg.Namespace)
	if err != nil {
		return err
	}
	defer cl.Close()
	defer d.instances.Wait()
	defer d.end()
	if err := d.contact(ctx, cl); err != nil {
		return err
	}
	var others sync.WaitGroup
	others.Go(func() { d.watchDisks(ctx) })
	others.Go(func() { d.session.fillSpares(ctx) }) // contact has set it, and nobody changes it
	defer others.Wait()
	d.chores(ctx)
	return ctx.Err()
}

func (d *Driver) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
}

// contact tries to reach the engine child and to take stock until it can. What stands in the way is
// logged when it changes.
func (d *Driver) contact(ctx context.Context, cl *client.Client) error {
	last := ""
	for {
		err := d.tryContact(ctx, cl)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if msg := err.Error(); msg != last {
			last = msg
			if away(err) {
				d.cfg.Log.Info("waiting for the engine", "err", err)
			} else {
				d.cfg.Log.Error("the engine cannot be used", "err", err)
			}
		}
		if err := pause(ctx, retryEngine); err != nil {
			return err
		}
	}
}

func (d *Driver) tryContact(ctx context.Context, cl *client.Client) error {
	if _, err := cl.Version(ctx); err != nil {
		return fmt.Errorf("reach the engine: %w", err)
	}
	s, err := openSession(ctx, d.cfg, cl, d.roster)
	if err != nil {
		return err
	}
	found, err := s.takeStock(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session, d.look = s, func(r *revision, i *instance) { d.lookAfter(ctx, r, i) }
	for _, id := range found.images {
		d.revision(id).prepared = true
	}
	for _, i := range found.instances {
		r := d.revision(i.spec.Revision)
		r.spec, r.instances = i.spec, append(r.instances, i)
		d.roster.Set(i.now)
		d.look(r, i)
	}
	d.roster.Found()
	d.cfg.Log.Info("engine connected", "adopted", len(found.instances), "snapshotter", s.snapshotter,
		"subnet", s.net.state.Subnet.String())
	return nil
}

// await waits until there is contact with the engine child.
func (d *Driver) await(ctx context.Context) (*session, error) {
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the engine: %w", ctx.Err())
	case <-d.roster.Known():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return nil, errors.New("the engine driver has been stopped")
	}
	return d.session, nil
}

// revision returns the revision's entry, making it if need be; mu is held.
func (d *Driver) revision(id apron.RevisionID) *revision {
	r, ok := d.revisions[id]
	if !ok {
		r = &revision{busy: make(chan struct{}, 1)}
		d.revisions[id] = r
	}
	return r
}

// lookAfter runs an instance of r until it is removed or ctx is done; mu is held, and Run has not
// ended.
func (d *Driver) lookAfter(ctx context.Context, r *revision, i *instance) {
	i.succeed = func() bool { return d.succeed(r, i) }
	d.instances.Go(func() {
		i.run(ctx)
		if !i.removed {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		same := func(o *instance) bool { return o == i }
		r.instances, r.reserved, r.idle = slices.DeleteFunc(r.instances, same), slices.DeleteFunc(r.reserved, same), d.cfg.Now()
	})
}

// Describe implements engine.Describer.
func (d *Driver) Describe(ctx context.Context) (engine.Description, error) {
	s, err := d.await(ctx)
	if err != nil {
		return engine.Description{}, err
	}
	found := engine.Description{Driver: "containerd", Tier: "containers with users of their own"}
	if s.noUserNamespaces != nil {
		found.Tier = "containers that share the machine's users"
		found.Reasons = append(found.Reasons, s.noUserNamespaces.Error())
	}
	if d.cfg.sandboxed(engine.Spec{}) {
		found = engine.Description{Driver: "containerd", Tier: "sandboxes of gVisor"}
		if err := s.checkRuntime(engine.Spec{}); err != nil {
			found.Reasons = append(found.Reasons, err.Error())
		}
	}
	if s.snapshotter != overlayfs {
		found.Reasons = append(found.Reasons, "overlay mounts do not work: every instance has a full copy of its image")
	}
	found.Storage = storageWatched
	if s.quotas.inForce {
		found.Storage = storageBounded
	}
	return found, nil
}

// Watch implements engine.Engine.
func (d *Driver) Watch(ctx context.Context, synced func(), fn func(apron.Instance)) error {
	return d.roster.Watch(ctx, synced, fn)
}
