package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// runtimeAPIAddress is where the Runtime API listens in every sandbox. Each has
// a loopback of its own, so they do not meet.
const runtimeAPIAddress = sandbox.APIAddress

// linkPrefix starts the name of the host end of every instance's link, of every
// lambent on this host: the firewall goes by it.
const linkPrefix = "lmb"

// Both ends of a link have fixed addresses: there is nobody else on it.
var (
	hostMAC  = net.HardwareAddr{0x02, 'l', 'm', 'b', 0, 1}
	guestMAC = net.HardwareAddr{0x02, 'l', 'm', 'b', 0, 2}
)

// network gives instances a way out: a veth pair each, routed on the host,
// behind the host's address. It holds a netlink socket of the host's namespace,
// which works from threads in any other.
type network struct {
	nl       *netlink.Handle
	wall     *firewall
	pool     netip.Prefix
	gateway  netip.Addr // the pool's first; nobody has it, packets are only sent by way of it
	prefix   string     // of our links: linkPrefix and the server's tag
	offset   int        // where in the pool this server starts
	warnings []string
}

// networkSpec says how a server's network differs from another's.
type networkSpec struct {
	pool  netip.Prefix
	tag   string // 4 characters
	start uint32 // any number that differs between servers
}

// newNetwork sets the host up, and proves on one link that it works.
func newNetwork(s networkSpec) (*network, error) {
	n := &network{pool: s.pool, gateway: s.pool.Masked().Addr().Next(), prefix: linkPrefix + s.tag + "-"}
	n.offset = int(s.start) % n.size()
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n.nl = nl
	if err := n.removeLinks(); err != nil {
		n.nl.Close()
		return nil, err
	}
	if n.wall, err = newFirewall(s.tag, s.pool); err != nil {
		n.nl.Close()
		return nil, fmt.Errorf("set up nftables: %w", err)
	}
	if err := n.forwardOn(); err != nil {
		return nil, fmt.Errorf("turn on forwarding: %w", errors.Join(err, n.close()))
	}
	if err := n.probe(); err != nil {
		return nil, fmt.Errorf("try a link: %w", errors.Join(err, n.close()))
	}
	if n.wall.blocked() {
		n.warnings = append(n.warnings, "another firewall on this host drops forwarded packets: functions reach the outside only if it accepts those from "+linkPrefix+"*")
	}
	return n, nil
}

// size is the number of addresses for instances: not the pool's first two, nor
// its last.
func (n *network) size() int { return 1<<(32-n.pool.Bits()) - 3 }

// address is that of the i-th try of a slot.
func (n *network) address(i int) netip.Addr {
	base := n.pool.Masked().Addr().As4()
	v := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	v += 2 + uint32((n.offset+i)%n.size())
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (n *network) probe() error {
	var link netlink.Link
	var err error
	onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			link, err = n.connect(0)
		}
	})
	return errors.Join(err, n.remove(link))
}

// connect links the calling thread's network namespace to the host and returns
// the host's end.
func (n *network) connect(slot int) (netlink.Link, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: n.prefix + strconv.Itoa(slot), HardwareAddr: hostMAC, Flags: net.FlagUp},
		PeerName: "eth0", PeerHardwareAddr: guestMAC, PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	if err := n.nl.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("add link %s: %w", veth.Name, err)
	}
	addr, err := n.route(veth, slot)
	if err == nil {
		err = n.guest(addr)
	}
	if err != nil {
		return nil, errors.Join(err, n.remove(veth))
	}
	return veth, nil
}

// route gives the host a way to an address of the instance. Servers share the
// pool without knowing of each other: an address that has a route is taken.
func (n *network) route(veth *netlink.Veth, slot int) (netip.Addr, error) {
	if veth.Index == 0 {
		l, err := n.nl.LinkByName(veth.Name)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("find link: %w", err)
		}
		veth.Index = l.Attrs().Index
	}
	for try := range 64 {
		addr := n.address(slot + try*257)
		err := n.nl.RouteAdd(&netlink.Route{LinkIndex: veth.Index, Scope: netlink.SCOPE_LINK, Dst: host(addr)})
		if err == nil {
			return addr, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return netip.Addr{}, fmt.Errorf("add route to %s: %w", addr, err)
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address in %s", n.pool)
}

// guest sets up the far end, in the calling thread's namespace.
func (n *network) guest(addr netip.Addr) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	link, err := nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := nl.AddrAdd(link, &netlink.Addr{IPNet: host(addr), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("add address %s: %w", addr, err)
	}
	if err := nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring eth0 up: %w", err)
	}
	index := link.Attrs().Index
	gateway := net.IP(n.gateway.AsSlice())
	// Nobody has the gateway's address, so nobody would answer for it.
	if err := nl.NeighAdd(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: gateway, HardwareAddr: hostMAC}); err != nil {
		return fmt.Errorf("add neighbour: %w", err)
	}
	if err := nl.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway, Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return nil
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: net.IP(a.AsSlice()), Mask: net.CIDRMask(32, 32)}
}

// remove deletes a link, both ends, with its routes. It may have gone with its
// namespace already.
func (n *network) remove(link netlink.Link) error {
	if link == nil || link.Attrs().Index == 0 {
		return nil
	}
	if err := n.nl.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// listLinks lists again while other servers' links come and go in the middle of it.
func listLinks(list func() ([]netlink.Link, error)) (links []netlink.Link, err error) {
	for range 20 {
		if links, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return links, err
		}
	}
	return links, err
}

// removeLinks removes what an earlier server with our tag left.
func (n *network) removeLinks() error {
	links, err := listLinks(n.nl.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if !strings.HasPrefix(l.Attrs().Name, n.prefix) {
			continue
		}
		if err := n.remove(l); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) close() error {
	err := errors.Join(n.removeLinks(), removeTable(n.wall.name), n.forwardRestore())
	n.nl.Close()
	return err
}

const forwardSwitch = "/proc/sys/net/ipv4/ip_forward"

// forwardOn lets the host route between its links. If it did not before, a mark
// says so, and the last server that closes turns it off again.
func (n *network) forwardOn() error {
	b, err := os.ReadFile(forwardSwitch)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(b)) != "0" {
		return nil
	}
	if err := markForwarding(); err != nil {
		return err
	}
	return writeFile(forwardSwitch, "1")
}

func (n *network) forwardRestore() error {
	list, err := tables()
	if err != nil {
		return err
	}
	// Somebody's own table is there: they need it on.
	if len(list) != 1 || list[0] != forwardMark {
		return nil
	}
	if err := writeFile(forwardSwitch, "0"); err != nil {
		return err
	}
	return removeTable(forwardMark)
}

// loopbackUp brings up the loopback of the calling thread's namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("bring lo up", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
}

// listen opens a Runtime API's listener in the calling thread's namespace. The
// descriptor works from every thread.
func listen(ctx context.Context, address string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false) // costs, and loopback has one path
	c.KeepAlive = -1         // costs too, and who is at the other end ends with the sandbox
	return c.Listen(ctx, "tcp4", address)
}
