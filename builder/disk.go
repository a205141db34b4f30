package builder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"apron"
)

// reserveBytes is what builds leave free on the disk for everything else that has to go on.
const reserveBytes = 1 << 30

// Turns of builds: any number can be under way together, or one alone.
const (
	together int64 = 1
	alone    int64 = 1 << 30
)

// errFilled is why a build ended that was under way when the disk was filled.
var errFilled = errors.New("the disk was filled")

// company is which builds are under way. Its zero value is none.
type company struct {
	mu      sync.Mutex // guards the fields below
	present int
	arrived int // so far
}

// join adds a build. others reports whether another was there at any time since.
func (c *company) join() (others func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.present++
	c.arrived++
	had, n := c.present > 1, c.arrived
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return had || c.arrived > n
	}
}

// leave takes a build away.
func (c *company) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.present--
}

// watchDisk ends a build that fills the disk: one that has written more than it may, or any when
// little is left. What others write meanwhile counts too, which errs on the side of the machine; whose
// doing it was shows when the builds that were under way are run again one by one.
func (b *Builder) watchDisk(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	before, err := freeBytes(b.cfg.Dir)
	if err != nil {
		return watched, func() { cancel(nil) }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			now, err := freeBytes(b.cfg.Dir)
			if err != nil {
				continue
			}
			if before-now > b.cfg.MaxDiskBytes || now < reserveBytes && now < before {
				cancel(&apron.Fault{Kind: apron.Invalid, Err: errFilled, Msg: fmt.Sprintf(
					"%s Reason: The build filled the disk: it may write %d MiB, and has to leave %d MiB free.",
					failed, b.cfg.MaxDiskBytes>>20, reserveBytes>>20)})
				return
			}
		}
	}()
	return watched, func() { cancel(nil); <-done }
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}
