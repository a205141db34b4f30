package router

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"

	"apron"
)

// table finds the route of a host. It is immutable once it is current; look-ups need no lock.
type table struct {
	source    apron.RouteTable
	exact     map[string]*breaker
	wildcards map[string]*breaker // by what follows "*."
	breakers  map[breakerKey]*breaker
}

// breakerKey identifies a route from one table to the next, so that requests waiting in one survive
// the change of its instances. The revision is no part of it: they are to go to the new one.
type breakerKey struct {
	service apron.ServiceID
	nth     int // of the service's routes
}

// lookup returns the route of a host as the client sent it, or nil. Nearly every client sends it as it is
// in the table, and what is in the table needs no parsing.
func (t *table) lookup(host string) *breaker {
	if b, ok := t.exact[withoutPort(host)]; ok {
		return b
	}
	var h hostName
	if !h.parse(host) {
		return nil
	}
	return t.route(&h)
}

// find is lookup of a host in bytes; h is scratch memory.
func (t *table) find(h *hostName, host []byte) *breaker {
	if b, ok := t.exact[string(withoutPort(host))]; ok {
		return b
	}
	if !parseHost(h, host) {
		return nil
	}
	return t.route(h)
}

func (t *table) route(h *hostName) *breaker {
	name := h.bytes()
	if b, ok := t.exact[string(name)]; ok {
		return b
	}
	// A wildcard stands for exactly one label, and anything exact wins over it.
	if i := bytes.IndexByte(name, '.'); i > 0 && len(t.wildcards) > 0 {
		return t.wildcards[string(name[i+1:])]
	}
	return nil
}

// checkTable returns why source cannot be made the router's table, or nil.
func checkTable(source apron.RouteTable) error {
	hosts := map[string]bool{}
	instances := map[apron.InstanceID]bool{}
	for _, r := range source.Routes {
		if r.Service == "" {
			return fmt.Errorf("route table: a route of hosts %q names no service", r.Hosts)
		}
		if r.Concurrency < 0 {
			return fmt.Errorf("route table: service %s: concurrency %d", r.Service, r.Concurrency)
		}
		for _, h := range r.Hosts {
			if !validRouteHost(h) {
				return fmt.Errorf("route table: service %s: %q is not a host", r.Service, h)
			}
			if hosts[h] {
				return fmt.Errorf("route table: service %s: host %s has two routes", r.Service, h)
			}
			hosts[h] = true
		}
		for _, b := range r.Backends {
			if b.Instance == "" || !b.Addr.IsValid() || b.Addr.Port() == 0 {
				return fmt.Errorf("route table: service %s: instance %q has address %s", r.Service, b.Instance, b.Addr)
			}
			// An instance in two routes would have two limits, and a slot freed by one route would not
			// wake the requests waiting in the other.
			if instances[b.Instance] {
				return fmt.Errorf("route table: service %s: instance %s is listed twice", r.Service, b.Instance)
			}
			instances[b.Instance] = true
		}
	}
	return nil
}

func validRouteHost(host string) bool {
	name := strings.TrimPrefix(host, "*.")
	var h hostName
	return h.parse(name) && string(h.bytes()) == name
}

// routes holds the current table and changes it.
type routes struct {
	current atomic.Pointer[table]
	drain   *drain
	limits  breakerLimits
}

func newRoutes(d *drain, limits breakerLimits) *routes {
	r := &routes{drain: d, limits: limits}
	r.current.Store(&table{})
	return r
}

// install makes source the table. When it returns no request will be given to an instance that is
// not in source. Calls must not overlap.
func (r *routes) install(source apron.RouteTable) error {
	if err := checkTable(source); err != nil {
		return err
	}
	prev := r.current.Load()
	next := &table{
		source: source, exact: map[string]*breaker{}, wildcards: map[string]*breaker{},
		breakers: make(map[breakerKey]*breaker, len(source.Routes)),
	}
	// The order matters: instances are (re)opened before a set names them, every set and the table
	// are replaced before instances that left are closed. A request that lost the race against the
	// closing looks at its route's set again, and finds the new one.
	targets := r.drain.enter(source)
	nth := map[apron.ServiceID]int{}
	for _, route := range source.Routes {
		key := breakerKey{route.Service, nth[route.Service]}
		nth[route.Service]++
		b := prev.breakers[key]
		if b == nil {
			b = newBreaker(r.limits)
		}
		b.set.Store(newBackendSet(route, targets, r.limits))
		next.add(key, route.Hosts, b)
	}
	for key, b := range prev.breakers {
		if next.breakers[key] == nil {
			b.set.Store(b.set.Load().emptied())
		}
	}
	r.current.Store(next)
	r.drain.leave(source)
	for _, t := range []*table{prev, next} {
		for _, b := range t.breakers {
			b.dispatch() // waiting requests go to the new instances, or learn that there are none
		}
	}
	return nil
}

func (t *table) add(key breakerKey, hosts []string, b *breaker) {
	t.breakers[key] = b
	for _, h := range hosts {
		if parent, ok := strings.CutPrefix(h, "*."); ok {
			t.wildcards[parent] = b
		} else {
			t.exact[h] = b
		}
	}
}
