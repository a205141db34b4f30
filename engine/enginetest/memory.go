package enginetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"apron"
	"apron/engine"
)

// Behaviour says what instances of an image do. The zero value is a web application that listens at
// once and answers every request 200 with its instance id and a newline.
type Behaviour struct {
	Handler http.Handler  // answers requests; nil: 200 with the instance id
	Boot    time.Duration // from process start to listening
	Silent  bool          // never listens
	Exits   bool          // ends with ExitCode after Boot instead of listening
	Code    int           // exit code when Exits
	Log     []string      // lines written before listening or ending
	Absent  string        // not empty: Prepare returns an Invalid Fault with this message
	Trouble error         // not nil: Prepare returns it
}

// Memory is an engine without containers: each instance is an HTTP server on a loopback port of its
// own, probed and restarted as the containerd driver does it. Spec.Port is ignored, because all
// instances share one network. It outlives its users, so handing the same Memory to a second fleet
// is what a restart of the control plane looks like. Safe for concurrent use; Close it.
type Memory struct {
	roster *engine.Roster
	wg     sync.WaitGroup // every instance's goroutine

	mu        sync.Mutex // guards the fields below
	behaviour map[string]Behaviour
	revisions map[apron.RevisionID]*revision
	closed    bool
}

var (
	_ engine.Engine   = (*Memory)(nil)
	_ engine.Reserver = (*Memory)(nil)
)

// revision is a prepared revision; Memory.mu guards it.
type revision struct {
	spec      engine.Spec
	behaviour Behaviour
	want      int
	reserve   int
	removed   bool
	instances []*instance // oldest first, those on their way out included
}

// New returns an engine without revisions, on which every image is a working web application until
// Image says otherwise.
func New() *Memory {
	m := &Memory{roster: engine.NewRoster(), behaviour: map[string]Behaviour{}, revisions: map[apron.RevisionID]*revision{}}
	m.roster.Found() // nothing outlives a process but what is in it
	return m
}

// Image sets what instances of the image with this reference do, from the next Prepare on.
func (m *Memory) Image(reference string, b Behaviour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behaviour[reference] = b
}

// Asked returns the spec a revision was prepared with and how many instances were last asked for;
// ok is false for a revision the engine does not have.
func (m *Memory) Asked(id apron.RevisionID) (spec engine.Spec, n int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.revisions[id]
	if !ok || r.removed {
		return engine.Spec{}, 0, false
	}
	return r.spec, r.want, true
}

// Reserved returns how many instances of a revision were last asked to be made in advance.
func (m *Memory) Reserved(id apron.RevisionID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.revisions[id]; ok && !r.removed {
		return r.reserve
	}
	return 0
}

// Crash ends an instance's process with the exit code, as if the application had called exit, and
// reports whether there was one to end.
func (m *Memory) Crash(id apron.InstanceID, code int) bool {
	if i := m.find(id); i != nil {
		return i.crash(code)
	}
	return false
}

// Process names the instance's running process; it changes with every restart and is empty when
// there is none.
func (m *Memory) Process(id apron.InstanceID) string {
	i, ok := m.roster.Get(id)
	if !ok || i.State == apron.InstanceFailed {
		return ""
	}
	return fmt.Sprintf("%s/%d", id, i.Restarts)
}

func (m *Memory) find(id apron.InstanceID) *instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.revisions {
		for _, i := range r.instances {
			if i.id == id {
				return i
			}
		}
	}
	return nil
}

