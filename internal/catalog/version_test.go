package catalog

import (
	"math"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

func TestPublishVersion(t *testing.T) {
	x := open(t)
	_, err := x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f"})
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f")
	x.create("f")
	_, err = x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f", CodeSHA256: "wrong"})
	sha := x.head("f").Code.Digest.CodeSHA256()
	x.refused(err, lambent.CodeInvalid, "CodeSHA256 (wrong) is different from current CodeSHA256 in $LATEST ("+sha+"). Please try again with the CodeSHA256 in $LATEST.")
	one, err := x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f", CodeSHA256: sha, Description: ptr("of its own")})
	x.ok(err)
	if one.Number != "1" || one.Description != "of its own" || one.State != lambent.StateActive || one.UpdateStatus != lambent.UpdateSuccessful {
		t.Errorf("version: %+v", one)
	}
	again, err := x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f", Description: ptr("another")})
	x.ok(err)
	if again != one {
		t.Errorf("publishing nothing new: %+v", again)
	}
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"tags": "are not configuration"}))
	if v := x.publishVersion("f"); v != one {
		t.Errorf("publishing after a tag: %+v", v)
	}
	x.describe("f", "two")
	two := x.publishVersion("f")
	if two.Number != "2" || two.Description != "two" {
		t.Errorf("second: %+v", two)
	}
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "2"))
	if v := x.publishVersion("f"); v.Number != "3" {
		t.Errorf("after the last one was deleted: %+v", v)
	}
	got, next, err := x.Versions(ns, "f", "", 0)
	x.ok(err)
	if list := numbers(got); list != "$LATEST 1 3" || next != "" {
		t.Errorf("versions: %s, next %q", list, next)
	}
}

func numbers(vs []*lambent.Version) string {
	var b strings.Builder
	for _, v := range vs {
		b.WriteString(" " + v.Number)
	}
	return strings.TrimSpace(b.String())
}

func TestPublishOnCreate(t *testing.T) {
	x := open(t)
	in := input("f")
	in.Publish = true
	v, err := x.CreateFunction(t.Context(), in)
	x.ok(err)
	if v.Number != "1" || v.State != lambent.StatePending {
		t.Errorf("answer: %+v", v)
	}
	x.settleAll()
	e, err := x.Get(ns, "f", "1")
	x.ok(err)
	if e.Version.State != lambent.StateActive || e.Version.RevisionID == v.RevisionID || e.Version.RevisionID == x.head("f").RevisionID {
		t.Errorf("settled: %+v", e.Version)
	}
	if again := x.publishVersion("f"); again != e.Version {
		t.Errorf("published again: %+v", again)
	}
}

func TestVersionsAreManyAndInOrder(t *testing.T) {
	x := open(t)
	x.create("f")
	for i := range 12 {
		x.describe("f", strings.Repeat("x", i))
		x.publishVersion("f")
	}
	var all []*lambent.Version
	for after := ""; ; {
		page, next, err := x.Versions(ns, "f", after, 5)
		x.ok(err)
		all = append(all, page...)
		if after = next; next == "" {
			break
		}
		if len(page) != 5 {
			t.Errorf("a page of %d", len(page))
		}
	}
	if got := numbers(all); got != "$LATEST 1 2 3 4 5 6 7 8 9 10 11 12" {
		t.Errorf("versions: %s", got)
	}
	for _, q := range []string{"0", "01", "+1", "13", "99999999999"} {
		if v, err := x.Resolve(ns, "f", q); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("Resolve(%q) = %+v, %v", q, v, err)
		}
	}
}

func TestAliasRefusals(t *testing.T) {
	x := open(t)
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f:1")
	_, err = x.Alias(ns, "f", "live")
	x.refused(err, lambent.CodeNotFound, "Cannot find alias arn: A:function:f:live")
	x.refused(x.DeleteAlias(t.Context(), ns, "f", "live"), lambent.CodeNotFound, "Function not found: A:function:f")
	x.create("f")
	x.publishVersion("f")
	x.describe("f", "two")
	x.publishVersion("f")
	for name, tt := range map[string]struct {
		alias   lambent.Alias
		code    lambent.Code
		message string
	}{
		"too many":       {lambent.Alias{Version: "1", Weights: map[string]float64{"1": 0.5, "2": 0.5}}, lambent.CodeInvalid, "Number of items in AdditionalVersionWeights cannot be greater than 1"},
		"same version":   {lambent.Alias{Version: "1", Weights: map[string]float64{"1": 0.5}}, lambent.CodeInvalid, "Invalid function version 1. Function version 1 is already included in routing configuration."},
		"no such":        {lambent.Alias{Version: "10"}, lambent.CodeNotFound, "Function not found: A:function:f:10"},
		"no such weight": {lambent.Alias{Version: "1", Weights: map[string]float64{"10": 0.5}}, lambent.CodeNotFound, "Function not found: A:function:f:10"},
		"latest":         {lambent.Alias{Version: "$LATEST", Weights: map[string]float64{"1": 0.5}}, lambent.CodeInvalid, "$LATEST is not supported for an alias pointing to more than 1 version"},
		"weight":         {lambent.Alias{Version: "1", Weights: map[string]float64{"2": 1.5}}, lambent.CodeInvalid, "The weight of version 2 must be from 0.0 to 1.0"},
		"not a number":   {lambent.Alias{Version: "1", Weights: map[string]float64{"2": math.NaN()}}, lambent.CodeInvalid, "The weight of version 2 must be from 0.0 to 1.0"},
		"a number":       {lambent.Alias{Name: "12", Version: "1"}, lambent.CodeInvalid, `"12" is not a valid alias name`},
		"a path":         {lambent.Alias{Name: "a/b", Version: "1"}, lambent.CodeInvalid, `"a/b" is not a valid alias name`},
	} {
		t.Run(name, func(t *testing.T) {
			a := tt.alias
			a.Namespace, a.Function = ns, "f"
			if a.Name == "" {
				a.Name = "live"
			}
			_, err := x.CreateAlias(t.Context(), a)
			x.refused(err, tt.code, tt.message)
		})
	}
}

