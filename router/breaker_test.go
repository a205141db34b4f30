package router

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apron"
)

// newTestRoutes returns a table with one route of n instances.
func newTestRoutes(n, concurrency, depth int) *routes {
	r := newRoutes(newDrain(), breakerLimits{depth: depth, wait: 5 * time.Second, changed: func() {}})
	if err := r.install(testTable(1, n, concurrency)); err != nil {
		panic(err)
	}
	return r
}

// testTable returns a table of one route; its instances are those of the revision.
func testTable(revision, n, concurrency int) apron.RouteTable {
	route := apron.Route{
		Hosts: []string{"web.example.com"}, Service: "web", Concurrency: concurrency,
		Revision: apron.RevisionID(fmt.Sprint("r", revision)),
	}
	for i := range n {
		route.Backends = append(route.Backends, apron.Backend{
			Instance: apron.InstanceID(fmt.Sprintf("r%d-i%d", revision, i)),
			Addr:     netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1000+i)),
		})
	}
	return apron.RouteTable{Version: uint64(revision), Routes: []apron.Route{route}}
}

func (r *routes) web() *breaker { return r.current.Load().lookup("web.example.com") }

func mustAcquire(t *testing.T, b *breaker) *backend {
	t.Helper()
	got, err := b.acquire(t.Context(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBreakerQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestRoutes(2, 3, 4).web()
		var held []*backend
		for range 6 {
			held = append(held, mustAcquire(t, b))
		}
		if a, z := held[0].set.backends[0].inFlight(), held[0].set.backends[1].inFlight(); a != 3 || z != 3 {
			t.Errorf("in flight %d and %d, want 3 and 3", a, z)
		}
		order := make(chan int, 4)
		for i := range 4 {
			go func() {
				if _, err := b.acquire(context.Background(), nil, false); err == nil {
					order <- i
				}
			}()
			synctest.Wait()
		}
		begin := time.Now()
		if _, err := b.acquire(t.Context(), nil, false); !errors.Is(err, errOverloaded) || time.Since(begin) != 0 {
			t.Errorf("a full queue: %v after %v", err, time.Since(begin))
		}
		for i := range 3 { // first come, first served
			b.release(held[i].target)
			synctest.Wait()
			if got := <-order; got != i {
				t.Errorf("request %d had its turn, want %d", got, i)
			}
		}
		if _, err := b.acquire(t.Context(), nil, false); !errors.Is(err, errOverloaded) || time.Since(begin) != 5*time.Second {
			t.Errorf("no slot: %v after %v, want errOverloaded after 5s", err, time.Since(begin))
		}
		synctest.Wait()
		if n := b.waiting.Load(); n != 0 || b.queue.Len() != 0 || b.refused.Load() != 3 {
			t.Errorf("%d waiting, %d in the queue, %d refused; want 0, 0, 3", n, b.queue.Len(), b.refused.Load())
		}
	})
}

func TestBreakerGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestRoutes(1, 1, 4).web()
		held := mustAcquire(t, b)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := b.acquire(ctx, nil, false); !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		b.release(held.target)
		mustAcquire(t, b) // the slot was not lost to the one who left
	})
}

// Requests that wait for a revision's instances are given those of the next revision.
func TestBreakerOutlivesItsTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRoutes(1, 1, 10)
		b := r.web()
		old := mustAcquire(t, b)
		got := make(chan *backend, 2)
		fail := make(chan error, 2)
		for range 2 {
			go func() {
				in, err := b.acquire(context.Background(), nil, false)
				if err != nil {
					fail <- err
					return
				}
				got <- in
			}()
		}
		synctest.Wait()
		var drained []apron.InstanceID
		r.drain.follow(func(id apron.InstanceID) { drained = append(drained, id) })
		r.drain.watch([]apron.InstanceID{"r1-i0"})
		if err := r.install(testTable(2, 1, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if in := <-got; in.id != "r2-i0" || len(drained) != 0 {
			t.Errorf("given %s, drained %v", in.id, drained)
		}
		if b.release(old.target) {
			r.drain.drained(old.target)
		}
		synctest.Wait()
		if len(drained) != 1 || len(got) != 0 { // a slot of the old one is no slot any more
			t.Errorf("drained %v, %d more given", drained, len(got))
		}
		if err := r.install(testTable(3, 0, 1)); err != nil {
			t.Fatal(err)
		}
		if err := <-fail; !errors.Is(err, errNoInstance) {
			t.Errorf("without instances: %v", err)
		}
	})
}

