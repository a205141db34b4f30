package containerd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Byte offsets of the addresses in an IPv4 header (RFC 791).
const (
	sourceOffset      = 12
	destinationOffset = 16
)

// installFirewall puts the data directory's table in place, whole, in one transaction.
//
// Instances may answer the host and reach the outside world, and nothing else: not the host's own
// addresses but for the open TCP ports, not the link-local range (on cloud machines it holds the
// machine's credentials), not another Apron's instances, and, by the bridge's isolated ports, not each
// other.
func installFirewall(s netState) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: s.Bridge, Family: nftables.TableFamilyINet}
	c.AddTable(t) // so that the deletion never fails
	c.DelTable(t)
	c.AddTable(t)
	f := firewall{c: c, t: t}
	early := new(*nftables.ChainPriorityFilter - 10)

	in := f.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, early)
	f.rule(in, comesFrom(s.Bridge), established(), verdict(expr.VerdictAccept))
	for _, port := range s.Open {
		f.rule(in, comesFrom(s.Bridge), address(sourceOffset, s.Subnet), toTCP(port), verdict(expr.VerdictAccept))
	}
	f.rule(in, comesFrom(s.Bridge), verdict(expr.VerdictDrop))

	fwd := f.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, early)
	f.rule(fwd, comesFrom(s.Bridge), version(unix.NFPROTO_IPV6), verdict(expr.VerdictDrop))
	f.rule(fwd, comesFrom(s.Bridge), other(address(sourceOffset, s.Subnet)), verdict(expr.VerdictDrop))
	f.rule(fwd, comesFrom(s.Bridge), address(destinationOffset, netip.MustParsePrefix("169.254.0.0/16")), verdict(expr.VerdictDrop))
	f.rule(fwd, comesFrom(s.Bridge), address(destinationOffset, pool()), verdict(expr.VerdictDrop))
	f.rule(fwd, goesTo(s.Bridge), established(), verdict(expr.VerdictAccept))
	f.rule(fwd, goesTo(s.Bridge), verdict(expr.VerdictDrop))

	post := f.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	f.rule(post, version(unix.NFPROTO_IPV4), address(sourceOffset, s.Subnet), other(goesTo(s.Bridge)), []expr.Any{&expr.Masq{}})

	if err := c.Flush(); err != nil {
		return fmt.Errorf("install firewall table %s: %w", s.Bridge, err)
	}
	return nil
}

// firewallStands reports whether the table is there with all its chains, which somebody who empties
// the ruleset (as a restart of nftables.service does) takes away.
func firewallStands(name string) (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("list firewall chains: %w", err)
	}
	n := 0
	for _, ch := range chains {
		if ch.Table.Name == name {
			rules, err := c.GetRules(ch.Table, ch)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return false, fmt.Errorf("list firewall rules: %w", err)
			}
			if len(rules) > 0 {
				n++
			}
		}
	}
	return n == len([]string{"input", "forward", "postrouting"}), nil
}

// removeFirewall removes the table; a missing one is fine.
func removeFirewall(name string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	c.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove firewall table %s: %w", name, err)
	}
	return nil
}

// firewall collects the chains and rules of one table.
type firewall struct {
	c *nftables.Conn
	t *nftables.Table
}

func (f firewall) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
	return f.c.AddChain(&nftables.Chain{Name: name, Table: f.t, Type: kind, Hooknum: hook, Priority: prio})
}

func (f firewall) rule(ch *nftables.Chain, parts ...[]expr.Any) {
	var exprs []expr.Any
	for _, p := range parts {
		exprs = append(exprs, p...)
	}
	f.c.AddRule(&nftables.Rule{Table: f.t, Chain: ch, Exprs: exprs})
}

func comesFrom(link string) []expr.Any { return linkIs(expr.MetaKeyIIFNAME, link) }

func goesTo(link string) []expr.Any { return linkIs(expr.MetaKeyOIFNAME, link) }

func linkIs(key expr.MetaKey, link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}
}

// other turns the last comparison around.
func other(e []expr.Any) []expr.Any {
	if cmp, ok := e[len(e)-1].(*expr.Cmp); ok {
		cmp.Op = expr.CmpOpNeq
	}
	return e
}

func version(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// address matches IPv4 packets whose address at the offset is within p.
func address(offset uint32, p netip.Prefix) []expr.Any {
	mask := ipNet(p.Addr(), p.Bits()).Mask
	return append(version(unix.NFPROTO_IPV4),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	)
}

// toTCP matches TCP packets to the port.
func toTCP(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// established matches packets of connections that already exist, and errors about them.
func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind}}
}
