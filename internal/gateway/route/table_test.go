package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
)

func entry(t testing.TB, host, method, path string) *Entry {
	t.Helper()
	e, err := Compile(&lambent.Route{
		ID: method + " " + host + path, Namespace: "000000000000", Host: host, Method: method, Path: path,
		Function: "f", Format: "2.0", Access: lambent.AccessPublic,
	})
	if err != nil {
		t.Fatalf("compile %s %s%s: %v", method, host, path, err)
	}
	return e
}

// table puts routes together host by host; of two for the same the first stays.
func table(t testing.TB, entries []*Entry) (*Table, []*Entry) {
	t.Helper()
	byHost := map[string][]*Entry{}
	out, kept := &Table{}, []*Entry(nil)
	for _, e := range entries {
		next, err := out.With(e.Host, append(slices.Clone(byHost[e.Host]), e))
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			continue
		}
		out = next
		byHost[e.Host] = append(byHost[e.Host], e)
		kept = append(kept, e)
	}
	return out, kept
}

// naive looks at every route and ranks those that match.
func naive(entries []*Entry, host, method, path string) *Entry {
	var best *Entry
	var rank []int
	for _, e := range entries {
		r, ok := naiveRank(e, host, method, path)
		if ok && (best == nil || slices.Compare(r, rank) < 0) {
			best, rank = e, r
		}
	}
	return best
}

func naiveRank(e *Entry, host, method, path string) (rank []int, ok bool) {
	if e.Method != "" && e.Method != method {
		return nil, false
	}
	switch suffix, wild := strings.CutPrefix(e.Host, "*"); {
	case e.Host == "":
		rank = append(rank, 1000)
	case wild && strings.HasSuffix(host, suffix) && host[0] != '.':
		rank = append(rank, 500-len(suffix))
	case e.Host == host:
		rank = append(rank, 0)
	default:
		return nil, false
	}
	byMethod := 0
	if e.Method == "" {
		byMethod = 1
	}
	if e.Path == lambent.RouteDefault {
		return append(rank, 9, byMethod), true
	}
	want, have := strings.Split(e.Path[1:], "/"), strings.Split(path[1:], "/")
	for i, w := range want {
		if strings.HasSuffix(w, "+}") {
			return append(rank, 2, byMethod), i < len(have) && strings.Join(have[i:], "/") != ""
		}
		if i >= len(have) {
			return nil, false
		}
		text, err := url.PathUnescape(have[i])
		switch {
		case err != nil:
			return nil, false
		case strings.HasPrefix(w, "{") && text != "":
			rank = append(rank, 1)
		case text == w:
			rank = append(rank, 0)
		default:
			return nil, false
		}
	}
	return append(rank, byMethod), len(want) == len(have)
}

var (
	genHost    = rapid.SampledFrom([]string{"", "a.test", "b.a.test", "c.b.a.test", "*.a.test", "*.b.a.test", "*.test"})
	genMethod  = rapid.SampledFrom([]string{"", "GET", "POST", "DELETE"})
	genSegment = rapid.SampledFrom([]string{"a", "b", "a b", "c", "{x}"})
)

func genPath(t *rapid.T) string {
	if rapid.IntRange(0, 9).Draw(t, "default") == 0 {
		return lambent.RouteDefault
	}
	var b strings.Builder
	for i := range rapid.IntRange(0, 4).Draw(t, "n") {
		s := genSegment.Filter(func(s string) bool { return s != "a b" }).Draw(t, "s")
		b.WriteString("/" + strings.Replace(s, "x", fmt.Sprint("x", i), 1))
	}
	b.WriteString(rapid.SampledFrom([]string{"", "/", "/{rest+}"}).Draw(t, "end"))
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// TestMatchIsNaive holds the tree to the plain meaning of the rules.
func TestMatchIsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var entries []*Entry
		for range rapid.IntRange(0, 25).Draw(rt, "routes") {
			entries = append(entries, entry(t, genHost.Draw(rt, "host"), genMethod.Draw(rt, "method"), genPath(rt)))
		}
		tab, kept := table(t, entries)
		for range 30 {
			host := rapid.SampledFrom([]string{"a.test", "b.a.test", "c.b.a.test", "x.y.test", "test", "other", ".a.test"}).Draw(rt, "asked")
			method := genMethod.Draw(rt, "by")
			path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "%61", "a%20b", "z", "c"}), 0, 5).Draw(rt, "path"), "/")
			if path != "/" && rapid.Bool().Draw(rt, "slash") {
				path += "/"
			}
			found, _, err := tab.Match(host, method, path)
			if err != nil {
				rt.Fatalf("%s: %v", path, err)
			}
			var got *Entry
			if found != nil {
				got = found.Entry
			}
			if want := naive(kept, host, method, path); got != want {
				rt.Fatalf("%s %s%s leads to %v, want %v", method, host, path, titleOf(got), titleOf(want))
			}
		}
	})
}

