package router

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"apron"
)

const (
	// penalty is how long an instance that refused a connection is passed over while others of its
	// route are not.
	penalty = time.Second
	// ejectAfter is how many requests in a row an instance may lose before it is treated likewise.
	ejectAfter = 3
)

// leaving is set in target.state of an instance that is not in the table any more: it takes no new
// request. It is far above any count of requests.
const leaving = 1 << 62

// target is one instance as long as it is in the table or has a request in flight. It is shared by
// all tables of that time and safe for concurrent use.
type target struct {
	id          apron.InstanceID
	state       atomic.Int64  // requests in flight, plus leaving
	total       atomic.Uint64 // requests ever given to it
	failedUntil atomic.Int64  // Unix nanoseconds; 0: it is not passed over
	failures    atomic.Int32  // requests lost since the last answer
	idle        idleConns
}

// take reserves a slot of the target and reports whether there was one. A limit of 0 means none.
func (t *target) take(limit int64) bool {
	for {
		n := t.state.Load()
		if n&leaving != 0 || limit > 0 && n >= limit {
			return false
		}
		if t.state.CompareAndSwap(n, n+1) {
			t.total.Add(1)
			return true
		}
	}
}

// give returns a slot and reports whether it was the last one of a target that is leaving.
func (t *target) give() bool { return t.state.Add(-1) == leaving }

// inFlight returns how many slots are taken.
func (t *target) inFlight() int64 { return t.state.Load() &^ leaving }

// connectFailed passes the target over for a while: nothing listens there, or not fast enough.
func (t *target) connectFailed(now time.Time) { t.failedUntil.Store(now.Add(penalty).UnixNano()) }

// failed is called when a request was lost on the target before there was an answer. It may have been
// the request's fault; of several in a row that is not likely.
func (t *target) failed(now time.Time) {
	if t.failures.Add(1) >= ejectAfter {
		t.connectFailed(now)
	}
}

// answered ends that the target is passed over, and forgets what was lost.
func (t *target) answered() {
	if t.failedUntil.Load() != 0 {
		t.failedUntil.Store(0)
	}
	if t.failures.Load() != 0 {
		t.failures.Store(0)
	}
}

// penalised reports whether the target is to be passed over. Once in a while it is not: that request
// is the probe that may end it, and may find another instance when it does not. The clock is read
// only for a target that failed at all.
func (t *target) penalised() bool {
	until := t.failedUntil.Load()
	if until == 0 {
		return false
	}
	now := time.Now()
	return now.UnixNano() < until || !t.failedUntil.CompareAndSwap(until, now.Add(penalty).UnixNano())
}

// backend is a target and where it listens according to one table.
type backend struct {
	*target
	set  *backendSet // that it is in
	addr string      // ip:port to connect to
	// host stands for the instance in the transport's pool of idle connections. It is not the
	// address, so that a connection to an instance that is gone is never used for another one that
	// was given its address.
	host string
}

// backendSet is the instances of a route according to one table. It is immutable.
type backendSet struct {
	service  apron.ServiceID
	revision apron.RevisionID
	limit    int64 // requests at a time per instance; 0: no limit
	options  apron.RouteOptions
	// requestTimeout, depth and wait are those of the options, or else the router's.
	requestTimeout time.Duration
	depth          int           // requests that may wait for a slot
	wait           time.Duration // each
	starting       bool          // there will soon be an instance, or one of those will listen
	backends       []backend
}

func newBackendSet(r apron.Route, targets map[apron.InstanceID]*target, limits breakerLimits) *backendSet {
	s := &backendSet{service: r.Service, revision: r.Revision, limit: int64(r.Concurrency), options: r.Options, starting: r.Starting}
	s.requestTimeout, s.depth, s.wait = limits.request, limits.depth, limits.wait
	if d := r.Options.RequestTimeout; d > 0 {
		s.requestTimeout = d
	}
	if d := r.Options.QueueTimeout; d > 0 {
		s.wait = d
	}
	if n := r.Options.Queue; n != 0 {
		s.depth = max(n, 0)
	}
	for _, b := range r.Backends {
		addr := b.Addr.String()
		s.backends = append(s.backends, backend{
			target: targets[b.Instance], set: s, addr: addr,
			host: string(b.Instance) + addr[strings.LastIndexByte(addr, ':'):],
		})
	}
	return s
}

// emptied returns the set without its instances.
func (s *backendSet) emptied() *backendSet {
	e := *s
	e.backends, e.starting = nil, false
	return &e
}

// take reserves a slot of one of the instances, none of those in tried, and returns nil when no
// slot is free. Of two chosen at random the one with fewer requests in flight is asked first: close
// to the evenness of asking all, at a cost that does not grow with their number. Instances that
// just refused a connection are used only when all have.
func (s *backendSet) take(tried []*target) *backend {
	n := len(s.backends)
	if n == 0 {
		return nil
	}
	first := 0
	if n > 1 {
		first = rand.IntN(n)       //nolint:gosec // spreads out requests, nothing secret about it
		second := rand.IntN(n - 1) //nolint:gosec // as above
		if second >= first {
			second++
		}
		if s.backends[second].inFlight() < s.backends[first].inFlight() {
			first = second
		}
	}
	if b := &s.backends[first]; !b.penalised() && !slices.Contains(tried, b.target) && b.take(s.limit) {
		return b
	}
	return s.scan(first, tried)
}

// scan tries the instances one after the other, from the one at index first.
func (s *backendSet) scan(first int, tried []*target) *backend {
	usable := false
	for i := range s.backends {
		b := &s.backends[(first+i)%len(s.backends)]
		if b.penalised() || slices.Contains(tried, b.target) {
			continue
		}
		usable = true
		if b.take(s.limit) {
			return b
		}
	}
	if usable {
		return nil // full: a slot of those is worth waiting for
	}
	for i := range s.backends {
		b := &s.backends[(first+i)%len(s.backends)]
		if !slices.Contains(tried, b.target) && b.take(s.limit) {
			return b
		}
	}
	return nil
}

// exhausted reports whether every instance is in tried; so it is when there are none.
func (s *backendSet) exhausted(tried []*target) bool {
	for i := range s.backends {
		if !slices.Contains(tried, s.backends[i].target) {
			return false
		}
	}
	return true
}
