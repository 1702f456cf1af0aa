package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway"
)

// TestBehindProxies is who has sent a request, and how, by where it comes from and what
// is said on the way.
func TestBehindProxies(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	g := r.handler.(*gateway.Gateway)
	g.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		peer             string
		forwarded, proto []string
		ip, chain, by    string
	}{
		"nobody's proxy":   {"192.0.2.1:5", []string{"198.51.100.1"}, []string{"https"}, "192.0.2.1", "198.51.100.1,192.0.2.1", "http"},
		"a proxy":          {"10.1.1.1:5", []string{"198.51.100.1"}, []string{"https"}, "198.51.100.1", "198.51.100.1", "https"},
		"IPv4 in IPv6":     {"[::ffff:10.1.1.1]:5", []string{"198.51.100.1"}, nil, "198.51.100.1", "198.51.100.1", "http"},
		"an invention":     {"10.1.1.1:5", []string{"127.0.0.1, 198.51.100.1"}, []string{"http"}, "198.51.100.1", "127.0.0.1,198.51.100.1", "http"},
		"two proxies":      {"10.1.1.1:5", []string{"6.6.6.6, 198.51.100.1", "10.2.2.2"}, []string{"http, https"}, "198.51.100.1", "6.6.6.6,198.51.100.1", "https"},
		"proxies alone":    {"[fd00::1]:5", []string{"10.3.3.3, 10.2.2.2"}, nil, "10.3.3.3", "10.3.3.3", "http"},
		"IPv6":             {"10.1.1.1:5", []string{"2001:db8::7"}, []string{"HTTPS"}, "2001:db8::7", "2001:db8::7", "https"},
		"nothing said":     {"10.1.1.1:5", nil, nil, "10.1.1.1", "10.1.1.1", "http"},
		"nothing sensible": {"10.1.1.1:5", []string{"unknown"}, []string{"ftp"}, "10.1.1.1", "unknown,10.1.1.1", "http"},
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Host, req.RemoteAddr = host, c.peer
		for _, v := range c.forwarded {
			req.Header.Add("X-Forwarded-For", v)
		}
		for _, v := range c.proto {
			req.Header.Add("X-Forwarded-Proto", v)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		e := eventOf(t, answer{status: w.Code, header: w.Header(), body: w.Body.String()})
		headers := e["headers"].(map[string]any)
		context := e["requestContext"].(map[string]any)["http"].(map[string]any)
		if context["sourceIp"] != c.ip || headers["x-forwarded-for"] != c.chain || headers["x-forwarded-proto"] != c.by {
			t.Errorf("%s: %v by %v of %v, want %s by %s of %s", name, context["sourceIp"], headers["x-forwarded-proto"], headers["x-forwarded-for"], c.ip, c.by, c.chain)
		}
	}
}
