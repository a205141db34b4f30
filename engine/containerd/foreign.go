package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// passForeign lets a bridge's traffic through the forward chains of other firewalls that would drop
// what they do not know: every chain at a hook is asked, and a packet must please them all. Docker's
// has the policy drop, firewalld's ends with a rejection. What the bridge may do has been decided
// earlier, by its own table. It reports whether there is such a chain that lacked the rules.
//
// Firewalls of the older kind (iptables-legacy) cannot be seen from here.
func passForeign(bridge string) (changed bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := foreignForward(c)
	if err != nil {
		return false, err
	}
	for _, ch := range chains {
		there, err := ownRules(c, ch, bridge)
		if err != nil {
			return false, err
		}
		if !strict(ch) || len(there) == 2 {
			continue
		}
		for _, r := range there {
			if err := c.DelRule(r); err != nil {
				return false, fmt.Errorf("replace rule in foreign firewall: %w", err)
			}
		}
		for _, match := range [][]expr.Any{comesFrom(bridge), goesTo(bridge)} {
			c.InsertRule(&nftables.Rule{
				Table: ch.Table, Chain: ch, UserData: mark(bridge),
				// In the order in which iptables writes and expects it.
				Exprs: slices.Concat(match, []expr.Any{&expr.Counter{}}, verdict(expr.VerdictAccept)),
			})
		}
		changed = true
	}
	if !changed {
		return false, nil
	}
	if err := c.Flush(); err != nil {
		return false, fmt.Errorf("pass other firewalls: %w", err)
	}
	return true, nil
}

// leaveForeign removes what passForeign added.
func leaveForeign(bridge string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	chains, err := foreignForward(c)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		there, err := ownRules(c, ch, bridge)
		if err != nil {
			return err
		}
		for _, r := range there {
			if err := c.DelRule(r); err != nil {
				return fmt.Errorf("remove rule from foreign firewall: %w", err)
			}
		}
	}
	if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("leave other firewalls: %w", err)
	}
	return nil
}

// foreignForward returns the chains at the forward hook that no Apron made.
func foreignForward(c *nftables.Conn) ([]*nftables.Chain, error) {
	var found []*nftables.Chain
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := c.ListChainsOfTableFamily(family)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list firewall chains: %w", err)
		}
		for _, ch := range chains {
			atForward := ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Type == nftables.ChainTypeFilter
			if atForward && !strings.HasPrefix(ch.Table.Name, bridgePrefix) {
				found = append(found, ch)
			}
		}
	}
	return found, nil
}

// strict reports whether a chain drops what it does not know.
func strict(ch *nftables.Chain) bool {
	return ch.Table.Name == "firewalld" || (ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop)
}

// ownRules returns the rules of a foreign chain that were made for the bridge.
func ownRules(c *nftables.Conn, ch *nftables.Chain, bridge string) ([]*nftables.Rule, error) {
	rules, err := c.GetRules(ch.Table, ch)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // its owner removed it meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("list rules of firewall chain %s: %w", ch.Name, err)
	}
	return slices.DeleteFunc(rules, func(r *nftables.Rule) bool { return !bytes.Equal(r.UserData, mark(bridge)) }), nil
}

// mark is the comment that tells the bridge's rules from others.
func mark(bridge string) []byte { return userdata.AppendString(nil, userdata.TypeComment, bridge) }
