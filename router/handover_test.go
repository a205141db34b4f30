package router_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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
func (b *bench) succeed(change func(*router.Config)) *reign {
	b.Helper()
	r := &reign{ready: make(chan struct{}), ended: make(chan struct{})}
	cfg := b.cfg
	cfg.TakeOver = true
	cfg.Ready = func() { close(r.ready) }
	if change != nil {
		change(&cfg)
	}
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
		reigns = append(reigns, b.succeed(nil))
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
	b.succeed(nil)
	b.want(b.get("http://web.example.com/"), 200, "done")
	close(leave)
	b.want(wait(t, "answer", first), 200, "done")
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
