package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"apron"
)

// The world around the machine of these tests.
const (
	outsideAddr  = "203.0.113.9"     // a host on the internet
	metadataAddr = "169.254.169.254" // where clouds keep a machine's credentials
	machineAddr  = "203.0.113.1"
	worldPort    = "8080"
)

// onMachine runs do on a thread whose network is a machine of its own, connected to an outside world
// that has no route back to instances. Nothing of it reaches the real machine.
func onMachine(t *testing.T, do func(n *network)) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	world := newNamespace(t)
	done := make(chan struct{})
	go func() { // ends with its thread; t.Fatal must not be called on it
		defer close(done)
		runtime.LockOSThread()
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), plug(t, world)); err != nil {
			t.Error(err)
			return
		}
		dir := t.TempDir()
		n, err := openNetwork(context.Background(), dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() {
			for _, id := range []apron.InstanceID{instanceA, instanceB} {
				if err := n.disconnect(id); err != nil {
					t.Error(err)
				}
			}
			if err := removeNetwork(dir); err != nil {
				t.Error(err)
			}
		}()
		do(n)
	}()
	<-done
}

const (
	instanceA apron.InstanceID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	instanceB apron.InstanceID = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	var ns netns.NsHandle
	err := hold(idMap{}, func(pid int) (err error) { ns, err = netns.GetFromPid(pid); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// plug connects the calling thread's network with the world's.
func plug(t *testing.T, world netns.NsHandle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	link := netlink.NewVeth(attrs)
	link.PeerName, link.PeerNamespace = "machine", netlink.NsFd(int(world))
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	internet := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(outsideAddr)}
	if err := errors.Join(bringUp("lo"), bringUp("uplink", machineAddr+"/24"), netlink.RouteAdd(internet)); err != nil {
		return err
	}
	toMetadata := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParseAddr(metadataAddr), 32), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteAdd(toMetadata); err != nil {
		return err
	}
	return inside(world, func() error {
		if err := errors.Join(bringUp("lo"), bringUp("machine", outsideAddr+"/24", metadataAddr+"/32")); err != nil {
			return err
		}
		_, err := listen(t, ":"+worldPort)
		return err
	})
}

func bringUp(name string, addrs ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// listen answers every connection in the calling thread's network with the peer's address.
func listen(t *testing.T, addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, conn.RemoteAddr())
			conn.Close()
		}
	}()
	return l.Addr().String(), nil
}

// How long to wait for an answer that must come, and for one that must not.
const (
	patient   = 10 * time.Second
	impatient = 400 * time.Millisecond
)

// ask connects to addr and returns the answer.
func ask(addr string, patience time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// askFromA does the same from inside the network of instanceA.
func askFromA(n *network, addr string, patience time.Duration) (answer string, err error) {
	ns, err := netns.GetFromPath(netnsPath(n.dir, instanceA))
	if err != nil {
		return "", err
	}
	defer ns.Close()
	err = inside(ns, func() (err error) { answer, err = ask(addr, patience); return err })
	return answer, err
}

// join connects an instance, which answers on worldPort.
func join(t *testing.T, n *network, id apron.InstanceID) (netip.Addr, error) {
	addr, err := n.addrs.take()
	if err != nil {
		return netip.Addr{}, err
	}
	if err := n.connect(id, addr, idsOf(addr, "")); err != nil {
		return netip.Addr{}, err
	}
	ns, err := netns.GetFromPath(netnsPath(n.dir, id))
	if err != nil {
		return netip.Addr{}, err
	}
	defer ns.Close()
	return addr, inside(ns, func() error { _, err := listen(t, ":"+worldPort); return err })
}

func TestInstancesReachTheWorldAndNothingElse(t *testing.T) {
	onMachine(t, func(n *network) {
		a, errA := join(t, n, instanceA)
		b, errB := join(t, n, instanceB)
		onHost, errHost := listen(t, machineAddr+":0")
		onBridge, errBridge := listen(t, gateway(n.state.Subnet).String()+":0")
		onLoopback, errLoopback := listen(t, "127.0.0.1:0")
		if err := errors.Join(errA, errB, errHost, errBridge, errLoopback); err != nil {
			t.Error(err)
			return
		}
		if from, err := askFromA(n, outsideAddr+":"+worldPort, patient); err != nil || !strings.HasPrefix(from, machineAddr+":") {
			t.Errorf("the internet sees an instance as %q, %v, want the machine's address", from, err)
		}
		for what, addr := range map[string]string{
			"the machine": onHost, "the bridge": onBridge, "the machine's loopback": onLoopback,
			"another instance": b.String() + ":" + worldPort, "the cloud's metadata": metadataAddr + ":" + worldPort,
		} {
			if what != "the machine's loopback" { // which is its own
				if _, err := ask(addr, patient); err != nil {
					t.Errorf("the machine itself does not reach %s: %v", what, err)
				}
			}
			if got, err := askFromA(n, addr, impatient); err == nil {
				t.Errorf("an instance reaches %s and reads %q", what, got)
			}
		}
		_, port, err := net.SplitHostPort(onHost)
		open, numErr := strconv.ParseUint(port, 10, 16)
		if err := errors.Join(err, numErr, n.allow([]uint16{uint16(open)})); err != nil {
			t.Error(err)
		}
		if _, err := askFromA(n, onHost, patient); err != nil {
			t.Errorf("an instance does not reach a port of the machine that was opened: %v", err)
		}
		if _, err := askFromA(n, a.String()+":"+worldPort, patient); err != nil {
			t.Errorf("an instance does not reach itself: %v", err)
		}
	})
}

// TestForgedARPDrawsNothingAway lets a neighbour with all privileges, which no instance has, claim an
// address that is not its own.
func TestForgedARPDrawsNothingAway(t *testing.T) {
	onMachine(t, func(n *network) {
		_, errA := join(t, n, instanceA)
		b, errB := join(t, n, instanceB)
		if err := errors.Join(errA, errB); err != nil {
			t.Error(err)
			return
		}
		if _, err := ask(b.String()+":"+worldPort, patient); err != nil { // now the machine knows where it is
			t.Error(err)
		}
		ns, err := netns.GetFromPath(netnsPath(n.dir, instanceA))
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		thief := net.HardwareAddr{0x02, 0xbb, 1, 2, 3, 4}
		err = inside(ns, func() error {
			return errors.Join(sendARP(thief, b), sendARP(hardwareAddr(b), b), bringUp("eth0", b.String()+"/32"))
		})
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := ask(b.String()+":"+worldPort, patient); err != nil {
			t.Errorf("after forged ARP replies an instance is not reached: %v", err)
		}
		known, err := dump("neighbours", func() ([]netlink.Neigh, error) { return netlink.NeighList(n.bridge.Attrs().Index, netlink.FAMILY_V4) })
		if err != nil {
			t.Error(err)
		}
		for _, k := range known {
			if k.IP.Equal(net.IP(b.AsSlice())) && k.HardwareAddr.String() != hardwareAddr(b).String() {
				t.Errorf("the machine believes that %s is at %s", b, k.HardwareAddr)
			}
		}
	})
}

// sendARP broadcasts that addr is at mac (RFC 826), from the calling thread's eth0.
func sendARP(mac net.HardwareAddr, addr netip.Addr) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	everybody := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	frame := slices.Concat(everybody, mac, []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2}, mac, addr.AsSlice(), everybody, addr.AsSlice())
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6})
}

