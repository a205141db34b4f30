package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	resources "github.com/moby/buildkit/executor/resources/types"
	buildnet "github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
)

var (
	_ buildnet.Provider  = (*buildNetwork)(nil)
	_ buildnet.Namespace = (*buildNamespace)(nil)
)

// buildNetwork gives every build step a network namespace on the bridge of the instances, under the
// same firewall: the outside world, and neither this machine nor its neighbours.
type buildNetwork struct {
	net   *network
	addrs *addresses
}

func buildNetnsDir(dir string) string { return filepath.Join(dir, "run", "buildns") }

// buildLinkPrefix begins the names of the host's ends of build steps' links.
const buildLinkPrefix = "apb"

// openBuildNetwork finds or makes the network and removes what an earlier engine left of its builds'.
func openBuildNetwork(ctx context.Context, dir string) (*buildNetwork, error) {
	n, err := openNetwork(ctx, dir)
	if err != nil {
		return nil, err
	}
	links, err := dump("network links", netlink.LinkList)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, buildLinkPrefix) && l.Attrs().MasterIndex == n.bridge.Attrs().Index {
			if err := gone(netlink.LinkDel(l)); err != nil {
				return nil, fmt.Errorf("remove link of an earlier build: %w", err)
			}
		}
	}
	entries, err := os.ReadDir(buildNetnsDir(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for leftovers of builds: %w", err)
	}
	for _, e := range entries {
		if err := removeNetns(filepath.Join(buildNetnsDir(dir), e.Name())); err != nil {
			return nil, err
		}
	}
	return &buildNetwork{net: n, addrs: newAddresses(buildSubnet(n.state.Subnet))}, nil
}

// New implements network.Provider.
func (b *buildNetwork) New(context.Context, string, buildnet.NamespaceOptions) (buildnet.Namespace, error) {
	addr, err := b.addrs.take()
	if err != nil {
		return nil, fmt.Errorf("connect build step: %w", err)
	}
	id := strings.ToLower(rand.Text()[:12])
	ns := &buildNamespace{
		network: b, addr: addr, link: buildLinkPrefix + id, path: filepath.Join(buildNetnsDir(b.net.dir), id),
	}
	if err := b.net.join(namespaces{net: ns.path}, ns.link, addr, true); err != nil {
		return nil, errors.Join(fmt.Errorf("connect build step: %w", err), ns.Close())
	}
	return ns, nil
}

// Close implements network.Provider.
func (b *buildNetwork) Close() error { return nil }

// buildNamespace is the network of one running step.
type buildNamespace struct {
	network    *buildNetwork
	addr       netip.Addr
	link, path string
}

// Set implements network.Namespace.
func (n *buildNamespace) Set(s *specs.Spec) error {
	for i, ns := range s.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = n.path
			return nil
		}
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: n.path})
	return nil
}

// Sample implements network.Namespace: nothing is measured.
func (n *buildNamespace) Sample() (*resources.NetworkSample, error) { return nil, nil }

// Close implements network.Namespace.
func (n *buildNamespace) Close() error {
	link, err := netlink.LinkByName(n.link)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	err = errors.Join(gone(err), removeNetns(n.path))
	_ = netlink.NeighDel(n.network.net.neighbour(n.addr)) // the next one at the address has the same hardware address
	n.network.addrs.release(n.addr)
	if err != nil {
		return fmt.Errorf("disconnect build step: %w", err)
	}
	return nil
}