func TestAliasLifecycle(t *testing.T) {
	x := open(t)
	x.create("f")
	x.publishVersion("f")
	x.describe("f", "two")
	x.publishVersion("f")
	w := map[string]float64{"2": 0.25}
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1", Weights: w})
	x.ok(err)
	w["2"] = 1
	_, err = x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.refused(err, lambent.CodeConflict, "Alias already exists: A:function:f:live")
	for _, name := range []string{"-", "2024-01-02", "edge"} {
		_, err = x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: name, Version: "$LATEST"})
		x.ok(err)
	}
	x.weigh("live", map[string]int{"1": 750, "2": 250})
	if e, err := x.Get(ns, "f", "live"); err != nil || e.Version.Number != "1" || e.Alias.Weights["2"] != 0.25 {
		t.Errorf("get: %+v, %v", e, err)
	}
	_, err = x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "none"})
	x.refused(err, lambent.CodeNotFound, "Alias not found: A:function:f:none")
	_, err = x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Version: ptr("2")})
	x.refused(err, lambent.CodeInvalid, "Invalid function version 2. Function version 2 is already included in routing configuration.")
	a, err := x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Version: ptr("2"), Weights: &map[string]float64{}})
	x.ok(err)
	if a.Weights != nil || a.Version != "2" {
		t.Errorf("updated: %+v", a)
	}
	page, next, err := x.Aliases(ns, "f", "", "", 2)
	x.ok(err)
	rest, end, err := x.Aliases(ns, "f", "", next, 2)
	x.ok(err)
	if got := page[0].Name + page[1].Name + rest[0].Name + rest[1].Name; got != "-2024-01-02edgelive" || end != "" {
		t.Errorf("aliases: %s, end %q", got, end)
	}
	if of, _, _ := x.Aliases(ns, "f", "2", "", 0); len(of) != 1 || of[0].Name != "live" {
		t.Errorf("aliases of version 2: %v", of)
	}
	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	_, err = x.Resolve(ns, "f", "live")
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f:live")
}

// weigh counts where 1000 evenly spread draws of an alias lead.
func (x *fixture) weigh(name string, want map[string]int) {
	x.t.Helper()
	a, err := x.Alias(ns, "f", name)
	x.ok(err)
	got := map[string]int{}
	for i := range 1000 {
		got[draw(a, float64(i)/1000)]++
	}
	for number, n := range want {
		if got[number] != n {
			x.t.Errorf("version %s drawn %d times of 1000, want %d", number, got[number], n)
		}
	}
	seen := map[string]bool{}
	for range 200 {
		v, err := x.Resolve(ns, "f", name)
		x.ok(err)
		seen[v.Number] = true
	}
	if len(seen) != len(want) { // fails once in 10^24
		x.t.Errorf("200 calls ran %v", seen)
	}
}

func TestList(t *testing.T) {
	x := open(t)
	for _, name := range []string{"b", "c", "a", "d"} {
		x.create(name)
	}
	x.publishVersion("b")
	x.describe("b", "two")
	x.publishVersion("b")
	x.publishVersion("d")
	other := input("z")
	other.Version.Namespace = "222222222222"
	_, err := x.CreateFunction(t.Context(), other)
	x.ok(err)

	for _, tt := range []struct {
		all   bool
		limit int
		want  string
	}{
		{false, 0, "a:$LATEST b:$LATEST c:$LATEST d:$LATEST |"},
		{false, 3, "a:$LATEST b:$LATEST c:$LATEST | d:$LATEST |"},
		{false, 4, "a:$LATEST b:$LATEST c:$LATEST d:$LATEST |"},
		{true, 0, "a:$LATEST b:$LATEST b:1 b:2 c:$LATEST d:$LATEST d:1 |"},
		{true, 3, "a:$LATEST b:$LATEST b:1 | b:2 c:$LATEST d:$LATEST | d:1 |"},
		{true, 1, "a:$LATEST | b:$LATEST | b:1 | b:2 | c:$LATEST | d:$LATEST | d:1 |"},
	} {
		got, after := "", ""
		for {
			page, next := x.List(ns, tt.all, after, tt.limit)
			for _, v := range page {
				got += v.Function + ":" + v.Number + " "
			}
			got += "| "
			if after = next; next == "" {
				break
			}
		}
		if strings.TrimSpace(got) != tt.want {
			t.Errorf("all %v, limit %d: %s, want %s", tt.all, tt.limit, got, tt.want)
		}
	}
	_, next := x.List(ns, false, "", 2)
	x.ok(x.DeleteFunction(t.Context(), ns, "b", "")) // which the mark names
	if page, _ := x.List(ns, false, next, 0); len(page) != 2 || page[0].Function != "c" {
		t.Errorf("after a deleted mark: %v", page)
	}
	if page, next := x.List("333333333333", true, "", 5); page != nil || next != "" {
		t.Errorf("a namespace without functions: %v, %q", page, next)
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	x := open(t)
	x.create("f")
	x.publishVersion("f")
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.ok(err)
	for _, q := range []string{"", "$LATEST", "1", "live"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = x.Resolve(ns, "f", q) }); n > 0 {
			t.Errorf("Resolve(%q) allocates %v times", q, n)
		}
	}
}