// TestWorksBesideOtherFirewalls plays Docker, whose forward chain drops what it does not know, and an
// operator who empties the ruleset.
func TestWorksBesideOtherFirewalls(t *testing.T) {
	onMachine(t, func(n *network) {
		if _, err := join(t, n, instanceA); err != nil {
			t.Error(err)
			return
		}
		world := outsideAddr + ":" + worldPort
		if err := playDocker(); err != nil {
			t.Error(err)
			return
		}
		if _, err := askFromA(n, world, impatient); err == nil {
			t.Error("nothing is tested: Docker's chain lets an instance's packets through")
		}
		if repaired, err := n.repair(); err != nil || !repaired {
			t.Errorf("repair reports %v, %v", repaired, err)
		}
		if _, err := askFromA(n, world, patient); err != nil {
			t.Errorf("beside Docker an instance does not reach the internet: %v", err)
		}
		if repaired, err := n.repair(); err != nil || repaired {
			t.Errorf("repair of what is whole reports %v, %v", repaired, err)
		}
		c, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		c.FlushRuleset()
		if err := errors.Join(c.Flush(), playDocker()); err != nil {
			t.Error(err)
			return
		}
		if repaired, err := n.repair(); err != nil || !repaired {
			t.Errorf("repair of an emptied ruleset reports %v, %v", repaired, err)
		}
		if from, err := askFromA(n, world, patient); err != nil || !strings.HasPrefix(from, machineAddr+":") {
			t.Errorf("after the repair the internet sees an instance as %q, %v", from, err)
		}
		if got, err := askFromA(n, metadataAddr+":"+worldPort, impatient); err == nil {
			t.Errorf("after the repair an instance reads the cloud's metadata: %q", got)
		}
		if err := removeNetwork(n.dir); err != nil {
			t.Error(err)
		}
		for _, left := range rulesLeft(t) {
			t.Errorf("left in the firewall: %s", left)
		}
	})
}

// playDocker makes the chain that iptables makes of Docker's "iptables -P FORWARD DROP".
func playDocker() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	drop := nftables.ChainPolicyDrop
	c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4}),
		Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	return c.Flush()
}

// rulesLeft lists Apron's tables and rules in the calling thread's network.
func rulesLeft(t *testing.T) []string {
	c, err := nftables.New()
	if err != nil {
		t.Error(err)
		return nil
	}
	chains, err := c.ListChains()
	if err != nil {
		t.Error(err)
	}
	var left []string
	for _, ch := range chains {
		if strings.HasPrefix(ch.Table.Name, bridgePrefix) {
			left = append(left, ch.Table.Name+" "+ch.Name)
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			t.Error(err)
		}
		for range rules {
			left = append(left, "a rule of "+ch.Table.Name+" "+ch.Name)
		}
	}
	return left
}
