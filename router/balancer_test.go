package router

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// An instance that fails is passed over at once; one request in each period finds out whether it is
// back, and its first answer brings it back.
func TestEjectionAndProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := newTestRoutes(2, 0, 0).web().set.Load()
		bad := &set.backends[0]
		chosen := func(n int) (hits int) {
			for range n {
				b := set.take(nil)
				if b == bad {
					hits++
				}
				b.give()
			}
			return hits
		}
		if n := chosen(1000); n < 300 || n > 700 {
			t.Errorf("of two good ones it was chosen %d times of 1000", n)
		}
		bad.connectFailed(time.Now())
		if n := chosen(1000); n != 0 {
			t.Errorf("ejected, it was chosen %d times", n)
		}
		for range 3 {
			time.Sleep(penalty)
			if n := chosen(1000); n != 1 {
				t.Errorf("after the penalty it was chosen %d times, want one probe", n)
			}
		}
		bad.answered()
		if n := chosen(1000); n < 300 {
			t.Errorf("back again it was chosen %d times", n)
		}
		for i := range ejectAfter {
			if n := chosen(100); n == 0 {
				t.Errorf("after %d lost requests it was ejected", i)
			}
			bad.failed(time.Now())
		}
		if n := chosen(1000); n != 0 {
			t.Errorf("after %d lost requests it was chosen %d times", ejectAfter, n)
		}
		set.backends[1].connectFailed(time.Now())
		if n := chosen(1000); n == 0 {
			t.Error("when all have failed none is used")
		}
	})
}

func TestConnectionsPerUser(t *testing.T) {
	u := userConns{most: 2}
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1", true},
		{"::ffff:192.0.2.1", true},
		{"192.0.2.1", false},
		{"192.0.2.2", true},
		{"2001:db8::1", true},
		{"2001:db8::2", true},
		{"2001:db8::3", false},
		{"2001:db8:0:1::1", true},
		{"127.0.0.1", true},
		{"127.0.0.1", true},
		{"127.0.0.1", true},
		{"::1", true},
	} {
		if got := u.enter(addr(tt.from)); got != tt.want {
			t.Errorf("%s: %v", tt.from, got)
		}
	}
	u.leave(&net.TCPAddr{IP: net.ParseIP("192.0.2.1")})
	if !u.enter(addr("192.0.2.1")) {
		t.Error("a place that is free again is not")
	}
	for range 2 {
		u.leave(&net.TCPAddr{IP: net.ParseIP("2001:db8::1")})
	}
	if n := len(u.open); n != 3 {
		t.Errorf("%d users are remembered, want 3", n)
	}
}
