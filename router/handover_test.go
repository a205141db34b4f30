package router_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/router"
)

// reign is one router of several that follow one another.
type reign struct {
	ready, ended chan struct{}
	err          error
	stop         func()
}

// succeed starts a router that takes over from the one that runs, and returns once it serves.
func (b *bench) succeed() *reign {
	b.Helper()
	r := &reign{ready: make(chan struct{}), ended: make(chan struct{})}
	cfg := b.cfg
	cfg.TakeOver = true
	cfg.Ready = func() { close(r.ready) }
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.ended)
		r.err = router.Run(ctx, cfg)
	}()
	b.Cleanup(func() {
		cancel()
		<-r.ended
		if r.err != nil {
			b.Error(r.err)
		}
	})
	select {
	case <-r.ready:
	case <-r.ended:
		b.Fatal(r.err)
	}
	return r
}

// Routers follow one another while users send requests, on kept connections and on new ones. Not one
// is refused or lost, and each router ends once its requests have.
func TestReplacementsLoseNoRequest(t *testing.T) {
	b := start(t, func(c *router.Config) { c.HTTPS = "127.0.0.1:0" })
	in := newInstances(t, 0)
	in.route.Concurrency = 0
	b.publish(in.route)
	more, stop := b.load("web.example.com")
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range 2 { // each request on a connection of its own
		users.Go(func() {
			for ctx.Err() == nil {
				c, err := net.Dial("tcp", b.addrs.HTTP)
				if err != nil {
					t.Errorf("refused: %v", err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(waitLimit))
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\nConnection: close\r\n\r\n")
				buf := make([]byte, 1000)
				if n, err := c.Read(buf); err != nil {
					t.Errorf("lost: %v %q", err, buf[:n])
				}
				_ = c.Close()
			}
		})
	}
	reigns := make([]*reign, 0, 20)
	for range 20 {
		more(50)
		reigns = append(reigns, b.succeed())
	}
	more(200)
	// The control plane follows to the last one.
	next := newInstances(t, 1)
	next.route.Concurrency = 0
	b.publish(next.route)
	more(50)
	stop()
	cancel()
	users.Wait()
	b.http.CloseIdleConnections()
	for _, r := range reigns[:19] {
		wait(t, "the end of a router", r.ended)
	}
	if got := b.get("http://web.example.com/"); got.Status != 200 {
		t.Errorf("got %+v", got)
	}
}

// What a router has begun it ends, also when another one has taken over meanwhile.
func TestReplacedRouterFinishes(t *testing.T) {
	b := start(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
		fmt.Fprint(w, "done")
	})))
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/slow") }()
	wait(t, "request", entered)
	b.succeed()
	b.want(b.get("http://web.example.com/"), 200, "done")
	close(leave)
	b.want(wait(t, "answer", first), 200, "done")
}

// loads keeps what a router reports.
type loads struct {
	mu        sync.Mutex
	inFlight  map[apron.InstanceID]int
	total     map[apron.InstanceID]uint64
	answered  uint64            // with 200 to 299
	ended     map[string]uint64 //
	requestID []string          // of the access records
	changed   chan struct{}     // capacity 1
}

func newLoads() *loads {
	return &loads{
		inFlight: map[apron.InstanceID]int{}, total: map[apron.InstanceID]uint64{}, ended: map[string]uint64{},
		changed: make(chan struct{}, 1),
	}
}

func (f *loads) config() router.ClientConfig {
	return router.ClientConfig{OnLoad: f.load, OnAccess: f.access}
}

func (f *loads) load(l router.Load) {
	f.mu.Lock()
	if l.Full {
		clear(f.inFlight)
	}
	for _, i := range l.Instances {
		f.inFlight[i.Instance], f.total[i.Instance] = i.InFlight, i.Total
	}
	for _, r := range l.Routes {
		f.answered = r.Answered[2]
	}
	maps.Copy(f.ended, l.Ended)
	f.mu.Unlock()
	f.tell()
}

func (f *loads) access(records []router.Access, _ uint64) {
	f.mu.Lock()
	for _, a := range records {
		f.requestID = append(f.requestID, a.RequestID)
	}
	f.mu.Unlock()
	f.tell()
}

func (f *loads) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// await returns once done does.
func (f *loads) await(t testing.TB, what string, done func() bool) {
	t.Helper()
	limit := time.After(waitLimit)
	for {
		f.mu.Lock()
		ok := done()
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-f.changed:
		case <-limit:
			t.Fatalf("%s: did not happen; instances %v, total %v, answered %d, ended %v, records %q",
				what, f.inFlight, f.total, f.answered, f.ended, f.requestID)
		}
	}
}

// slow is an instance that answers requests of /slow once leave was called, others at once.
type slow struct {
	apron.Backend
	entered chan struct{} // receives for each of /slow
	leave   func()
}

func newSlow(t testing.TB) slow {
	leave := make(chan struct{})
	s := slow{entered: make(chan struct{}, 1000), leave: sync.OnceFunc(func() { close(leave) })}
	s.Backend = backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			s.entered <- struct{}{}
			<-leave
		}
		fmt.Fprint(w, "done")
	})
	t.Cleanup(s.leave)
	return s
}

