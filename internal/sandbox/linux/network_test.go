package linux

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// outside makes a network namespace that stands for the world: it is linked to
// the host, and knows no way back to instances but through the host's address.
// It returns a listener in it that tells every caller who it is.
func outside(t *testing.T) net.Listener {
	t.Helper()
	const link, hostIP, worldIP = "lbtest-out", "198.51.100.1/24", "198.51.100.2/24" // TEST-NET-2, RFC 5737
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	var l net.Listener
	onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		l, err = world(nl, link, worldIP)
	})
	if err != nil {
		t.Fatal(err)
	}
	veth, err := nl.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(hostIP)
	if err != nil {
		t.Fatal(err)
	}
	if err := nl.AddrAdd(veth, addr); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		_ = nl.LinkDel(veth)
	})
	return l
}

// world runs on a thread in the new namespace.
func world(nl *netlink.Handle, link, ip string) (net.Listener, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := nl.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link, Flags: net.FlagUp},
		PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}); err != nil {
		return nil, err
	}
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	addr, err := netlink.ParseAddr(ip)
	if err != nil {
		return nil, err
	}
	if err := netlink.AddrAdd(eth, addr); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return nil, err
	}
	return net.Listen("tcp4", netip.MustParsePrefix(ip).Addr().String()+":0")
}

func TestOutbound(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	if d.network == nil {
		t.Skip("no network on this host")
	}
	there := outside(t).Addr().String()
	code := sandboxtest.Probe(t)
	for _, c := range []struct {
		network lambent.Network
		want    string
	}{
		{lambent.NetworkOutbound, "198.51.100.1"}, // the host's address, not the instance's
		{lambent.NetworkLoopback, "ERROR: dial tcp " + there + ": connect: network is unreachable"},
		{lambent.NetworkNone, "ERROR: dial tcp " + there + ": connect: network is unreachable"},
	} {
		spec := sandboxtest.Spec("net-"+string(c.network)+"x", code, nil)
		spec.Version.Network = c.network
		l := sandboxtest.Start(t, d, spec)
		if got := l.Do("dial", 2000, "tcp", there); got != c.want {
			t.Errorf("network %q: %s, want %s", c.network, got, c.want)
		}
	}
}

// TestNeighbours lets one instance listen on its outside address: another one
// must not get there.
func TestNeighbours(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	if d.network == nil {
		t.Skip("no network on this host")
	}
	code := sandboxtest.Probe(t)
	a := sandboxtest.Start(t, d, sandboxtest.Spec("listener", code, nil))
	address := a.Do("listen", 0)
	if got := a.Do("dial", 1000, "tcp", address); got != "here" {
		t.Fatalf("an instance does not reach itself at %s: %s", address, got)
	}
	b := sandboxtest.Start(t, d, sandboxtest.Spec("dialer", code, nil))
	if got := b.Do("dial", 500, "tcp", address); !strings.HasPrefix(got, "ERROR: ") {
		t.Errorf("a neighbour reaches %s: %s", address, got)
	}
	// Nor do others on the host's networks; the host itself is trusted.
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		c.Close()
	}
}

func TestAddresses(t *testing.T) {
	n := &network{pool: netip.MustParsePrefix("10.9.8.0/24")}
	seen := map[netip.Addr]bool{}
	for i := range n.size() {
		a := n.address(i)
		if !n.pool.Contains(a) || a == netip.MustParseAddr("10.9.8.0") || a == netip.MustParseAddr("10.9.8.1") ||
			a == netip.MustParseAddr("10.9.8.255") || seen[a] {
			t.Fatalf("address %d: %s", i, a)
		}
		seen[a] = true
	}
	if n.address(0) != n.address(n.size()) {
		t.Error("addresses do not wrap around")
	}
}

func TestUsableResolvers(t *testing.T) {
	for _, c := range []struct {
		conf, want string
		ok         bool
	}{
		{"# x\nnameserver 10.0.0.1\nsearch a b\nsortlist x\n", "nameserver 10.0.0.1\nsearch a b\n", true},
		{"nameserver 127.0.0.53\noptions edns0\n", "options edns0\n", false},
		{"nameserver ::1\nnameserver fd00::1\n", "nameserver fd00::1\n", true},
		{"nameserver\n\n", "", false},
	} {
		if got, ok := usableResolvers(c.conf); got != c.want || ok != c.ok {
			t.Errorf("%q: %q, %t; want %q, %t", c.conf, got, ok, c.want, c.ok)
		}
	}
}

var _ sandbox.Freezer = (*Instance)(nil)

// TestForwardingIsRestored runs on a host of its own, as far as networks go: two
// servers come and go, and the last one leaves it as the first one found it.
func TestForwardingIsRestored(t *testing.T) {
	needRoot(t)
	onOwnThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		forwards := func(want string) {
			t.Helper()
			if b, err := os.ReadFile(forwardSwitch); err != nil || strings.TrimSpace(string(b)) != want {
				t.Errorf("ip_forward is %q, %v; want %s", b, err, want)
			}
		}
		if err := writeFile(forwardSwitch, "0"); err != nil {
			t.Error(err)
			return
		}
		server := func(tag string) *network {
			n, err := newNetwork(networkSpec{pool: defaultPool, tag: tag})
			if err != nil {
				t.Errorf("server %s: %v", tag, err)
			}
			return n
		}
		a, b := server("aaaa"), server("bbbb")
		if a == nil || b == nil {
			return
		}
		forwards("1")
		if err := a.close(); err != nil {
			t.Error(err)
		}
		forwards("1")
		// A crash in between: the mark outlives it.
		b.nl.Close()
		if b = server("bbbb"); b == nil {
			return
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
		forwards("0")
		if left, err := tables(); err != nil || len(left) > 0 {
			t.Errorf("tables left: %q, %v", left, err)
		}
	})
}
