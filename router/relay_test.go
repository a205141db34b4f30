package router_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
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

// read returns the next response on a connection.
func (b *bench) read(r *bufio.Reader, method string) answer {
	b.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{Body: err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		body = append(body, err.Error()...)
	}
	if res.Close {
		res.Header.Set("Connection", "close") // net/http has taken it out
	}
	return answer{Status: res.StatusCode, Body: string(body), Header: res.Header}
}

// The instance decides whether it wants a body that the user announced.
func TestExpectContinue(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		body, _ := io.ReadAll(r.Body) // net/http says 100 Continue now
		fmt.Fprintf(w, "got %d", len(body))
	})))
	c := b.dial()
	r := bufio.NewReader(c)
	for range 2 {
		fmt.Fprint(c, "POST /take HTTP/1.1\r\nHost: web.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if got := b.read(r, "POST"); got.Status != http.StatusContinue {
			t.Fatalf("got %+v", got)
		}
		fmt.Fprint(c, "hello")
		b.want(b.read(r, "POST"), 200, "got 5")
	}
	fmt.Fprint(c, "POST /refuse HTTP/1.1\r\nHost: web.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	got := b.read(r, "POST")
	b.want(got, http.StatusRequestEntityTooLarge, "")
	if got.Header.Get("Connection") != "close" {
		t.Errorf("header %v: the body may still come, and must not be taken for a request", got.Header)
	}

	// An instance that has never heard of it gets the body all the same.
	mute := scripted(t, func(c net.Conn, r *bufio.Reader) {
		body := make([]byte, 5)
		if _, err := io.ReadFull(r, body); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	b.publish(route("web.example.com", at("mute", mute)))
	c = b.dial()
	r = bufio.NewReader(c)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: web.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if got := b.read(r, "POST"); got.Status != http.StatusContinue {
		t.Fatalf("got %+v", got)
	}
	fmt.Fprint(c, "hello")
	b.want(b.read(r, "POST"), 200, "hello")
}

// An event is with the user before the next one is sent, also to HTTP/1.0 and on a response without
// a length.
func TestEventsAreNotHeldBack(t *testing.T) {
	next := make(chan struct{})
	b := start(t, nil)
	b.publish(route("web.example.com", at("i1", scripted(t, func(c net.Conn, _ *bufio.Reader) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for i := range 5 {
			<-next
			fmt.Fprintf(c, "data: %d\n\n", i)
		}
	}))))
	for _, version := range []string{"1.1", "1.0"} {
		c := b.dial()
		fmt.Fprintf(c, "GET / HTTP/%s\r\nHost: web.example.com\r\n\r\n", version)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		events := bufio.NewReader(res.Body)
		for i := range 5 {
			next <- struct{}{}
			line, err := events.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
				t.Fatalf("got %q %v, want %q", line, err, want)
			}
			_, _ = events.ReadString('\n')
		}
		if rest, err := io.ReadAll(events); err != nil || len(rest) > 0 {
			t.Errorf("at the end %q %v", rest, err)
		}
		_ = res.Body.Close()
	}
}

// A user that does not read holds the instance back, not the router's memory.
func TestBackPressure(t *testing.T) {
	var sent atomic.Int64
	b := start(t, func(c *router.Config) { c.StallLimit = 300 * time.Millisecond })
	stopped := make(chan struct{}, 1)
	b.publish(route("web.example.com", at("i1", scripted(t, func(c net.Conn, _ *bufio.Reader) {
		defer func() { stopped <- struct{}{} }()
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		part := make([]byte, 64<<10)
		for {
			n, err := c.Write(part)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}))))
	c := b.dial()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
	wait(t, "the instance's connection is cut", stopped) // the slow-read defence
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes were taken from the instance", n)
	}
}

