package gateway

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// seeThrough makes a request that has come by proxies that are believed what it was
// where it came to the first of them: who sent it, and whether by TLS. Of the addresses
// in X-Forwarded-For, to which each proxy adds whom it has heard, the last one that is
// no such proxy's is the caller's; what is before it the caller may have written.
func (g *Gateway) seeThrough(r *http.Request) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !g.believed(peer.Addr()) {
		return
	}
	caller, said := peer.Addr(), strings.Join(r.Header["X-Forwarded-For"], ",")
	for said != "" && g.believed(caller) {
		i := strings.LastIndexByte(said, ',')
		before, err := netip.ParseAddr(strings.TrimSpace(said[i+1:]))
		if err != nil {
			break
		}
		caller, said = before, said[:max(i, 0)]
	}
	if caller != peer.Addr() {
		r.RemoteAddr = netip.AddrPortFrom(caller, 0).String()
	}
	delete(r.Header, "X-Forwarded-For")
	if said != "" {
		r.Header["X-Forwarded-For"] = []string{said}
	}
	if by := r.Header["X-Forwarded-Proto"]; len(by) > 0 {
		last := by[len(by)-1]
		switch strings.ToLower(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])) {
		case "https":
			r.TLS = &tls.ConnectionState{} // nobody here asks more of it than that it is there
		case "http":
			r.TLS = nil
		}
	}
}

// believed tells whether an address is that of a proxy in front of the gateway.
func (g *Gateway) believed(a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(g.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}
