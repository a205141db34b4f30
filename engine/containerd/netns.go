package containerd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"apron"
)

// errNoDevice is what the kernel says of a link that vanished between being found and being used.
const errNoDevice = unix.ENODEV

// linkName names the host's end of an instance's link; interface names have at most 15 characters.
func linkName(id apron.InstanceID) string { return linkPrefix + string(id[:min(12, len(id))]) }

const linkPrefix = "apr"

// connect makes an instance's namespaces, with one link to the bridge and the address, and keeps them
// under names. What a crash left under those names is replaced.
func (n *network) connect(id apron.InstanceID, addr netip.Addr, ids idMap) error {
	if err := n.disconnect(id); err != nil {
		return err
	}
	if err := n.join(namespacesOf(n.dir, id, ids), linkName(id), addr, true); err != nil {
		return fmt.Errorf("connect instance %s: %w", id, err)
	}
	return nil
}

// join makes namespaces with one link of that name to the bridge, which it brings up if asked to.
func (n *network) join(made namespaces, name string, addr netip.Addr, up bool) error {
	ns, err := made.make()
	if err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.MTU = name, n.bridge.Attrs().Index, n.bridge.Attrs().MTU
	link := netlink.NewVeth(attrs)
	link.PeerName, link.PeerHardwareAddr, link.PeerNamespace = "eth0", hardwareAddr(addr), netlink.NsFd(int(ns))
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	// Isolated ports of a bridge talk to the bridge only, never to each other.
	if err := netlink.LinkSetIsolated(link, true); err != nil {
		return fmt.Errorf("isolate link: %w", err)
	}
	if err := n.pin(link, addr); err != nil {
		return fmt.Errorf("pin address: %w", err)
	}
	if err := configureInside(ns, addr, n.state.Subnet); err != nil {
		return fmt.Errorf("configure network: %w", err)
	}
	if up { // last: see connected
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring up link: %w", err)
		}
	}
	return nil
}

// pin tells the host once and for all which address is behind which link, and not to believe anybody
// who says otherwise: what was meant for a neighbour cannot be drawn away with forged ARP replies or
// frames, should an instance ever find a way to send them.
func (n *network) pin(link netlink.Link, addr netip.Addr) error {
	at, err := netlink.LinkByName(link.Attrs().Name)
	if err != nil {
		return fmt.Errorf("find link: %w", err)
	}
	mac := hardwareAddr(addr)
	return errors.Join(
		netlink.LinkSetLearning(link, false),
		netlink.NeighSet(&netlink.Neigh{ // the bridge's table of which port has which hardware address
			LinkIndex: at.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: mac,
		}),
		netlink.NeighSet(n.neighbour(addr)),
	)
}

// neighbour is the host's memory of an instance's hardware address.
func (n *network) neighbour(addr netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: n.bridge.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: net.IP(addr.AsSlice()), HardwareAddr: hardwareAddr(addr),
	}
}

// release gives back the address of an instance that is gone.
func (n *network) release(addr netip.Addr) {
	_ = netlink.NeighDel(n.neighbour(addr)) // the next one at the address has the same hardware address
	n.addrs.release(addr)
}

// configureInside gives the namespace its loopback, address and route.
func configureInside(ns netns.NsHandle, addr netip.Addr, subnet netip.Prefix) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	eth, err := h.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := errors.Join(h.LinkSetUp(lo), h.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(addr, subnet.Bits())}), h.LinkSetUp(eth)); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: net.IP(gateway(subnet).AsSlice())})
}

// disconnect removes an instance's link and namespaces, as far as they exist.
func (n *network) disconnect(id apron.InstanceID) error {
	link, err := netlink.LinkByName(linkName(id))
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err := gone(err); err != nil {
		return fmt.Errorf("remove link of instance %s: %w", id, err)
	}
	return errors.Join(removeNetns(netnsPath(n.dir, id)), removeNetns(usernsPath(n.dir, id)))
}

// connected reports whether an instance's namespaces and link are there, and nothing of them is half made: a
// driver that is killed over making them has not brought up the link.
func (n *network) connected(id apron.InstanceID, ids idMap) bool {
	link, err := netlink.LinkByName(linkName(id))
	if err != nil || link.Attrs().Flags&net.FlagUp == 0 {
		return false
	}
	return bound(netnsPath(n.dir, id)) && (!ids.mapped() || bound(usernsPath(n.dir, id)))
}
