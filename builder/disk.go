package builder

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"apron"
)

// reserveBytes is what builds leave free on the disk for everything else that has to go on.
const reserveBytes = 1 << 30

// watchDisk ends a build that fills the disk: one that has written more than it may, or any when
// little is left. What others write meanwhile counts too, which errs on the side of the machine.
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
				cancel(apron.Faultf(apron.Invalid, "%s Reason: The build filled the disk: it may write %d MiB, and has to leave %d MiB free.",
					failed, b.cfg.MaxDiskBytes>>20, reserveBytes>>20))
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