func TestSlowUsers(t *testing.T) {
	b := start(t, func(c *router.Config) {
		c.HeaderLimit, c.IdleLimit, c.StallLimit = 100*time.Millisecond, 150*time.Millisecond, 100*time.Millisecond
	})
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "ok")
	})))
	drip := func(c net.Conn, text string) {
		for _, b := range []byte(text) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the slowness is the attack
		}
	}
	begin := time.Now()
	var users sync.WaitGroup
	for name, send := range map[string]func(c net.Conn){
		"says nothing": func(net.Conn) {},
		"drips a header": func(c net.Conn) {
			drip(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\n"+strings.Repeat("X: y\r\n", 1000))
		},
		"stops in a header": func(c net.Conn) { fmt.Fprint(c, "GET / HTTP/1.1\r\n") },
		"idles":             func(c net.Conn) { fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n") },
		"stops in a body": func(c net.Conn) {
			fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 9\r\n\r\nx")
		},
		"stops before a body": func(c net.Conn) {
			fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 9\r\n\r\n")
		},
	} {
		c := b.dial()
		users.Go(func() {
			go send(c)
			if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("who %s is not cut", name)
			}
		})
	}
	users.Wait()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// An instance hears of it when the user leaves, and its slot is free again.
func TestUserLeaves(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	b := start(t, nil)
	r := route("web.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	}))
	r.Concurrency = 1
	b.publish(r)
	for range 2 {
		c := b.dial()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
		wait(t, "the request", entered)
		_ = c.Close()
		wait(t, "its end", left)
	}
	// One that waits for a slot gives its place up.
	first, second := b.dial(), b.dial()
	fmt.Fprint(first, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
	wait(t, "the request", entered)
	loads := make(chan router.Load, 1000)
	b.client, _ = b.connect(router.ClientConfig{OnLoad: func(l router.Load) { loads <- l }})
	queued := func(n int) {
		for {
			for _, r := range wait(t, fmt.Sprint(n, " queued"), loads).Routes {
				if r.Queued == n {
					return
				}
			}
		}
	}
	fmt.Fprint(second, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
	queued(1)
	_ = second.Close()
	queued(0)
	_ = first.Close()
	wait(t, "its end", left)
}

// Requests that may be sent twice survive an instance that closes kept connections; none is sent
// twice that may not.
func TestKeptConnectionsThatTheInstanceCloses(t *testing.T) {
	var posts atomic.Int64
	b := start(t, nil)
	srv := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
		}
		fmt.Fprint(w, "ok")
	}
	in := backendServer(t, srv)
	b.publish(route("web.example.com", in.backend))
	for i := range 200 {
		method := []string{"GET", "POST"}[i%2]
		b.want(b.do(method, "http://web.example.com/", nil), 200, "ok")
		in.closeIdle() // and waits until the kernel has sent it
	}
	if n := posts.Load(); n != 100 {
		t.Errorf("%d requests arrived of 100 that must not be repeated", n)
	}
}

// chaos is an instance that does everything wrong, each time something else.
func chaos(t testing.TB, rnd *rand.Rand) string {
	var mu sync.Mutex
	return scripted(t, func(c net.Conn, r *bufio.Reader) {
		mu.Lock()
		kind, n := rnd.IntN(13), rnd.IntN(200)
		mu.Unlock()
		reset := func() { _ = c.(*net.TCPConn).SetLinger(0) }
		body := strings.Repeat("x", n)
		switch kind {
		case 0: // closes at once
		case 1:
			reset()
		case 2:
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-")
			reset()
		case 3:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n+10, body) // says more than it sends
		case 4:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\n\r\nevil", n, body)
		case 5:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", n+1, body+"x")
			reset()
		case 6:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nevil", n+1, body+"x")
		case 7:
			for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
				_, _ = c.Write([]byte{b})
			}
		case 8:
			_ = c.(*net.TCPConn).CloseWrite() // and reads on
			_, _ = io.Copy(io.Discard, r)
		case 9:
			fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		case 10:
			fmt.Fprint(c, "\x00\xff\x16garbage\r\n\r\n")
		case 11:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n\r\n%s", body)
		case 12:
			fmt.Fprint(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 50), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
}

func TestChaos(t *testing.T) {
	b := start(t, nil)
	b.publish(
		route("web.example.com", at("i1", chaos(t, rand.New(rand.NewPCG(1, 2))))),
		apron.Route{Hosts: []string{"good.example.com"}, Service: "good", Backends: []apron.Backend{backend(t, "good", says("good"))}},
	)
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(i)))
			for range 150 {
				c, err := net.Dial("tcp", b.addrs.HTTP)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(waitLimit))
				r := bufio.NewReader(c)
				for range 1 + rnd.IntN(4) { // on one connection, until it ends
					body := strings.Repeat("y", rnd.IntN(30_000))
					go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					got := b.read(r, "POST")
					if strings.Contains(got.Body, "evil") || strings.Contains(got.Body, "timeout") {
						t.Errorf("got %+v", got)
					}
					if got.Status == 0 || got.Header.Get("Connection") == "close" {
						break
					}
				}
				_ = c.Close()
				b.want(b.get("http://good.example.com/"), 200, "good")
			}
		})
	}
	users.Wait()
	// Nothing is left of it: every slot is given back, the last ones when the router has seen that their
	// users are gone.
	loads := make(chan router.Load, 1000)
	_, stop := b.connect(router.ClientConfig{OnLoad: func(l router.Load) { loads <- l }})
	defer func() { _ = stop() }()
	busy := map[apron.InstanceID]int{}
	for known := false; !known || len(busy) > 0; {
		l := wait(t, "no requests in flight", loads)
		known = known || l.Full
		for _, i := range l.Instances {
			if busy[i.Instance] = i.InFlight; i.InFlight == 0 {
				delete(busy, i.Instance)
			}
		}
	}
}