// While instances are being started, requests that find none wait for one, as long as for a slot.
func TestBreakerWaitsForTheFirstInstance(t *testing.T) {
	starting := func(n int) apron.RouteTable {
		table := testTable(1, n, 0)
		table.Routes[0].Starting = true
		return table
	}
	for name, tt := range map[string]struct {
		first, then apron.RouteTable
		tried       bool // the first table's instance
		want        apron.InstanceID
		err         error
		after       time.Duration
	}{
		"none yet":                    {first: starting(0), then: testTable(1, 1, 0), want: "r1-i0", after: time.Second},
		"none yet, another revision":  {first: starting(0), then: testTable(2, 1, 0), want: "r2-i0", after: time.Second},
		"does not listen yet":         {first: starting(1), tried: true, then: testTable(1, 1, 0), want: "r1-i0", after: time.Second},
		"another one":                 {first: starting(1), tried: true, then: starting(2), want: "r1-i1", after: time.Second},
		"never":                       {first: starting(0), then: starting(0), err: errStarting, after: 5 * time.Second},
		"never listens":               {first: starting(1), tried: true, then: starting(1), err: errStarting, after: 5 * time.Second},
		"fails":                       {first: starting(0), then: testTable(1, 0, 0), err: errNoInstance, after: time.Second},
		"service goes":                {first: starting(0), then: apron.RouteTable{}, err: errNoInstance, after: time.Second},
		"not starting":                {first: testTable(1, 0, 0), then: testTable(1, 1, 0), err: errNoInstance},
		"not starting, does not hear": {first: testTable(1, 1, 0), tried: true, then: testTable(1, 1, 0), err: errNoInstance},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoutes(newDrain(), breakerLimits{depth: 1, wait: 5 * time.Second, changed: func() {}})
				if err := r.install(tt.first); err != nil {
					t.Fatal(err)
				}
				b := r.web()
				var tried []*target
				if tt.tried {
					got := mustAcquire(t, b)
					b.release(got.target)
					tried = append(tried, got.target)
				}
				change := time.AfterFunc(time.Second, func() {
					if b.waiting.Load() == 1 {
						if _, err := b.acquire(context.Background(), tried, false); !errors.Is(err, errStarting) {
							t.Errorf("with no room to wait: %v", err)
						}
					}
					if err := r.install(tt.then); err != nil {
						t.Error(err)
					}
				})
				defer change.Stop()
				begin := time.Now()
				got, err := b.acquire(t.Context(), tried, tt.tried && tt.first.Routes[0].Starting)
				if !errors.Is(err, tt.err) || errors.Is(err, errStarting) != errors.Is(tt.err, errStarting) || time.Since(begin) != tt.after {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(begin), tt.err, tt.after)
				}
				if err == nil && got.id != tt.want {
					t.Errorf("given %s, want %s", got.id, tt.want)
				}
				synctest.Wait()
				if b.waiting.Load() != 0 || b.queue.Len() != 0 || b.refused.Load() != 0 {
					t.Errorf("%d waiting, %d in the queue, %d refused", b.waiting.Load(), b.queue.Len(), b.refused.Load())
				}
			})
		})
	}
}

// An instance that was tried too early is tried again, though it has become ready by the time the connection
// has failed.
func TestBreakerForgetsWhatWasTriedTooEarly(t *testing.T) {
	table := testTable(1, 1, 0)
	table.Routes[0].Starting = true
	r := newRoutes(newDrain(), breakerLimits{depth: 1, wait: 5 * time.Second, changed: func() {}})
	for _, next := range []apron.RouteTable{table, testTable(1, 1, 0)} {
		if err := r.install(next); err != nil {
			t.Fatal(err)
		}
	}
	tried := []*target{r.web().set.Load().backends[0].target}
	if got, err := r.web().acquire(t.Context(), tried, true); err != nil || got.target != tried[0] {
		t.Errorf("given %v, %v", got, err)
	}
	if _, err := r.web().acquire(t.Context(), tried, false); !errors.Is(err, errNoInstance) {
		t.Errorf("tried when it was ready: %v", err)
	}
}

