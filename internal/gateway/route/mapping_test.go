package route

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

func mapped(t *testing.T, request, response []lambent.Mapping) *Facts {
	t.Helper()
	e, err := Compile(&lambent.Route{ID: "r", Path: "/o/{id}", Function: "f", Format: "2.0", Access: "public", Request: request, Response: response})
	if err != nil {
		t.Fatal(err)
	}
	tab, err := (&Table{}).With("", []*Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	found, _, _ := tab.Match("h", "GET", "/o/7%0d%0aX:1")
	if found == nil {
		t.Fatal("no route")
	}
	return &Facts{
		Found: found, Claims: Claims{"sub": "ann", "roles": []any{"a", "b"}, "o": map[string]any{}}, RequestID: "rid", SourceIP: "10.0.0.1",
		Header: http.Header{"X-User": {"evil"}, "X-Old": {"1", "2"}, "X-New": {"forged"}, "X-Gone": {"g"}}, Query: "a=1&b=2&a=3&c=%20",
	}
}

func TestMapRequest(t *testing.T) {
	f := mapped(t, []lambent.Mapping{
		{Do: "set", In: "header", Name: "x-user", Value: "${claims.sub} (${claims.roles})"},
		{Do: "set", In: "header", Name: "X-Tenant", Value: "t-${claims.tenant}"}, // absent
		{Do: "set", In: "header", Name: "X-Id", Value: "${path.id}"},             // line ends
		{Do: "append", In: "header", Name: "X-Old", Value: "${source.ip}"},
		{Do: "rename", In: "header", Name: "X-Old", Value: "X-New"},
		{Do: "remove", In: "header", Name: "X-Gone"},
		{Do: "set", In: "query", Name: "a", Value: "${path.id}"},
		{Do: "rename", In: "query", Name: "b", Value: "d e"},
		{Do: "append", In: "query", Name: "c", Value: "${header.x-gone}&"},
	}, nil)
	h := maps.Clone(f.Header)
	for _, forged := range []string{"X-Tenant", "X-Id", "X_user", "X_new", "X_old", "X_gone"} {
		h[forged] = []string{"evil"}
	}
	h["X_other"] = []string{"kept"}
	query := f.MapRequest(h, f.Query)
	if want := "c=%20&d+e=2&a=7%0D%0AX%3A1&c=g%26"; !sameParts(query, want) {
		t.Errorf("query %s, want %s", query, want)
	}
	want := http.Header{"X-User": {"ann (a b)"}, "X-New": {"1", "2", "10.0.0.1"}, "X_other": {"kept"}}
	if !maps.EqualFunc(h, want, slices.Equal) {
		t.Errorf("headers %v, want %v", h, want)
	}
	if !slices.Equal(f.Header["X-Old"], []string{"1", "2"}) {
		t.Error("the request itself was changed")
	}
}

func sameParts(a, b string) bool {
	x, y := strings.Split(a, "&"), strings.Split(b, "&")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

func TestMapResponse(t *testing.T) {
	f := mapped(t, nil, []lambent.Mapping{{Do: "remove", In: "header", Name: "server"}, {Do: "set", In: "header", Name: "X-Request", Value: "${request.id}"}})
	h := http.Header{"Server": {"x"}}
	f.MapResponse(h)
	if h.Get("Server") != "" || h.Get("X-Request") != "rid" {
		t.Errorf("%v", h)
	}
}

func TestKeysAndNetworks(t *testing.T) {
	key, hash := NewKey()
	if again, _ := NewKey(); again == key || HashKey(key) != hash || len(key) < 40 {
		t.Errorf("key %q, hash %q", key, hash)
	}
	k := &lambent.APIKey{Namespace: "1", Name: "n"}
	for _, c := range []struct {
		namespace string
		keys      []string
		want      bool
	}{{"1", nil, true}, {"2", nil, false}, {"1", []string{"n"}, true}, {"1", []string{"m"}, false}} {
		e := &Entry{Route: &lambent.Route{Namespace: c.namespace, Keys: c.keys}}
		if e.OpenedBy(k) != c.want || e.OpenedBy(nil) {
			t.Errorf("%+v", c)
		}
	}
	e, err := Compile(&lambent.Route{Path: "/", Function: "f", Format: "2.0", Access: "internal", Networks: []string{"10.1.2.3/8"}})
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]bool{"127.0.0.1": true, "::1": true, "10.9.9.9": true, "::ffff:10.9.9.9": true, "11.0.0.1": false, "2001:db8::1": false} {
		if e.Internal(netip.MustParseAddr(ip)) != want {
			t.Errorf("%s", ip)
		}
	}
}

func TestAffinity(t *testing.T) {
	h := http.Header{"Cookie": {"a=1; sid=abc; b=2"}, "X-Session": {strings.Repeat("x", 1000)}}
	by := func(cookie, header string) string {
		return (&Entry{Route: &lambent.Route{AffinityCookie: cookie, AffinityHeader: header}}).Affinity(h)
	}
	if by("sid", "") != "abc" || by("none", "") != "" || by("", "") != "" || len(by("", "x-session")) != maxAffinity {
		t.Error("affinity keys are not those of the request")
	}
}
