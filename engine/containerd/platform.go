package containerd

import "os"

// How the processor is shared out when there is not enough of it: the platform answers whatever
// applications do. The engine, which has work of its own to do for builds, is as much as all of them: the
// scheduler gives a group that has had more than its part no turn before the others have caught up, so
// beside an engine of eight times their weight, applications would wait for its work at most requests.
//
// The tree has four times what other groups of the machine have: the group of builds, though idle
// (buildShare), has 3, and the kernel gives it its part in turns as long as a tick of its clock, for which a
// request waits at times. So it waits a quarter as often.
const (
	treeShares     = 4096
	platformShares = 8192
	engineShares   = 1024
	servicesShares = 1024
)

// JoinPlatform moves this process, and what it starts from now on, into the control group of the
// platform's own processes, which no application can starve. Where it cannot the error says why, and
// nothing is changed.
func JoinPlatform(dir string) error { return joinGroup(dir, "platform", platformShares) }

// JoinEngine is JoinPlatform for the engine, whose shims come along.
func JoinEngine(dir string) error { return joinGroup(dir, "engine", engineShares) }

func joinGroup(dir, name string, shares uint64) error {
	cg, err := detectCgroups()
	if err != nil {
		return err
	}
	tree := treeOf(dir)
	if err := cg.make(tree, treeShares); err != nil {
		return err
	}
	group := tree + "/" + name
	if err := cg.make(group, shares); err != nil {
		return err
	}
	return cg.join(group, os.Getpid())
}
