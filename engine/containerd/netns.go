package containerd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"apron"
)

// errNoDevice is what the kernel says of a link that vanished between being found and being used.
const errNoDevice = unix.ENODEV

func netnsPath(dir string, id apron.InstanceID) string {
	return filepath.Join(dir, "run", "netns", string(id))
}

// linkName names the host's end of an instance's link; interface names have at most 15 characters.
func linkName(id apron.InstanceID) string { return "apr" + string(id[:min(12, len(id))]) }

// connect makes an instance's network namespace, with one link to the bridge and the address, and
// keeps it under a name. What a crash left under that name is replaced.
func (n *network) connect(id apron.InstanceID, addr netip.Addr) error {
	if err := n.disconnect(id); err != nil {
		return err
	}
	ns, err := makeNetns(netnsPath(n.dir, id))
	if err != nil {
		return fmt.Errorf("make network namespace of instance %s: %w", id, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.MTU = linkName(id), n.bridge.Attrs().Index, n.bridge.Attrs().MTU
	link := netlink.NewVeth(attrs)
	link.PeerName, link.PeerHardwareAddr, link.PeerNamespace = "eth0", hardwareAddr(addr), netlink.NsFd(int(ns))
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("make link of instance %s: %w", id, err)
	}
	// Isolated ports of a bridge talk to the bridge only, never to each other.
	if err := netlink.LinkSetIsolated(link, true); err != nil {
		return fmt.Errorf("isolate link of instance %s: %w", id, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up link of instance %s: %w", id, err)
	}
	if err := configureInside(ns, addr, n.state.Subnet); err != nil {
		return fmt.Errorf("configure network of instance %s: %w", id, err)
	}
	return nil
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

// disconnect removes an instance's link and namespace, as far as they exist.
func (n *network) disconnect(id apron.InstanceID) error {
	link, err := netlink.LinkByName(linkName(id))
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err := gone(err); err != nil {
		return fmt.Errorf("remove link of instance %s: %w", id, err)
	}
	return removeNetns(netnsPath(n.dir, id))
}

// makeNetns makes a network namespace without IPv6, its loopback down, and binds it to path.
func makeNetns(path string) (netns.NsHandle, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return netns.None(), err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return netns.None(), err
	}
	_ = f.Close() // nothing was written: it is there to be mounted on
	type result struct {
		ns  netns.NsHandle
		err error
	}
	made := make(chan result, 1)
	go func() {
		// The thread is never unlocked, so the runtime ends it with this goroutine instead of giving
		// a thread in a foreign namespace to others.
		runtime.LockOSThread()
		ns, err := unshareTo(path)
		made <- result{ns, err}
	}()
	r := <-made
	if r.err != nil {
		_ = os.Remove(path) // the error that matters is the first one
	}
	return r.ns, r.err
}

// unshareTo moves the calling thread into a new network namespace bound to path.
func unshareTo(path string) (netns.NsHandle, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return netns.None(), fmt.Errorf("unshare: %w", err)
	}
	for _, conf := range []string{"all", "default"} {
		// Absent when the kernel has no IPv6, which is what is wanted.
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/disable_ipv6", []byte("1"), 0o600)
	}
	source := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		return netns.None(), fmt.Errorf("bind namespace to %s: %w", path, err)
	}
	return netns.GetFromPath(source)
}

// removeNetns lets go of a named namespace; its processes, if any, keep it until they end.
func removeNetns(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no longer a mount point
		}
		if err != nil {
			return fmt.Errorf("unmount network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", path, err)
	}
	return nil
}

// connected reports whether an instance's namespace and link are there.
func (n *network) connected(id apron.InstanceID) bool {
	if _, err := netlink.LinkByName(linkName(id)); err != nil {
		return false
	}
	var st unix.Statfs_t
	return unix.Statfs(netnsPath(n.dir, id), &st) == nil && st.Type == unix.NSFS_MAGIC
}
