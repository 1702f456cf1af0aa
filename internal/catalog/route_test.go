package catalog

import (
	"context"
	"errors"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/route"
	"lambent.dev/lambent/internal/store"
)

func routed(t *testing.T) *fixture {
	t.Helper()
	x := open(t)
	x.create("f")
	return x
}

// leads tells where a request goes.
func (x *fixture) leads(c *Catalog, method, host, path string) string {
	x.t.Helper()
	found, _, err := c.Routes().Match(host, method, path)
	if err != nil || found == nil {
		return ""
	}
	return found.ID
}

func TestRoutesSurviveARestart(t *testing.T) {
	x := routed(t)
	put, err := x.PutRoutes(t.Context(), ns, []lambent.Route{
		{Host: "API.test.", Method: "GET", Path: "/o/{id}", Function: "f", Rate: 2.5},
		{Path: lambent.RouteDefault, Method: "ANY", Function: "f", Access: "public"},
	})
	if err != nil {
		t.Fatal(err)
	}
	one, rest := put[0], put[1]
	if one.Host != "api.test" || one.Access != "iam" || one.Format != "2.0" || one.Burst != 3 || rest.Method != "" {
		t.Errorf("defaults: %+v %+v", one, rest)
	}
	again, err := Open(t.Context(), x.options)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Catalog{x.Catalog, again} {
		if x.leads(c, "GET", "api.test", "/o/1") != one.ID || x.leads(c, "PUT", "api.test", "/o/1") != rest.ID || len(c.ListRoutes(ns)) != 2 {
			t.Errorf("routes are %+v", c.ListRoutes(ns))
		}
	}
	if err := x.DeleteRoute(t.Context(), ns, one.ID); err != nil {
		t.Fatal(err)
	}
	if x.leads(x.Catalog, "GET", "api.test", "/o/1") != rest.ID {
		t.Error("a deleted route still leads")
	}
	if err := x.DeleteRoute(t.Context(), ns, one.ID); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("delete again: %v", err)
	}
}

func TestRouteIsReplaced(t *testing.T) {
	x := routed(t)
	put, err := x.PutRoutes(t.Context(), ns, []lambent.Route{{Path: "/a", Function: "f"}})
	if err != nil {
		t.Fatal(err)
	}
	was := put[0]
	change := *was
	change.Path = "/b"
	put, err = x.PutRoutes(t.Context(), ns, []lambent.Route{change})
	if err != nil || put[0].ID != was.ID || !put[0].Created.Equal(was.Created) {
		t.Fatalf("replace: %+v %v", put, err)
	}
	if x.leads(x.Catalog, "GET", "h", "/a") != "" || x.leads(x.Catalog, "GET", "h", "/b") != was.ID || was.Path != "/a" {
		t.Error("the route leads from where it was, or was changed in place")
	}
}

func TestRoutesAreRefused(t *testing.T) {
	x := routed(t)
	if _, err := x.PutRoutes(t.Context(), ns, []lambent.Route{{Host: "a.test", Path: "/a", Function: "f"}, {Host: "*.w.test", Path: "/a", Function: "f"}, {Path: "/a", Function: "f"}}); err != nil {
		t.Fatal(err)
	}
	const other = "222222222222"
	y := func(r lambent.Route) error {
		_, err := x.PutRoutes(t.Context(), ns, []lambent.Route{{Host: "fresh.test", Path: "/x", Function: "f"}, r})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		code lambent.Code
	}{
		"no function": {y(lambent.Route{Path: "/n", Function: "none"}), lambent.CodeNotFound},
		"no alias":    {y(lambent.Route{Path: "/n", Function: "f", Qualifier: "none"}), lambent.CodeNotFound},
		"no path":     {y(lambent.Route{Function: "f"}), lambent.CodeInvalid},
		"taken":       {y(lambent.Route{Host: "a.test", Path: "/a", Function: "f"}), lambent.CodeConflict},
		"twice":       {y(lambent.Route{Host: "fresh.test", Path: "/x", Function: "f"}), lambent.CodeConflict},
		"no id":       {y(lambent.Route{ID: "0123456789abcdef", Path: "/n", Function: "f"}), lambent.CodeNotFound},
	} {
		if lambent.CodeOf(c.err) != c.code {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if x.leads(x.Catalog, "GET", "fresh.test", "/x") != "" || len(x.ListRoutes(ns)) != 3 {
		t.Error("a part of a refused batch was applied")
	}
	if err := ownHosts(other, []*lambent.Route{{Host: "free.test"}}, *x.routing.entries.Load()); err != nil {
		t.Error(err)
	}
	for _, host := range []string{"a.test", "b.w.test", "*.w.test", "*.test", "*.b.w.test", ""} {
		if err := ownHosts(other, []*lambent.Route{{Host: host}}, *x.routing.entries.Load()); lambent.CodeOf(err) != lambent.CodeConflict {
			t.Errorf("another namespace took %q: %v", host, err)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	x := routed(t)
	made, key, err := x.CreateAPIKey(t.Context(), ns, "mobile")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), x.options)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Catalog{x.Catalog, again} {
		if k := c.APIKey(route.HashKey(key)); k == nil || k.Name != "mobile" || k.Namespace != ns {
			t.Errorf("the key is %+v", k)
		}
		if c.APIKey(made.Hash[:10]) != nil || c.APIKey(route.HashKey(string(made.Hash))) != nil {
			t.Error("what is no key opens")
		}
	}
	for r, err := range x.options.Records.Scan(t.Context(), "") {
		if err != nil || strings.Contains(string(r.Value), key) {
			t.Errorf("%s holds the key itself (%v)", r.Key, err)
		}
	}
	if _, _, err := x.CreateAPIKey(t.Context(), ns, "mobile"); lambent.CodeOf(err) != lambent.CodeConflict {
		t.Errorf("again: %v", err)
	}
	if _, _, err := x.CreateAPIKey(t.Context(), ns, "a/b"); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("slash: %v", err)
	}
	if err := x.DeleteAPIKey(t.Context(), ns, "mobile"); err != nil || x.APIKey(route.HashKey(key)) != nil {
		t.Errorf("the key still opens (%v)", err)
	}
}

// unsure is a store whose commits are applied and fail all the same.
type unsure struct{ store.Records }

func (u unsure) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	for _, op := range ops {
		if strings.HasPrefix(op.Key, "route/") {
			_, _ = u.Records.Commit(ctx, ops...)
			return 0, errors.New("the answer was lost")
		}
	}
	return u.Records.Commit(ctx, ops...)
}

func TestRouteAfterALostAnswer(t *testing.T) {
	x := openOn(t, unsure{store.NewMemory()})
	x.create("f")
	if _, err := x.PutRoutes(t.Context(), ns, []lambent.Route{{Path: "/a", Function: "f"}}); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Fatalf("put: %v", err)
	}
	if x.leads(x.Catalog, "GET", "h", "/a") == "" {
		t.Error("the store has a route that the snapshot has not")
	}
}
