package containerd

import (
	"sync"

	"apron"
)

// serviceGroups counts the instances of each service, so that a service's control group goes with the
// last of them and not while another one's is being made in it: the runtime makes both, and has no
// lock. The zero value is ready to use. It may be used by several goroutines.
type serviceGroups struct {
	mu      sync.Mutex
	members map[apron.ServiceID]int
}

// enter counts one more instance; nothing of it may be in the group before.
func (g *serviceGroups) enter(service apron.ServiceID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members == nil {
		g.members = map[apron.ServiceID]int{}
	}
	g.members[service]++
}

// leave counts one less, and calls remove when it was the last one. Nobody enters until it returns.
func (g *serviceGroups) leave(service apron.ServiceID, remove func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members[service]--; g.members[service] > 0 {
		return
	}
	delete(g.members, service)
	remove()
}
