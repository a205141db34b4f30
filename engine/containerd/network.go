package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forwardingSwitch turns IPv4 forwarding on for the whole host.
const forwardingSwitch = "/proc/sys/net/ipv4/ip_forward"

// network is a data directory's own: one bridge, one subnet, one firewall table, and a network
// namespace with one address per instance.
type network struct {
	dir    string
	state  netState
	bridge netlink.Link
	addrs  *addresses
}

// openNetwork finds or makes the network of a data directory. Doing it again repairs what is missing
// and leaves running instances connected.
func openNetwork(ctx context.Context, dir string) (*network, error) {
	unlock, err := lockNetworks()
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, err := chooseNetwork(dir)
	if err != nil {
		return nil, err
	}
	on, err := os.ReadFile(forwardingSwitch)
	if err != nil {
		return nil, fmt.Errorf("read IP forwarding: %w", err)
	}
	off := strings.TrimSpace(string(on)) == "0"
	state.Forwarding = state.Forwarding || off
	if err := state.save(dir); err != nil { // before anything is made, so that Teardown knows of it
		return nil, err
	}
	bridge, err := ensureBridge(state)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := installFirewall(state); err != nil {
		return nil, err
	}
	if _, err := passForeign(state.Bridge); err != nil {
		return nil, err
	}
	if off { // after the firewall, so that nothing is forwarded without it
		if err := os.WriteFile(forwardingSwitch, []byte("1\n"), 0o600); err != nil {
			return nil, fmt.Errorf("turn on IP forwarding: %w", err)
		}
	}
	addrs := newAddresses(state.Subnet)
	addrs.reserve(buildSubnet(state.Subnet))
	return &network{dir: dir, state: state, bridge: bridge, addrs: addrs}, nil
}

// allow lets instances connect to TCP ports of the host, in place of those that were allowed before.
func (n *network) allow(ports []uint16) error {
	if slices.Equal(n.state.Open, ports) {
		return nil
	}
	n.state.Open = ports
	if err := n.state.save(n.dir); err != nil {
		return err
	}
	return installFirewall(n.state)
}

// repair puts back what others on the machine took away: a firewall that is reloaded or emptied, IP
// forwarding that was turned off. It reports whether it had to.
func (n *network) repair() (repaired bool, err error) {
	stands, err := firewallStands(n.state.Bridge)
	if err != nil {
		return false, err
	}
	if !stands {
		if err := installFirewall(n.state); err != nil {
			return false, err
		}
	}
	passed, err := passForeign(n.state.Bridge)
	if err != nil {
		return !stands, err
	}
	on, err := os.ReadFile(forwardingSwitch)
	if err != nil {
		return !stands || passed, fmt.Errorf("read IP forwarding: %w", err)
	}
	if off := strings.TrimSpace(string(on)) == "0"; off {
		if err := os.WriteFile(forwardingSwitch, []byte("1\n"), 0o600); err != nil {
			return true, fmt.Errorf("turn on IP forwarding: %w", err)
		}
		return true, nil
	}
	return !stands || passed, nil
}

// lockNetworks keeps two data directories from choosing the same subnet at the same time. The lock is
// on a directory every machine has, so that nothing has to be left behind for it.
func lockNetworks() (unlock func(), err error) {
	f, err := os.Open("/run")
	if err != nil {
		return nil, fmt.Errorf("lock networks: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock networks: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// chooseNetwork returns the network the directory had before, unless its subnet has been taken
// meanwhile, or a new one.
func chooseNetwork(dir string) (netState, error) {
	state, err := loadNetState(dir)
	if err != nil {
		return netState{}, err
	}
	name := bridgeName(dir)
	used, err := usedPrefixes(name)
	if err != nil {
		return netState{}, err
	}
	if state.Subnet.IsValid() && !overlapsAny(state.Subnet, used) {
		return state, nil
	}
	state.Bridge = name // and Forwarding as it was
	state.Subnet, err = freeSubnet(used)
	return state, err
}

// ensureBridge makes the bridge with the subnet's first address. Its hardware address is fixed:
// otherwise it would change with the first instance, and with it every neighbour's memory of it.
func ensureBridge(s netState) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.Bridge
	g := gateway(s.Subnet).As4()
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0xa9, g[0], g[1], g[2], g[3]}
	err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make bridge %s: %w", s.Bridge, err)
	}
	link, err := netlink.LinkByName(s.Bridge)
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", s.Bridge, err)
	}
	// Instances speak IPv4 only; without this they could reach the host by its link-local address.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+s.Bridge+"/disable_ipv6", []byte("1"), 0o600) // absent: no IPv6 at all
	addr := &netlink.Addr{IPNet: ipNet(gateway(s.Subnet), s.Subnet.Bits())}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return nil, fmt.Errorf("give bridge %s its address: %w", s.Bridge, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring up bridge %s: %w", s.Bridge, err)
	}
	return link, nil
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: net.IP(a.AsSlice()), Mask: net.CIDRMask(bits, 32)}
}

// removeNetwork takes down everything of a data directory's network, instances' links included.
func removeNetwork(dir string) error {
	state, err := loadNetState(dir)
	if err != nil {
		return err
	}
	name := bridgeName(dir)
	var errs []error
	links, err := dump("network links", netlink.LinkList)
	if err != nil {
		return err
	}
	master, others := 0, false
	for _, l := range links {
		if l.Attrs().Name == name {
			master = l.Attrs().Index
		} else if l.Type() == "bridge" && strings.HasPrefix(l.Attrs().Name, bridgePrefix) {
			others = true
		}
	}
	for _, l := range links {
		if master != 0 && (l.Attrs().Index == master || l.Attrs().MasterIndex == master) {
			errs = append(errs, gone(netlink.LinkDel(l)))
		}
	}
	errs = append(errs, leaveForeign(name), removeFirewall(name))
	if state.Forwarding && !others {
		errs = append(errs, os.WriteFile(forwardingSwitch, []byte("0\n"), 0o600))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove network %s: %w", name, err)
	}
	if !state.Subnet.IsValid() {
		return nil
	}
	state.Forwarding = state.Forwarding && others
	return state.save(dir) // the next start on the directory prefers the same subnet
}

// gone returns err unless it says that there was nothing to remove.
func gone(err error) error {
	var missing netlink.LinkNotFoundError
	if errors.Is(err, os.ErrNotExist) || errors.As(err, &missing) || errors.Is(err, errNoDevice) {
		return nil
	}
	return err
}

// hardwareAddr derives an interface's hardware address from its IP address, locally administered.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return bytes.Join([][]byte{{0x02, 0xaa}, b[:]}, nil)
}
