package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Check is one thing that was looked at on this machine, for people.
type Check struct {
	Name     string
	Found    string // what is there
	Err      error  // what is wrong; nil: nothing
	Advice   string // what to do about Err
	Required bool   // without it instances cannot run; otherwise they run less well
}

// CanRun returns why instances cannot run on this machine with the data directory; nil: they can.
func CanRun(dir string) error {
	for _, c := range required(dir) {
		if c.Err != nil {
			return fmt.Errorf("%s: %w", c.Name, c.Err)
		}
	}
	return nil
}

// Examine looks at everything instances need on this machine. It changes nothing that outlives it.
func Examine(ctx context.Context, dir string) []Check {
	return append(required(dir), optional(ctx, dir)...)
}

func required(dir string) []Check {
	all := []Check{checkPrivileges()}
	if all[0].Err == nil { // everything else would fail for the same reason
		all = append(all, checkKernel(), checkGroups(), checkNamespaces(), checkNetwork(), checkMounts())
	}
	all = append(all, checkPrograms(dir), checkDir(dir))
	for i := range all {
		all[i].Required = true
	}
	return all
}

func checkPrivileges() Check {
	c := Check{Name: "privileges", Found: "root", Advice: "run Apron as root; in a container, as a privileged one"}
	if os.Geteuid() != 0 {
		c.Err = fmt.Errorf("instances need root, and this is user %d", os.Geteuid())
		return c
	}
	var missing []string
	for name, bit := range map[string]uint{
		"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_CHROOT": unix.CAP_SYS_CHROOT,
		"CAP_SETUID": unix.CAP_SETUID, "CAP_SETGID": unix.CAP_SETGID, "CAP_CHOWN": unix.CAP_CHOWN, "CAP_KILL": unix.CAP_KILL,
	} {
		if !hasCapability(bit) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		c.Err = fmt.Errorf("root lacks %s here", strings.Join(missing, ", "))
	}
	return c
}

func hasCapability(bit uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[bit/32].Effective&(1<<(bit%32)) != 0
}

func checkKernel() Check {
	c := Check{Name: "kernel", Advice: "use Linux 5.10 or newer, built with seccomp filters"}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		c.Err = err
		return c
	}
	c.Found = "Linux " + unix.ByteSliceToString(u.Release[:])
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		c.Err = errors.New("the kernel has no seccomp filters")
	}
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		c.Err = fmt.Errorf("the kernel has no pidfd: %w", err)
		return c
	}
	_ = unix.Close(fd)
	return c
}

func checkGroups() Check {
	c := Check{
		Name: "control groups", Found: "version 1",
		Advice: "mount control groups writably at " + cgroupRoot + " with the controllers cpu, memory and pids",
	}
	cg, err := detectCgroups()
	if err != nil {
		c.Err = err
		return c
	}
	if _, ok := cg.(cgroupV2); ok {
		c.Found = "version 2"
		controllers, err := os.ReadFile(cgroupRoot + "/cgroup.controllers")
		if err != nil {
			c.Err = err
			return c
		}
		for _, want := range []string{"cpu", "memory", "pids"} {
			if !slices.Contains(strings.Fields(string(controllers)), want) {
				c.Err = fmt.Errorf("the controller %s is not there", want)
			}
		}
	}
	probe := fmt.Sprintf("/apron-probe-%d", os.Getpid())
	if err := errors.Join(cg.make(probe, servicesShares), cg.remove(probe)); err != nil {
		c.Err = err
	}
	return c
}

func checkNamespaces() Check {
	return Check{
		Name: "namespaces", Found: "can be made", Err: hold(idMap{}, func(int) error { return nil }),
		Advice: "allow network namespaces; in a container, run it privileged and without its seccomp profile",
	}
}

// checkNetwork tries bridge, links and firewall in a network of its own.
func checkNetwork() Check {
	c := Check{
		Name: "network", Found: "bridge, links and nftables work",
		Advice: "load the kernel's modules: modprobe -a bridge veth nf_tables nft_masq nft_ct",
	}
	var ns netns.NsHandle
	err := hold(idMap{}, func(pid int) (err error) { ns, err = netns.GetFromPid(pid); return err })
	if err != nil {
		c.Err = err
		return c
	}
	defer ns.Close()
	if on, err := os.ReadFile(forwardingSwitch); err != nil || strings.TrimSpace(string(on)) == "0" {
		if err := errors.Join(err, unix.Access(forwardingSwitch, unix.W_OK)); err != nil {
			c.Err = fmt.Errorf("the machine does not forward packets, and cannot be made to: %w", err)
			c.Advice = "set the sysctl net.ipv4.ip_forward to 1"
			return c
		}
	}
	c.Err = inside(ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "probe"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("make bridge: %w", err)
		}
		attrs.Name = "link"
		link := netlink.NewVeth(attrs)
		link.PeerName = "peer"
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make link: %w", err)
		}
		return installFirewall(netState{Bridge: "probe", Subnet: pool()})
	})
	return c
}

func checkMounts() Check {
	c := Check{Name: "mounts", Found: "work", Advice: "allow mounts; in a container, run it privileged"}
	dir, err := os.MkdirTemp("", "apron-probe")
	if err != nil {
		c.Err = err
		return c
	}
	defer os.RemoveAll(dir)
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		c.Err = fmt.Errorf("mount a file system: %w", err)
		return c
	}
	c.Err = unix.Unmount(dir, unix.MNT_DETACH)
	return c
}