// Close stops every instance and waits for it. Later calls of Scale fail.
func (m *Memory) Close() {
	m.mu.Lock()
	m.closed = true
	for _, r := range m.revisions {
		for _, i := range r.instances {
			i.stop()
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// Prepare implements engine.Engine.
func (m *Memory) Prepare(ctx context.Context, spec engine.Spec) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.revisions[spec.Revision]; ok && !r.removed {
		return nil
	}
	b := m.behaviour[spec.Image.Reference]
	if b.Absent != "" {
		return apron.Faultf(apron.Invalid, "%s", b.Absent)
	}
	if b.Trouble != nil {
		return fmt.Errorf("pull image %s: %w", spec.Image.Reference, b.Trouble)
	}
	m.revisions[spec.Revision] = &revision{spec: spec, behaviour: b}
	return nil
}

// Scale implements engine.Engine.
func (m *Memory) Scale(ctx context.Context, spec engine.Spec, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("scale revision %s to %d instances: a count is never negative", spec.Revision, n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.revisions[spec.Revision]
	if !ok || r.removed || m.closed {
		return fmt.Errorf("scale revision %s: it has not been prepared", spec.Revision)
	}
	r.want = n
	live := slices.DeleteFunc(slices.Clone(r.instances), (*instance).stopping)
	for range n - len(live) {
		m.start(r)
	}
	for _, i := range m.surplus(live, n) {
		i.stop()
	}
	return nil
}

// Reserve implements engine.Reserver. It only takes note: of an instance that is a goroutine nothing can be
// made in advance.
func (m *Memory) Reserve(ctx context.Context, spec engine.Spec, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("reserve %d instances of revision %s: a count is never negative", n, spec.Revision)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.revisions[spec.Revision]
	if !ok || r.removed || m.closed {
		return fmt.Errorf("reserve instances of revision %s: it has not been prepared", spec.Revision)
	}
	r.reserve = n
	return nil
}

// start adds an instance to r; m.mu is held.
func (m *Memory) start(r *revision) {
	ctx, cancel := context.WithCancel(context.Background())
	i := &instance{
		id: newID(), spec: r.spec, behaviour: r.behaviour, roster: m.roster,
		ctx: ctx.Done(), stop: cancel, crashed: make(chan int), done: make(chan struct{}),
	}
	r.instances = append(r.instances, i)
	m.wg.Go(func() {
		defer close(i.done)
		i.run(ctx)
		m.mu.Lock()
		r.instances = slices.DeleteFunc(r.instances, func(o *instance) bool { return o == i })
		m.mu.Unlock()
	})
}

// surplus picks which of live to stop so that n are left: those that serve nobody first, then the
// youngest.
func (m *Memory) surplus(live []*instance, n int) []*instance {
	if len(live) <= n {
		return nil
	}
	slices.Reverse(live)
	slices.SortStableFunc(live, func(a, b *instance) int {
		return cmp.Compare(m.rank(a.id), m.rank(b.id))
	})
	return live[:len(live)-n]
}

func (m *Memory) rank(id apron.InstanceID) int {
	if i, ok := m.roster.Get(id); ok && i.State == apron.InstanceReady {
		return 1
	}
	return 0
}

// Remove implements engine.Engine.
func (m *Memory) Remove(ctx context.Context, id apron.RevisionID) error {
	m.mu.Lock()
	r, ok := m.revisions[id]
	if !ok {
		m.mu.Unlock()
		return nil
	}
	r.removed, r.want, r.reserve = true, 0, 0
	leaving := slices.Clone(r.instances)
	for _, i := range leaving {
		i.stop()
	}
	m.mu.Unlock()
	for _, i := range leaving {
		select {
		case <-i.done:
		case <-ctx.Done():
			return fmt.Errorf("remove revision %s: %w", id, ctx.Err())
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revisions[id] == r {
		delete(m.revisions, id)
	}
	return nil
}

// Revisions implements engine.Engine.
func (m *Memory) Revisions(ctx context.Context) ([]apron.RevisionID, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]apron.RevisionID, 0, len(m.revisions))
	for id := range m.revisions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Watch implements engine.Engine.
func (m *Memory) Watch(ctx context.Context, synced func(), fn func(apron.Instance)) error {
	return m.roster.Watch(ctx, synced, fn)
}

func newID() apron.InstanceID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return apron.InstanceID(hex.EncodeToString(b[:]))
}
