package router

import (
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
