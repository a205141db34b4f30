package router_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"golang.org/x/sys/unix"

	"apron/router"
)

// crowded starts a router in a process of its own that may have n files open, and whatever else it
// needs to answer.
func crowded(t *testing.T, n, later uint64) (*bench, slow) {
	b := newBench(t, nil)
	p := b.process("router", b.cfg.Dir, "127.0.0.1:0", "", fmt.Sprint(n))
	b.client, _ = b.connect(router.ClientConfig{})
	b.learnAddresses()
	s := newSlow(t)
	b.publish(route("web.example.com", s.Backend))
	if later != 0 {
		if err := unix.Prlimit(p.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: later, Max: later}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return b, s
}

// More users than the router may have files open get their answers: connections that are idle make
// room, whether the router has counted or the kernel says so.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	for name, limits := range map[string][2]uint64{"counted": {256, 0}, "refused by the kernel": {1 << 10, 128}} {
		t.Run(name, func(t *testing.T) {
			b, _ := crowded(t, limits[0], limits[1])
			for i := range 400 {
				c := b.dial() // and keep it
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
				if got := b.read(bufio.NewReader(c), "GET"); got.Status != 200 {
					t.Fatalf("user %d: got %+v", i, got)
				}
			}
		})
	}
}

// Users for whom there is no room wait until a request has ended, and none is refused.
func TestBusyConnectionsMakeOthersWait(t *testing.T) {
	b, s := crowded(t, 192, 0) // room for 128
	const users = 200
	conns := make([]net.Conn, users)
	for i := range conns {
		conns[i] = b.dial()
		fmt.Fprint(conns[i], "GET /slow HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
	}
	for range 40 { // each takes a connection to the instance as well
		wait(t, "a request", s.entered)
	}
	s.leave()
	for i, c := range conns {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("user %d: %v", i, err)
		}
		_ = res.Body.Close()
		_ = c.Close()
		if res.StatusCode != 200 {
			t.Errorf("user %d: %d", i, res.StatusCode)
		}
	}
}