// idleServer is an instance whose idle connections can be closed.
type idleServer struct {
	backend apron.Backend
	conns   chan net.Conn
	srv     *http.Server
}

func backendServer(t testing.TB, h http.HandlerFunc) *idleServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &idleServer{backend: at("idle", ln.Addr().String()), conns: make(chan net.Conn, 10)}
	s.srv = &http.Server{Handler: h, ReadHeaderTimeout: waitLimit, ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			s.conns <- c
		}
	}}
	go func() { _ = s.srv.Serve(ln) }()
	t.Cleanup(func() { _ = s.srv.Close() })
	return s
}

func (s *idleServer) closeIdle() { _ = (<-s.conns).Close() }

// An instance may answer before it has read the body, and may not want the rest of it.
func TestAnswerBeforeTheBody(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		fmt.Fprint(w, "too large")
	})))
	const size = 8 << 20
	for i := range 20 {
		c := b.dial()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: %d\r\n\r\n", size)
			part := make([]byte, 64<<10)
			for range size / len(part) {
				if _, err := c.Write(part); err != nil {
					return
				}
			}
		}()
		got := b.read(bufio.NewReader(c), "POST")
		if got.Status != http.StatusRequestEntityTooLarge || got.Body != "too large" || got.Header.Get("Connection") != "close" {
			t.Errorf("upload %d: %+v", i, got)
		}
		wait(t, "the end of the upload", sent)
		_ = c.Close()
	}
}

// A tunnel may begin behind a request with a body, at the moment at which that has been sent.
func TestUpgradeWithBody(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", at("i1", scripted(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := io.ReadFull(r, make([]byte, 5)); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(c, r)
	}))))
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 1000 {
				c, err := net.Dial("tcp", b.addrs.HTTP)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(waitLimit))
				fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: web.example.com\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\n")
				time.Sleep(100 * time.Microsecond) //nolint:forbidigo // so that the body mostly does not come with the header
				fmt.Fprint(c, "hello")
				r := bufio.NewReader(c)
				if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols { //nolint:bodyclose // it has none
					t.Errorf("got %v %v", res, err)
				}
				fmt.Fprint(c, "ping")
				if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
					t.Errorf("the tunnel has ended: %v", err)
				}
				_ = c.Close()
			}
		})
	}
	users.Wait()
}
