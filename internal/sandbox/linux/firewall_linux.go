package linux

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewall is one nftables table of this server. It only ever refuses packets of
// instances, or gives them the host's address: what it does not mention is left
// to the host's own rules.
type firewall struct {
	name string
	pool netip.Prefix
}

const tablePrefix = "lambent_"

var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// newFirewall makes the table, in place of one that an earlier server left.
func newFirewall(tag string, pool netip.Prefix) (*firewall, error) {
	w := &firewall{name: tablePrefix + tag, pool: pool}
	if err := removeTable(w.name); err != nil {
		return nil, err
	}
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: w.name})
	chain := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: typ, Hooknum: hook, Priority: prio})
	}
	rule := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: all})
	}
	from, to := link(expr.MetaKeyIIFNAME, expr.CmpOpEq), link(expr.MetaKeyOIFNAME, expr.CmpOpEq)

	// The host itself, whatever it listens on.
	input := chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	rule(input, from, drop)

	forward := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	// One instance to another, of whichever server, and to one that is no more:
	// without a link its address would be looked for outside.
	rule(forward, from, to, drop)
	rule(forward, from, destination(w.pool), drop)
	// The metadata services of clouds, and everything else that is link-local.
	rule(forward, from, destination(linkLocal), drop)
	// Nobody connects to an instance: only answers come in.
	rule(forward, to, fresh, drop)

	nat := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	rule(nat, source(w.pool), link(expr.MetaKeyOIFNAME, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})
	return w, c.Flush()
}

var drop = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}

// fresh matches packets that belong to no connection yet.
var fresh = []expr.Any{
	&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
	&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
		Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW | expr.CtStateBitINVALID),
		Xor:  binaryutil.NativeEndian.PutUint32(0)},
	&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
}

// link matches instances' links: comparing fewer bytes than a name has compares
// its beginning.
func link(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte(linkPrefix)},
	}
}

// Offsets in the IPv4 header.
func source(p netip.Prefix) []expr.Any      { return address(12, p) }
func destination(p netip.Prefix) []expr.Any { return address(16, p) }

func address(offset uint32, p netip.Prefix) []expr.Any {
	p = p.Masked()
	mask := uint32(0xffffffff) << (32 - p.Bits())
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.BigEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// forwardMark is an empty table that every lambent on the host sees: one of them
// turned forwarding on. It lives as long as that does, past a crash, until the
// next boot.
const forwardMark = tablePrefix + "turned_forwarding_on"

func markForwarding() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: forwardMark})
	return c.Flush()
}

// tables lists lambent's tables, ours and others', by name.
func tables() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	all, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range all {
		if strings.HasPrefix(t.Name, tablePrefix) {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// removeTable removes a table, if it is there.
func removeTable(name string) error {
	list, err := tables()
	if err != nil || !slices.Contains(list, name) {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	return c.Flush()
}

// blocked tells whether somebody else's chain drops forwarded packets unless it
// knows them, as Docker's does. A packet must pass every table.
func (w *firewall) blocked() bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	chains, err := c.ListChains()
	if err != nil {
		return false
	}
	for _, ch := range chains {
		if ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Policy != nil &&
			*ch.Policy == nftables.ChainPolicyDrop && !strings.HasPrefix(ch.Table.Name, tablePrefix) &&
			ch.Table.Family != nftables.TableFamilyIPv6 {
			return true
		}
	}
	return false
}
