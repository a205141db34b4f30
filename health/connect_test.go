package health_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"apron"
	"apron/health"
)

// busyListener is a socket with no room for another connection that waits to be accepted.
type busyListener struct {
	addr  netip.AddrPort
	fd    int
	conns []net.Conn
}

func newBusyListener(t *testing.T) *busyListener {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &busyListener{fd: fd}
	t.Cleanup(func() {
		for _, c := range l.conns {
			c.Close()
		}
		_ = unix.Close(fd)
	})
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	l.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(self.(*unix.SockaddrInet4).Port))
	for { // until one of them is left waiting
		conn, err := net.DialTimeout("tcp", l.addr.String(), 100*time.Millisecond)
		if err != nil {
			return l
		}
		l.conns = append(l.conns, conn)
	}
}

// accept takes a connection, which makes room for another.
func (l *busyListener) accept(t *testing.T) {
	t.Helper()
	fd, _, err := unix.Accept(l.fd)
	if err != nil {
		t.Error(err)
		return
	}
	_ = unix.Close(fd)
}

func TestCheckTCPWaits(t *testing.T) {
	l := newBusyListener(t)
	check := apron.HealthCheck{Timeout: 200 * time.Millisecond}
	start := time.Now()
	got := health.Check(t.Context(), check, l.addr)
	if got.OK || !strings.Contains(got.Answer, "no answer within 200ms") {
		t.Errorf("nobody accepts: %+v", got)
	}
	if took := time.Since(start); took < check.Timeout {
		t.Errorf("gave up after %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(50*time.Millisecond, cancel)
	defer stop.Stop()
	check.Timeout = time.Minute
	if got := health.Check(ctx, check, l.addr); got.OK || !strings.Contains(got.Answer, "cancelled") {
		t.Errorf("cancelled meanwhile: %+v", got)
	}
	room := time.AfterFunc(50*time.Millisecond, func() { l.accept(t) })
	defer room.Stop()
	if got := health.Check(t.Context(), check, l.addr); !got.OK { // the kernel asks again after a second
		t.Errorf("accepted late: %+v", got)
	}
}

func TestCheckTCPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	if got := health.Check(t.Context(), apron.DefaultHealthCheck(), addr); !got.OK {
		t.Errorf("listening: %+v", got)
	}
	l.Close()
	if got := health.Check(t.Context(), apron.DefaultHealthCheck(), addr); got.OK || !strings.Contains(got.Answer, "connection refused") {
		t.Errorf("closed: %+v", got)
	}
}

func BenchmarkCheck(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(srv.Close)
	addr := netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "http://"))
	for _, protocol := range []apron.HealthCheckProtocol{apron.HealthCheckTCP, apron.HealthCheckHTTP} {
		b.Run(string(protocol), func(b *testing.B) {
			check := apron.DefaultHealthCheck()
			check.Protocol = protocol
			b.ReportAllocs()
			for b.Loop() {
				if got := health.Check(b.Context(), check, addr); !got.OK {
					b.Fatalf("%+v", got)
				}
			}
		})
	}
}
