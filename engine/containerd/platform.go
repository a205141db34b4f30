package containerd

import "os"

// How the processor is shared out when there is not enough of it: the platform answers whatever
// applications do. The tree has four times what other groups of the machine have: the group of builds,
// though idle (buildShare), has 3, and the kernel gives it its part in turns as long as a tick of its
// clock, for which a request waits at times. So it waits a quarter as often.
const (
	treeShares     = 4096
	platformShares = 8192
	servicesShares = 1024
)

// JoinPlatform moves this process, and what it starts from now on, into the control group of the
// platform's own processes, which no application can starve. Where it cannot the error says why, and
// nothing is changed.
func JoinPlatform(dir string) error {
	cg, err := detectCgroups()
	if err != nil {
		return err
	}
	group := treeOf(dir) + "/platform"
	for group, shares := range map[string]uint64{treeOf(dir): treeShares, group: platformShares} {
		if err := cg.make(group, shares); err != nil {
			return err
		}
	}
	return cg.join(group, os.Getpid())
}