func titleOf(e *Entry) string {
	if e == nil {
		return "nothing"
	}
	return e.Title()
}

func TestParameters(t *testing.T) {
	tab, _ := table(t, []*Entry{entry(t, "", "GET", "/orders/{id}/items/{rest+}")})
	found, _, err := tab.Match("any", "GET", "/orders/a%2Fb/items/x/y%20z/")
	if err != nil || found == nil {
		t.Fatalf("no route: %v", err)
	}
	var got []string
	for name, value := range found.Params {
		got = append(got, name+"="+value)
	}
	if want := []string{"id=a/b", "rest=x/y z/"}; !slices.Equal(got, want) {
		t.Errorf("parameters %q, want %q", got, want)
	}
}

func TestOtherMethods(t *testing.T) {
	tab, _ := table(t, []*Entry{entry(t, "", "GET", "/a"), entry(t, "", "PUT", "/{x}")})
	found, methods, err := tab.Match("h", "DELETE", "/a")
	slices.SortFunc(methods, cmp.Compare)
	if found != nil || err != nil || !slices.Equal(methods, []string{"GET", "PUT"}) {
		t.Errorf("DELETE: %v %v %v", found, methods, err)
	}
}

// TestAmbiguousPaths are those by which one route could be entered in the name of
// another.
func TestAmbiguousPaths(t *testing.T) {
	tab, _ := table(t, []*Entry{entry(t, "", "", "/public/{rest+}"), entry(t, "", "", "/admin/{rest+}")})
	for _, path := range []string{
		"/public/../admin/x", "/public/%2e%2e/admin/x", "/public/..%2fadmin/x", "/public/.%2E/admin", "//admin/x", "/public//x",
		"/public/./x", `/public/..\admin/x`, "/public/..%5cadmin/x", "/public/%zz", "*", "",
	} {
		if found, _, err := tab.Match("h", "GET", path); !errors.Is(err, ErrPath) {
			t.Errorf("%q: %v %v", path, found, err)
		}
	}
	for _, path := range []string{"/public/...", "/public/a..b", "/public/.git", "/public/%ff"} {
		if found, _, err := tab.Match("h", "GET", path); err != nil || found == nil {
			t.Errorf("%q: %v %v", path, found, err)
		}
	}
}

func TestConflict(t *testing.T) {
	var tab Table
	for _, pair := range [][2]string{{"/a/{x}", "/a/{y}"}, {"/a", "/a"}, {"/{x+}", "/{y+}"}, {"$default", "$default"}} {
		_, err := tab.With("", []*Entry{entry(t, "", "GET", pair[0]), entry(t, "", "GET", pair[1])})
		var conflict *ConflictError
		if !errors.As(err, &conflict) || strings.Contains(err.Error(), "*"+lambent.RouteDefault) {
			t.Errorf("%v: %v", pair, err)
		}
	}
	if _, err := tab.With("", []*Entry{entry(t, "", "GET", "/a/{x}"), entry(t, "", "", "/a/{x}"), entry(t, "", "GET", "/a/{x+}")}); err != nil {
		t.Error(err)
	}
}

