package catalog

import (
	"net/http"
	"testing"

	"lambent.dev/lambent"
)

func TestRulesOfAnAlias(t *testing.T) {
	x := open(t)
	x.create("f")
	x.publishVersion("f")
	x.describe("f", "two")
	x.publishVersion("f")
	rules := []lambent.AliasRule{
		{Header: "x-tester", Value: "yes", Version: "2"},
		{Cookie: "beta", Value: "1", Version: lambent.Latest},
	}
	if _, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1", Rules: rules}); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			header http.Header
			want   string
		}{
			{http.Header{}, ""},
			{http.Header{"X-Tester": {"no", "yes"}}, "2"},
			{http.Header{"X-Tester": {"no"}, "Cookie": {"a=b; beta=1"}}, lambent.Latest},
			{http.Header{"Cookie": {"beta=10"}}, ""},
			{http.Header{"Cookie": {"=;;; bad\x00"}}, ""},
		} {
			if got := x.Steer(ns, "f", "live", c.header); got != c.want {
				t.Errorf("%s: %v goes to %q, want %q", when, c.header, got, c.want)
			}
		}
		if got := x.Steer(ns, "f", "", http.Header{"X-Tester": {"yes"}}); got != "" {
			t.Errorf("%s: without the alias it goes to %q", when, got)
		}
	}
	check("at first")
	again, err := Open(t.Context(), x.options)
	x.ok(err)
	x.Catalog = again
	check("after a restart")
	x.refused(x.DeleteFunction(t.Context(), ns, "f", "2"), lambent.CodeConflict, "Unable to delete version because the following aliases reference it: [live]")
	for _, wrong := range []lambent.AliasRule{
		{Value: "x", Version: "1"}, {Header: "a", Cookie: "b", Value: "x", Version: "1"}, {Header: "a b", Value: "x", Version: "1"},
		{Header: "a", Version: "1"}, {Header: "a", Value: "x", Version: "9"},
	} {
		_, err := x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Rules: &[]lambent.AliasRule{wrong}})
		if err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
	none := []lambent.AliasRule{}
	if _, err := x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Rules: &none}); err != nil {
		t.Fatal(err)
	}
	if got := x.Steer(ns, "f", "live", http.Header{"X-Tester": {"yes"}}); got != "" {
		t.Errorf("without rules it goes to %q", got)
	}
}