// What a router that was replaced has in flight counts in the one that took over: a deployment waits
// for it, and a later successor hears of it as well. Its counts go on, and so does its access log.
func TestDeploymentWaitsForReplacedRouters(t *testing.T) {
	for _, successors := range []int{1, 3} {
		b := start(t, nil)
		s := newSlow(t)
		old := route("web.example.com", s.Backend)
		old.Options.AccessLog = true
		f := newLoads()
		b.client, _ = b.connect(f.config())
		b.publish(old)
		b.get("http://other.example.com/")
		for range 5 {
			b.want(b.get("http://web.example.com/"), 200, "done")
		}
		first := make(chan answer, 1)
		go func() { first <- b.do("GET", "http://web.example.com/slow", nil, "X-Request-Id", "the-slow-one") }()
		wait(t, "request", s.entered)
		f.await(t, "the request in the old router", func() bool { return f.inFlight["i1"] == 1 && f.answered == 5 })
		for range successors {
			b.succeed()
		}
		next := route("web.example.com", backend(t, "i2", says("new")))
		next.Options.AccessLog = true
		b.publish(next)
		// This connection may be one that the old router kept: it has to have heard of the new table.
		b.want(b.get("http://web.example.com/"), 200, "new")
		b.want(b.get("http://web.example.com/"), 200, "new")
		f.await(t, "the request in the load of the new router", func() bool { return f.inFlight["i1"] == 1 && f.answered == 7 })
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := b.client.Drained(ctx, []apron.InstanceID{"i1"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a request in flight in the router before: %v", err)
		}
		cancel()
		drained := make(chan error, 1)
		go func() { drained <- b.client.Drained(t.Context(), []apron.InstanceID{"i1"}) }()
		s.leave()
		b.want(wait(t, "answer", first), 200, "done")
		if err := wait(t, "drained", drained); err != nil {
			t.Error(err)
		}
		f.await(t, "the figures of all requests", func() bool {
			return f.inFlight["i1"] == 0 && f.answered == 8 && f.ended["unknown-host"] == 1 &&
				slices.Contains(f.requestID, "the-slow-one")
		})
	}
}

// An instance that left the table before the take-over has drained only when its last request ended.
func TestDrainingGoesOnAfterTakeOver(t *testing.T) {
	b := start(t, nil)
	s := newSlow(t)
	b.publish(route("web.example.com", s.Backend))
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/slow") }()
	wait(t, "request", s.entered)
	b.publish(route("web.example.com", backend(t, "i2", says("new"))))
	drained := make(chan error, 1)
	go func() { drained <- b.client.Drained(t.Context(), []apron.InstanceID{"i1", "never heard of"}) }()
	b.succeed()
	b.publish(route("web.example.com", backend(t, "i3", says("newer")))) // the stream is up again
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := b.client.Drained(ctx, []apron.InstanceID{"i1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request in flight in the router before: %v", err)
	}
	s.leave()
	b.want(wait(t, "answer", first), 200, "done")
	if err := wait(t, "drained", drained); err != nil {
		t.Error(err)
	}
}

// MaxConcurrency holds for both routers together, and a slot that comes free in the old one is given
// to who waits in the new one.
func TestConcurrencyHoldsAcrossTakeOver(t *testing.T) {
	b := start(t, nil)
	s := newSlow(t)
	r := route("web.example.com", s.Backend)
	r.Concurrency = 1
	b.publish(r)
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/slow") }()
	wait(t, "request", s.entered)
	b.succeed()
	b.publish(r) // it knows what the old one has by then
	second := make(chan answer, 1)
	go func() { second <- b.get("http://web.example.com/slow") }()
	select {
	case <-s.entered:
		t.Error("two requests at a time")
	case <-time.After(200 * time.Millisecond):
	}
	s.leave()
	b.want(wait(t, "answer", first), 200, "done")
	b.want(wait(t, "second answer", second), 200, "done")
}

// A router that dies after it was replaced takes its requests along: nobody waits for them.
func TestReplacedRouterDies(t *testing.T) {
	b := newBench(t, nil)
	old := b.process("router", b.cfg.Dir, "127.0.0.1:0", "")
	b.client, _ = b.connect(router.ClientConfig{})
	b.learnAddresses()
	s := newSlow(t)
	b.publish(route("web.example.com", s.Backend))
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/slow") }()
	wait(t, "request", s.entered)
	b.succeed()
	b.publish(route("web.example.com", backend(t, "i2", says("new"))))
	drained := make(chan error, 1)
	go func() { drained <- b.client.Drained(t.Context(), []apron.InstanceID{"i1"}) }()
	select {
	case err := <-drained:
		t.Fatalf("drained with a request in flight: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, "end of the request", first); got.Status != 0 {
		t.Errorf("got %+v from a router that was killed", got)
	}
	if err := wait(t, "drained", drained); err != nil {
		t.Error(err)
	}
	b.want(b.get("http://web.example.com/"), 200, "new")
	s.leave()
}

// A successor that cannot take its place leaves everything as it was.
func TestSuccessorThatFails(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	cfg := b.cfg
	cfg.TakeOver = true
	refusal := errors.New("no")
	cfg.Hold = func() (func(), error) { return nil, refusal }
	if err := router.Run(t.Context(), cfg); !errors.Is(err, refusal) {
		t.Errorf("Run: %v", err)
	}
	b.want(b.get("http://web.example.com/"), 200, "hello")
	b.publish(route("web.example.com", backend(t, "i2", says("again")))) // the stream is back
	b.want(b.get("http://web.example.com/"), 200, "again")
	if err := router.Run(t.Context(), b.cfg); !errors.Is(err, router.ErrRunning) {
		t.Errorf("Run without taking over: %v", err)
	}
}

func TestTakeOverFromNobody(t *testing.T) {
	b := start(t, func(c *router.Config) { c.TakeOver = true })
	b.publish(apron.Route{Hosts: []string{"web.example.com"}, Service: "web", Backends: []apron.Backend{backend(t, "i1", says("hello"))}})
	b.want(b.get("http://web.example.com/"), 200, "hello")
}
