package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apron"
	"apron/router"
)

func TestRefusedConnectionGoesToAnotherInstance(t *testing.T) {
	b := start(t, nil)
	echo := backend(t, "good", func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		fmt.Fprint(w, body.String())
	})
	for i := range 50 { // each time the dead ones are new, and not yet passed over
		b.publish(route("web.example.com", at(apron.InstanceID(fmt.Sprint("dead-a", i)), closedPort(t)),
			at(apron.InstanceID(fmt.Sprint("dead-b", i)), closedPort(t)), echo))
		b.want(b.do("POST", "http://web.example.com/", strings.NewReader("body")), 200, "body")
	}
}

func TestFullInstancesAnswer429(t *testing.T) {
	b := start(t, func(c *router.Config) { c.QueueLimit = 50 * time.Millisecond })
	entered, leave := make(chan struct{}), make(chan struct{})
	r := route("web.example.com", backend(t, "i1", func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	r.Concurrency = 1
	b.publish(r)
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/") }()
	wait(t, "first request", entered)
	b.want(b.get("http://web.example.com/"), 429, "Too Many Requests")
	close(leave)
	b.want(wait(t, "first answer", first), 200, "")
}

func TestDrain(t *testing.T) {
	b := start(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	busy := backend(t, "busy", func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-leave
		fmt.Fprint(w, "done")
	})
	idle := backend(t, "idle", says("idle"))
	b.publish(route("web.example.com", busy))
	first := make(chan answer, 1)
	go func() { first <- b.get("http://web.example.com/") }()
	wait(t, "request", entered)

	b.publish(route("web.example.com", idle))
	b.want(b.get("http://web.example.com/"), 200, "idle")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if err := b.client.Drained(ctx, []apron.InstanceID{"busy"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request in flight: %v", err)
	}
	cancel()
	drained := make(chan error, 2)
	for range 2 {
		go func() { drained <- b.client.Drained(t.Context(), []apron.InstanceID{"busy", "never heard of"}) }()
	}
	close(leave)
	b.want(wait(t, "answer", first), 200, "done")
	for range 2 {
		if err := wait(t, "drained", drained); err != nil {
			t.Error(err)
		}
	}
	go func() { drained <- b.client.Drained(t.Context(), []apron.InstanceID{"idle"}) }()
	b.publish() // an instance without requests drains by leaving
	if err := wait(t, "drained", drained); err != nil {
		t.Error(err)
	}
	b.want(b.get("http://web.example.com/"), 404, "")
}

// load sends requests from many users until stop is called, and reports everything but 200. more
// waits until another n have been answered.
func (b *bench) load(host string) (more func(n int64), stop func()) {
	var sent atomic.Int64
	tick := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var users sync.WaitGroup
	for i := range 16 {
		users.Go(func() {
			for ctx.Err() == nil {
				var got answer
				if i%4 == 0 {
					got = b.do("POST", "http://"+host+"/", strings.NewReader("some body"))
				} else {
					got = b.get("http://" + host + "/")
				}
				if got.Status != 200 {
					b.Errorf("got %d %q", got.Status, got.Body)
					return
				}
				sent.Add(1)
				select {
				case tick <- struct{}{}:
				default:
				}
			}
		})
	}
	more = func(n int64) {
		b.Helper()
		for until := sent.Load() + n; sent.Load() < until; {
			wait(b, "more answers", tick)
		}
	}
	return more, func() {
		cancel()
		users.Wait()
		b.Logf("%d requests", sent.Load())
	}
}

// Every table replaces all instances; the old ones end as soon as the client says they may.
func TestTableChangesLoseNoRequest(t *testing.T) {
	b := start(t, nil)
	old := newInstances(t, 0)
	b.publish(old.route)
	more, stop := b.load("web.example.com")
	for i := 1; i <= 40; i++ {
		more(100)
		next := newInstances(t, i)
		b.publish(next.route)
		if err := b.client.Drained(t.Context(), old.ids); err != nil {
			t.Error(err)
		}
		old.kill()
		old = next
	}
	stop()
}

// instances are three servers of one revision.
type instances struct {
	route apron.Route
	ids   []apron.InstanceID
	kill  func()
}

func newInstances(t *testing.T, revision int) instances {
	var in instances
	var servers []*http.Server
	in.route = route("web.example.com")
	in.route.Revision = apron.RevisionID(fmt.Sprint("r", revision))
	in.route.Concurrency = 4
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: says("ok"), ReadHeaderTimeout: waitLimit}
		go func() { _ = srv.Serve(ln) }()
		servers = append(servers, srv)
		id := apron.InstanceID(fmt.Sprintf("r%d-%d", revision, i))
		in.ids = append(in.ids, id)
		in.route.Backends = append(in.route.Backends, at(id, ln.Addr().String()))
	}
	in.kill = func() {
		for _, s := range servers {
			_ = s.Close() // as SIGKILL would: connections are cut
		}
	}
	t.Cleanup(in.kill)
	return in
}
