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
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"apron"
)

// spares is how many networks are made in advance: as many as a busy moment starts instances at.
const spares = 4

// sparePrefix begins the names of the links of spare networks.
const sparePrefix = "aps"

// spare is a network that nobody has yet: namespaces with an address and a link to the bridge, which is
// down.
type spare struct {
	name string
	addr netip.Addr
	ids  idMap
}

func spareDir(dir string) string { return filepath.Join(dir, "run", "spare") }

func (n *network) spareNamespaces(s spare) namespaces {
	at := filepath.Join(spareDir(n.dir), s.name)
	return namespaces{net: at + ".net", user: at + ".user", ids: s.ids}
}

// fillSpares keeps spare networks at hand until ctx is done, and then removes them.
func (s *session) fillSpares(ctx context.Context) {
	defer func() {
		for {
			select {
			case left := <-s.spares:
				s.dropSpare(left)
			default:
				return
			}
		}
	}()
	for ctx.Err() == nil {
		made, err := s.makeSpare()
		if err != nil {
			s.cfg.Log.Warn("no network could be made in advance", "err", err)
			_ = pause(ctx, time.Minute) // the loop looks at ctx
			continue
		}
		select {
		case s.spares <- made:
		case <-ctx.Done():
			s.dropSpare(made)
		}
	}
}

func (s *session) makeSpare() (spare, error) {
	addr, err := s.net.addrs.take()
	if err != nil {
		return spare{}, err
	}
	made := spare{name: strings.ToLower(rand.Text()[:12]), addr: addr}
	if s.noUserNamespaces == nil {
		made.ids = idsOf(addr, "")
	}
	if err := s.net.join(s.net.spareNamespaces(made), sparePrefix+made.name, addr, false); err != nil {
		s.dropSpare(made)
		return spare{}, fmt.Errorf("make spare network: %w", err)
	}
	return made, nil
}

func (s *session) dropSpare(made spare) {
	if err := s.net.removeSpare(made.name); err != nil {
		s.cfg.Log.Warn("spare network could not be removed", "err", err)
	}
	s.net.release(made.addr)
}

func (n *network) removeSpare(name string) error {
	link, err := netlink.LinkByName(sparePrefix + name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	at := n.spareNamespaces(spare{name: name})
	return errors.Join(gone(err), removeNetns(at.net), removeNetns(at.user))
}

// takeSpare gives the instance a spare network and its address, if it has none yet and one is at hand.
func (i *instance) takeSpare() (made spare, ok bool) {
	if i.addr.IsValid() {
		return spare{}, false
	}
	select {
	case made = <-i.s.spares:
		i.addr = made.addr
		return made, true
	default:
		return spare{}, false
	}
}

// settle makes a spare network the instance's. One that does not have the ids, because the image's
// user is out of the ordinary or the runtime makes its own, is replaced.
func (n *network) settle(made spare, id apron.InstanceID, ids idMap) error {
	if !made.ids.equal(ids) {
		if err := n.removeSpare(made.name); err != nil {
			return err
		}
		return n.connect(id, made.addr, ids)
	}
	from, to := n.spareNamespaces(made), namespacesOf(n.dir, id, ids)
	paths := map[string]string{from.net: to.net}
	if ids.mapped() {
		paths[from.user] = to.user
	}
	var errs []error
	for old, path := range paths {
		errs = append(errs, moveNamespace(old, path))
	}
	link, err := netlink.LinkByName(sparePrefix + made.name)
	if err == nil {
		err = errors.Join(netlink.LinkSetName(link, linkName(id)), netlink.LinkSetUp(link))
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return errors.Join(fmt.Errorf("give spare network to instance %s: %w", id, err), n.removeSpare(made.name))
	}
	return nil
}

// moveNamespace keeps a namespace at another path: a mount point cannot be renamed.
func moveNamespace(from, to string) error {
	if err := makePlace(to); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("bind namespace to %s: %w", to, err), os.Remove(to))
	}
	return removeNetns(from)
}

// sweepSpares removes the spare networks of an earlier driver.
func (s *session) sweepSpares() error {
	entries, err := os.ReadDir(spareDir(s.cfg.Dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for spare networks: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, removeNetns(filepath.Join(spareDir(s.cfg.Dir), e.Name())))
	}
	links, err := dump("network links", netlink.LinkList)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == s.net.bridge.Attrs().Index && strings.HasPrefix(l.Attrs().Name, sparePrefix) {
			errs = append(errs, gone(netlink.LinkDel(l)))
		}
	}
	return errors.Join(errs...)
}