func checkPrograms(dir string) Check {
	c := Check{Name: "programs", Advice: "build Apron with make, which puts them into the binary, or install containerd and runc"}
	var shim, runc string
	if shim, runc, c.Err = programs(dir); c.Err == nil {
		c.Found = shim + " and " + runc
	}
	return c
}

// programs says where the shim and runc come from, and extracts nothing.
func programs(dir string) (shim, runc string, err error) {
	if embedded() {
		return "the shim", "runc in this binary", nil
	}
	return Binaries(dir)
}

// checkDir looks whether the data directory can be used, or made.
func checkDir(dir string) Check {
	c := Check{Name: "data directory", Found: dir, Advice: "choose one with a shorter path (--data)"}
	if c.Err = checkSocket(SocketPath(dir)); c.Err != nil {
		return c
	}
	c.Advice = "choose one that this user may write to (--data), on a file system that is mounted writably"
	at := existing(dir)
	if err := unix.Faccessat(unix.AT_FDCWD, at+"/.", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		c.Err = fmt.Errorf("nothing can be made in %s: %w", at, err)
	}
	return c
}

// existing returns the directory, or the nearest one above it that exists: it would be made there.
func existing(dir string) string {
	for _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && dir != "/"; _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// optional are the checks of what instances can do without.
func optional(ctx context.Context, dir string) []Check {
	var all []Check
	if os.Geteuid() == 0 {
		if checkDir(dir).Err == nil { // or it would fail for the same reason
			all = append(all, checkOverlay(dir))
		}
		all = append(all, Check{
			Name: "user namespaces", Found: "every instance gets users of its own", Err: probeUserNamespaces(),
			Advice: "set the sysctl user.max_user_namespaces to 10000 or more; Linux 5.19 or newer",
		}, checkSwap())
	}
	return append(all, checkQuota(dir), checkResolvers(ctx), checkFirewall(), checkGVisor())
}

// checkOverlay makes an overlay mount where the data directory is, or would be made.
func checkOverlay(dir string) Check {
	c := Check{
		Name: "overlay mounts", Found: "instances share the files of their image",
		Advice: "load the kernel's module (modprobe overlay), and choose a data directory on ext4, or on xfs made with ftype=1 (--data)",
	}
	if err := overlayutils.SupportsMultipleLowerDir(existing(dir)); err != nil {
		c.Err = fmt.Errorf("every instance would get a full copy of its image: %w", err)
	}
	return c
}

func checkSwap() Check {
	c := Check{Name: "swap", Found: "instances cannot swap", Advice: "boot with swapaccount=1, or turn swap off (swapoff -a)"}
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err == nil && machine.Totalswap > 0 && !swapAccounted() {
		c.Err = errors.New("the machine swaps and the kernel cannot keep instances from it: they get slow instead of being restarted")
	}
	return c
}

// checkResolvers asks the resolvers instances will have for the root's name servers.
func checkResolvers(ctx context.Context) Check {
	c := Check{
		Name:   "DNS",
		Advice: "name a resolver in /etc/resolv.conf that is neither on the loopback address nor IPv6, which instances do not reach",
	}
	conf := instanceResolvers()
	var servers []string
	lines := bufio.NewScanner(strings.NewReader(conf))
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "nameserver "); ok {
			servers = append(servers, addr)
		}
	}
	if len(servers) == 0 {
		c.Err = errors.New("instances have no resolver: they reach nothing by name")
		return c
	}
	c.Found = strings.Join(servers, ", ")
	for _, server := range servers {
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(server, "53"))
		}}
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err := r.LookupNS(ctx, ".")
		cancel()
		if answered := new(net.DNSError); err != nil && (!errors.As(err, &answered) || answered.IsTimeout || answered.IsTemporary) {
			c.Err = fmt.Errorf("the resolver %s does not answer: %w", server, err)
			c.Advice = "see whether this machine reaches it"
		}
	}
	return c
}

// checkFirewall looks for rules of iptables-legacy, which nftables cannot see.
func checkFirewall() Check {
	c := Check{
		Name: "firewalls", Found: "nothing is in the way",
		Advice: "let the bridge through: iptables-legacy -I FORWARD -i " + bridgePrefix + "+ -j ACCEPT, and the same with -o",
	}
	b, err := os.ReadFile("/proc/net/ip_tables_names")
	if err == nil && slices.Contains(strings.Fields(string(b)), "filter") {
		c.Err = errors.New("iptables-legacy has a filter table; if it drops what is forwarded, instances do not reach the internet")
		return c
	}
	if nft, err := nftables.New(); err == nil {
		if chains, err := foreignForward(nft); err == nil && slices.ContainsFunc(chains, strict) {
			c.Found = "another firewall drops what it does not know; Apron's traffic gets a rule in it"
		}
	}
	return c
}

func checkGVisor() Check {
	c := Check{Name: "gVisor", Found: "not installed; only --runtime gvisor and the tag apron:runtime=gvisor need it"}
	if path, err := exec.LookPath("runsc"); err == nil {
		c.Found, _ = filepath.Abs(path)
	}
	return c
}
