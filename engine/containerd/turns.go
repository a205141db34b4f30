package containerd

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// shortTurn is how long a turn at a processor is, in nanoseconds, of those a request passes through. The
// kernel has none that are shorter.
const shortTurn = 100_000

// TakeShortTurns has the kernel give this process the processor in short turns: no more of it than before,
// but soon after it wakes, though others are busy (sched_setattr(2), sched_runtime of SCHED_OTHER; a kernel
// before Linux 6.12 takes it and does nothing). Each thread is told, and those they make have it from them.
// Instances have it too, from their driver.
func TakeShortTurns() error {
	told := map[string]bool{}
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		fresh := false
		for _, t := range threads {
			if told[t.Name()] {
				continue
			}
			fresh, told[t.Name()] = true, true
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return fmt.Errorf("list threads: %w", err)
			}
			if err := shorten(id); err != nil {
				return err
			}
		}
		if !fresh { // nor did one that had not been told make another meanwhile
			return nil
		}
	}
}

// shorten has a thread take short turns, and all that come of it: a program it becomes, threads and
// processes it makes. It leaves alone what has ended and what asked for other turns than the usual.
func shorten(thread int) error {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err == nil && attr.Policy == unix.SCHED_NORMAL {
		attr.Runtime = shortTurn
		err = unix.SchedSetAttr(thread, attr, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("shorten turns at the processor: %w", err)
	}
	return nil
}
