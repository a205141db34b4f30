package containerd

import "github.com/vishvananda/netlink"

// Links lists the network links of this machine, which other tests change meanwhile.
func Links() ([]netlink.Link, error) { return dump("network links", netlink.LinkList) }