// Instances come and go and return under load: no slot is lost, no limit is passed, and an instance
// is reported drained exactly when nothing of it is in flight.
func TestBreakerUnderChange(t *testing.T) {
	const limit = 4
	r := newTestRoutes(3, limit, 1000)
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				b := r.web()
				in, err := b.acquire(context.Background(), nil, false)
				if err != nil {
					t.Error(err)
					return
				}
				if n := in.inFlight(); n < 1 || n > limit {
					t.Errorf("%d in flight", n)
				}
				if b.release(in.target) {
					r.drain.drained(in.target)
				}
			}
		})
	}
	for i := range 2000 {
		table := testTable(1+i%3, 1+i%4, limit)
		if err := r.install(table); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	work.Wait()
	left := 0
	r.drain.each(func(target *target) {
		left++
		if n := target.state.Load(); n != 0 {
			t.Errorf("%s: state %x", target.id, n)
		}
	})
	if want := len(r.current.Load().source.Routes[0].Backends); left != want {
		t.Errorf("%d targets are left, want %d", left, want)
	}
}

func TestBalancerPassesOverWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestRoutes(3, 0, 1).web()
		set := b.set.Load()
		count := func() map[apron.InstanceID]int {
			n := map[apron.InstanceID]int{}
			for range 300 {
				in := mustAcquire(t, b)
				n[in.id]++
				b.release(in.target)
			}
			return n
		}
		set.backends[0].connectFailed(time.Now())
		if n := count(); n["r1-i0"] != 0 || n["r1-i1"] == 0 || n["r1-i2"] == 0 {
			t.Errorf("one has failed: %v", n)
		}
		set.backends[1].connectFailed(time.Now())
		set.backends[2].connectFailed(time.Now())
		if n := count(); len(n) != 3 {
			t.Errorf("all have failed: %v", n)
		}
		<-time.After(penalty)
		if n := count(); len(n) != 3 {
			t.Errorf("the penalty is over: %v", n)
		}
		tried := []*target{set.backends[0].target, set.backends[1].target}
		if in, err := b.acquire(t.Context(), tried, false); err != nil || in.id != "r1-i2" {
			t.Errorf("the last one: %v %v", in, err)
		}
		if _, err := b.acquire(t.Context(), append(tried, set.backends[2].target), false); !errors.Is(err, errNoInstance) {
			t.Errorf("all tried: %v", err)
		}
	})
}

func TestBalancerIsEven(t *testing.T) {
	b := newTestRoutes(5, 0, 1).web()
	for range 500 {
		mustAcquire(t, b)
	}
	for i := range b.set.Load().backends {
		if n := b.set.Load().backends[i].inFlight(); n < 90 || n > 110 {
			t.Errorf("instance %d has %d of 500", i, n)
		}
	}
}

func benchmarkBreaker(b *testing.B, concurrency, parallel int) {
	br := newTestRoutes(4, concurrency, 1<<20).web()
	ctx := context.Background()
	b.ReportAllocs()
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			in, err := br.acquire(ctx, nil, false)
			if err != nil {
				b.Error(err)
				return
			}
			br.release(in.target)
		}
	})
}

func BenchmarkBreaker(b *testing.B) {
	b.Run("sequential", func(b *testing.B) {
		br := newTestRoutes(4, 100, 100).web()
		b.ReportAllocs()
		for b.Loop() {
			in, err := br.acquire(b.Context(), nil, false)
			if err != nil {
				b.Fatal(err)
			}
			br.release(in.target)
		}
	})
	b.Run("parallel", func(b *testing.B) { benchmarkBreaker(b, 100, 8) })
	b.Run("unlimited", func(b *testing.B) { benchmarkBreaker(b, 0, 8) })
	b.Run("queueing", func(b *testing.B) { benchmarkBreaker(b, 1, 32) })
}
