package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
)

// pool is where subnets come from: the range for benchmarks (RFC 2544), which no real network uses
// and no client will ever ask an application to reach.
func pool() netip.Prefix { return netip.MustParsePrefix("198.18.0.0/15") }

// subnetBits is the size of a data directory's subnet: /20, about 4,000 instances, 32 directories.
const subnetBits = 20

// netState is what network.json remembers about a data directory's network.
type netState struct {
	Bridge string       `json:"bridge"`
	Subnet netip.Prefix `json:"subnet"`
	// Forwarding: this directory turned IP forwarding on, so Teardown may turn it off.
	Forwarding bool `json:"forwarding"`
	// Open are the TCP ports of the machine that instances may connect to.
	Open []uint16 `json:"open,omitempty"`
}

func netStatePath(dir string) string { return filepath.Join(dir, "engine", "network.json") }

// bridgeName names the bridge, and the firewall table, of a data directory. Interface names have at
// most 15 characters.
func bridgeName(dir string) string { return bridgePrefix + dirHash(dir) }

const bridgePrefix = "apron-"

// loadNetState returns the network chosen earlier, or a zero value when there is none.
func loadNetState(dir string) (netState, error) {
	b, err := os.ReadFile(netStatePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return netState{}, nil
	}
	if err != nil {
		return netState{}, fmt.Errorf("read network state: %w", err)
	}
	var s netState
	if err := json.Unmarshal(b, &s); err != nil {
		return netState{}, fmt.Errorf("read network state: %w", err)
	}
	if s.Bridge != bridgeName(dir) || !s.Subnet.IsValid() || s.Subnet.Bits() != subnetBits || !pool().Overlaps(s.Subnet) {
		return netState{}, nil // of a directory that was copied or moved: choose anew
	}
	return s, nil
}

func (s netState) save(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write network state: %w", err)
	}
	return writeFile(netStatePath(dir), append(b, '\n'), 0o600)
}

// freeSubnet returns the first subnet of the pool that none of used overlaps.
func freeSubnet(used []netip.Prefix) (netip.Prefix, error) {
	for i := range 1 << (subnetBits - pool().Bits()) {
		n := number(pool().Addr().As4()) | uint32(i)<<(32-subnetBits)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), subnetBits)
		if !overlapsAny(p, used) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("choose a subnet: every part of %s is in use on this machine", pool())
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Bits() > 0 && u.Overlaps(p) { // a default route overlaps everything and takes nothing
			return true
		}
	}
	return false
}

// usedPrefixes returns what the host's addresses and routes take, but for those of the bridge.
func usedPrefixes(bridge string) ([]netip.Prefix, error) {
	var used []netip.Prefix
	links, err := dump("network links", netlink.LinkList)
	if err != nil {
		return nil, err
	}
	own := 0
	for _, l := range links {
		if l.Attrs().Name == bridge {
			own = l.Attrs().Index
			continue
		}
		addrs, err := dump("addresses of "+l.Attrs().Name, func() ([]netlink.Addr, error) {
			return netlink.AddrList(l, netlink.FAMILY_V4)
		})
		if errors.Is(err, errNoDevice) {
			continue // went away meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			used = appendPrefix(used, a.IPNet.String())
		}
	}
	routes, err := dump("routes", func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if r.Dst != nil && (own == 0 || r.LinkIndex != own) {
			used = appendPrefix(used, r.Dst.String())
		}
	}
	return used, nil
}

func appendPrefix(to []netip.Prefix, s string) []netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return append(to, p.Masked())
	}
	return to
}

// addresses hands out the addresses of a subnet: all but the network's, the bridge's (the first) and
// the broadcast address. Safe for concurrent use.
type addresses struct {
	subnet netip.Prefix

	mu   sync.Mutex // guards the fields below
	used map[netip.Addr]bool
	last netip.Addr // handed out last: an address rests as long as possible before it is used again
}

func newAddresses(subnet netip.Prefix) *addresses {
	return &addresses{subnet: subnet, used: map[netip.Addr]bool{}, last: gateway(subnet)}
}

// gateway is the bridge's own address.
func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// take returns a free address.
func (a *addresses) take() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.last
	for range 1 << (32 - a.subnet.Bits()) {
		next = next.Next()
		if !a.subnet.Contains(next) || !a.subnet.Contains(next.Next()) { // past the end, or broadcast
			next = gateway(a.subnet).Next()
		}
		if !a.used[next] {
			a.used[next], a.last = true, next
			return next, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("take an address: all of %s are in use", a.subnet)
}

// reserve keeps a part of the subnet from being handed out.
func (a *addresses) reserve(part netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr := part.Masked().Addr(); part.Contains(addr); addr = addr.Next() {
		a.used[addr] = true
	}
}

// buildSubnet is the part of a data directory's subnet that build steps use, its last 64 addresses:
// they are handed out by the engine child, all others by the driver.
func buildSubnet(subnet netip.Prefix) netip.Prefix {
	const bits = 26
	a := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < bits; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.PrefixFrom(netip.AddrFrom4(a), bits)
}

// claim marks an adopted instance's address; false when it is taken or not of the subnet.
func (a *addresses) claim(addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.subnet.Contains(addr) || a.used[addr] {
		return false
	}
	a.used[addr] = true
	return true
}

func (a *addresses) release(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, addr)
}
