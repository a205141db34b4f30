package router

import (
	"sync"

	"apron"
)

// drain knows every instance that is in the table or still has a request in flight, and tells when
// one that left has drained.
type drain struct {
	mu      sync.Mutex // guards the fields below; never held while calling notify
	targets map[apron.InstanceID]*target
	watched map[apron.InstanceID]bool
	notify  func(apron.InstanceID) // nil: nobody follows
}

func newDrain() *drain {
	return &drain{targets: map[apron.InstanceID]*target{}, watched: map[apron.InstanceID]bool{}}
}

// enter returns the targets of the instances in source. One that was leaving takes requests again.
func (d *drain) enter(source apron.RouteTable) map[apron.InstanceID]*target {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := map[apron.InstanceID]*target{}
	for _, r := range source.Routes {
		for _, b := range r.Backends {
			t := d.targets[b.Instance]
			if t == nil {
				t = &target{id: b.Instance}
				d.targets[b.Instance] = t
			}
			t.state.And(^leaving)
			t.idle.setClosed(false)
			in[b.Instance] = t
		}
	}
	return in
}

// leave closes every target whose instance is not in source. When it returns none of them takes a
// request any more.
func (d *drain) leave(source apron.RouteTable) {
	in := map[apron.InstanceID]bool{}
	for _, r := range source.Routes {
		for _, b := range r.Backends {
			in[b.Instance] = true
		}
	}
	d.mu.Lock()
	var idle []*target
	for id, t := range d.targets {
		// Or returns what was there: whoever brings the state to leaving alone, this or the request
		// that ends last, reports it.
		if !in[id] && t.state.Or(leaving) == 0 {
			idle = append(idle, t)
		}
	}
	d.mu.Unlock()
	for _, t := range idle {
		d.drained(t)
	}
	d.each(func(t *target) {
		if t.state.Load()&leaving != 0 {
			t.idle.setClosed(true)
		}
	})
}

// drained forgets a target that has left and has nothing in flight. It may have come back between
// its last request's end and this call; then nothing happens.
func (d *drain) drained(t *target) {
	d.mu.Lock()
	if d.targets[t.id] != t || t.state.Load() != leaving {
		d.mu.Unlock()
		return
	}
	delete(d.targets, t.id)
	t.idle.setClosed(true)
	notify := d.notify
	if !d.watched[t.id] {
		notify = nil
	}
	delete(d.watched, t.id)
	d.mu.Unlock()
	if notify != nil {
		notify(t.id)
	}
}

// watch makes drain notify of each of the instances once it has drained: at once if it is unknown.
func (d *drain) watch(ids []apron.InstanceID) {
	d.mu.Lock()
	notify := d.notify
	var unknown []apron.InstanceID
	for _, id := range ids {
		if d.targets[id] == nil {
			unknown = append(unknown, id)
		} else {
			d.watched[id] = true
		}
	}
	d.mu.Unlock()
	if notify == nil {
		return
	}
	for _, id := range unknown {
		notify(id)
	}
}

// follow makes notify the function to call, and forgets what was watched for the one before. It
// must not block; nil: none.
func (d *drain) follow(notify func(apron.InstanceID)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notify = notify
	clear(d.watched)
}

// each calls fn for every target there is.
func (d *drain) each(fn func(*target)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.targets {
		fn(t)
	}
}
