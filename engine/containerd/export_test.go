package containerd

import "github.com/vishvananda/netlink"

// Links lists the network links of this machine, which other tests change meanwhile.
func Links() ([]netlink.Link, error) { return dump("network links", netlink.LinkList) }

// InReserve returns how many instances the driver would start rather than make a new one.
func (d *Driver) InReserve() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.revisions {
		for _, i := range r.reserved {
			if i.reserve.ready.Load() && !i.stopping() {
				n++
			}
		}
	}
	return n
}

// OccupySlots keeps instances from being made until release is called.
func (d *Driver) OccupySlots() (release func()) {
	d.mu.Lock()
	slots := d.session.slots
	d.mu.Unlock()
	for range cap(slots) {
		slots <- struct{}{}
	}
	return func() {
		for range cap(slots) {
			<-slots
		}
	}
}
