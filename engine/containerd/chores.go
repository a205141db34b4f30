package containerd

import (
	"context"
	"time"
)

// choreInterval is how often the driver looks after what no event tells it about.
const choreInterval = 5 * time.Second

// chores keeps logs within their bounds, and the network in place until ctx is done.
func (d *Driver) chores(ctx context.Context) {
	tick := time.NewTicker(choreInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.boundRawLogs()
		d.mendNetwork()
	}
}

func (d *Driver) mendNetwork() {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	repaired, err := s.net.repair()
	if err != nil {
		d.cfg.Log.Error("the network of instances could not be repaired", "err", err)
	}
	if repaired {
		d.cfg.Log.Warn("the network of instances has been repaired: something else changed the firewall")
	}
}