func TestHostsComeAndGo(t *testing.T) {
	tab, _ := table(t, []*Entry{entry(t, "*.a.test", "", "/x"), entry(t, "b.test", "", "/x")})
	for host, want := range map[string]bool{"b.test": true, "q.a.test": true, "a.test": false, ".a.test": false, "c.test": false, "": false} {
		if got := tab.Serves(host); got != want {
			t.Errorf("Serves(%q) is %v", host, got)
		}
	}
	less, err := tab.With("*.a.test", nil)
	if err != nil || less.Serves("q.a.test") || !tab.Serves("q.a.test") {
		t.Errorf("the host stayed, or left the old table too (%v)", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	good := lambent.Route{Path: "/a", Function: "f", Format: "2.0", Access: "public"}
	for name, spoil := range map[string]func(*lambent.Route){
		"host":            func(r *lambent.Route) { r.Host = "Upper.test" },
		"wildcard inside": func(r *lambent.Route) { r.Host = "a.*.test" },
		"method":          func(r *lambent.Route) { r.Method = "get" },
		"relative":        func(r *lambent.Route) { r.Path = "a" },
		"dots":            func(r *lambent.Route) { r.Path = "/a/../b" },
		"query":           func(r *lambent.Route) { r.Path = "/a?x" },
		"open brace":      func(r *lambent.Route) { r.Path = "/{a" },
		"greedy inside":   func(r *lambent.Route) { r.Path = "/{a+}/b" },
		"twice":           func(r *lambent.Route) { r.Path = "/{a}/{a}" },
		"by name":         func(r *lambent.Route) { r.Path = "/fn/{rest+}" },
		"too many":        func(r *lambent.Route) { r.Path = strings.Repeat("/{a}", 1) + manyParams() },
		"function":        func(r *lambent.Route) { r.Function = "a b" },
		"format":          func(r *lambent.Route) { r.Format = "3.0" },
		"access":          func(r *lambent.Route) { r.Access = "" },
		"jwt without":     func(r *lambent.Route) { r.Access = "jwt" },
		"plain key set": func(r *lambent.Route) {
			r.Access, r.JWT = "jwt", &lambent.RouteJWT{Issuer: "i", Audiences: []string{"a"}, KeysURL: "http://127.test/keys"}
		},
		"network":        func(r *lambent.Route) { r.Access, r.Networks = "internal", []string{"10.0.0.1"} },
		"network public": func(r *lambent.Route) { r.Networks = []string{"10.0.0.0/8"} },
		"rate":           func(r *lambent.Route) { r.Rate = -1 },
		"no burst":       func(r *lambent.Route) { r.Rate = 1 },
		"no rate":        func(r *lambent.Route) { r.Burst = 1 },
		"long burst":     func(r *lambent.Route) { r.Rate, r.Burst = 0.001, 1000000 },
		"timeout":        func(r *lambent.Route) { r.TimeoutSeconds = 901 },
		"mapping": func(r *lambent.Route) {
			r.Request = []lambent.Mapping{{Do: "set", In: "header", Name: "Host", Value: "x"}}
		},
		"mapping line": func(r *lambent.Route) {
			r.Request = []lambent.Mapping{{Do: "set", In: "header", Name: "A", Value: "x\r\ny"}}
		},
		"variable": func(r *lambent.Route) {
			r.Request = []lambent.Mapping{{Do: "set", In: "header", Name: "A", Value: "${env.HOME}"}}
		},
		"answer's query": func(r *lambent.Route) { r.Response = []lambent.Mapping{{Do: "remove", In: "query", Name: "A"}} },
		"affinity":       func(r *lambent.Route) { r.AffinityCookie, r.AffinityHeader = "a", "b" },
	} {
		r := good
		spoil(&r)
		if _, err := Compile(&r); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Compile(&good); err != nil {
		t.Error(err)
	}
}

func manyParams() (path string) {
	for i := range maxParams {
		path += fmt.Sprintf("/{p%d}", i)
	}
	return path
}

func FuzzMatch(f *testing.F) {
	for _, path := range []string{"/", "/a/b", "/a/%2e%2e/b", "/%", "/a//b", "/a/x/y/z", "*"} {
		f.Add("GET", path)
	}
	tab, kept := table(f, []*Entry{entry(f, "", "GET", "/a/{x}"), entry(f, "", "", "/a/b"), entry(f, "", "GET", "/a/{rest+}"), entry(f, "", "POST", "/"), entry(f, "", "PUT", "$default")})
	f.Fuzz(func(t *testing.T, method, path string) {
		found, _, err := tab.Match("h", method, path)
		if err != nil {
			return
		}
		var got *Entry
		if found != nil {
			got = found.Entry
			for name, value := range found.Params {
				if value == "" {
					t.Errorf("%q: parameter %s is empty", path, name)
				}
			}
		}
		if want := naive(kept, "h", method, path); got != want {
			t.Errorf("%s %q leads to %s, want %s", method, path, titleOf(got), titleOf(want))
		}
	})
}

// many is n routes over a hundred hosts.
func many(b *testing.B, n int) *Table {
	byHost := map[string][]*Entry{}
	for i := range n {
		host := fmt.Sprintf("h%d.example.com", i%100)
		byHost[host] = append(byHost[host], entry(b, host, "GET", fmt.Sprintf("/api/r%d/{id}/items", i)))
	}
	tab := &Table{}
	for host, entries := range byHost {
		next, err := tab.With(host, entries)
		if err != nil {
			b.Fatal(err)
		}
		tab = next
	}
	return tab
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tab := many(b, n)
			last := n - 1
			host, path := fmt.Sprintf("h%d.example.com", last%100), fmt.Sprintf("/api/r%d/42/items", last)
			b.ReportAllocs()
			for b.Loop() {
				if found, _, _ := tab.Match(host, "GET", path); found == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

// BenchmarkWith is what one more route costs a host that has n.
func BenchmarkWith(b *testing.B) {
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var entries []*Entry
			for i := range n {
				entries = append(entries, entry(b, "", "GET", fmt.Sprintf("/api/r%d/{id}/items", i)))
			}
			for b.Loop() {
				if _, err := (&Table{}).With("", entries); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
