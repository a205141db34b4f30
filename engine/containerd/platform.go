package containerd

import "os"

// How the processor is shared out when there is not enough of it: the platform answers whatever
// applications do.
const (
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
	if err := cg.make(group, platformShares); err != nil {
		return err
	}
	return cg.join(group, os.Getpid())
}
