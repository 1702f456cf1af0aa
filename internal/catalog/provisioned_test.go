package catalog

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// provision asks for instances of f.
func (x *fixture) provision(qualifier string, n int) error {
	_, err := x.PutProvisioned(x.t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: qualifier, Requested: n})
	return err
}

// versions makes f with the versions 1 and 2 and the alias live, which is 1.
func (x *fixture) versions() {
	x.t.Helper()
	x.create("f")
	x.publishVersion("f")
	x.describe("f", "two")
	x.publishVersion("f")
	x.describe("f", "three")
	x.alias("live", "1", nil)
}

func (x *fixture) alias(name, version string, weights map[string]float64) {
	x.t.Helper()
	_, err := x.CreateAlias(x.t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: name, Version: version, Weights: weights})
	x.ok(err)
}

const (
	onUnpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
	onProvisioned = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
	isPointedAt   = "Version is pointed by a Provisioned Concurrency alias"
)

func TestProvisionRefusals(t *testing.T) {
	x := open(t)
	x.refused(x.provision("live", 1), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:live")
	x.refused(x.provision("1", 1), lambent.CodeNotFound, "Function not found: A:function:f:1")
	x.versions()
	x.alias("head", lambent.Latest, nil)
	x.alias("split", "1", map[string]float64{"2": 0.5})
	x.alias("other", "1", nil)
	x.refused(x.provision(lambent.Latest, 1), lambent.CodeInvalid, onUnpublished)
	x.refused(x.provision("", 1), lambent.CodeInvalid, onUnpublished)
	x.refused(x.provision("head", 1), lambent.CodeInvalid, onUnpublished)
	x.refused(x.provision("none", 1), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:none")
	x.refused(x.provision("3", 1), lambent.CodeNotFound, "Function not found: A:function:f:3")
	x.refused(x.provision("split", 1), lambent.CodeInvalid, "Alias with weights can not be used with Provisioned Concurrency")

	x.ok(x.provision("1", 1))
	x.refused(x.provision("live", 1), lambent.CodeConflict, onProvisioned)
	x.ok(x.DeleteProvisioned(t.Context(), ns, "f", "1"))
	x.ok(x.provision("live", 1))
	x.refused(x.provision("1", 1), lambent.CodeConflict, isPointedAt)
	x.refused(x.provision("other", 1), lambent.CodeConflict, onProvisioned)
	x.ok(x.provision("2", 1))
	move := UpdateAlias{Namespace: ns, Function: "f", Name: "live", Version: ptr("2")}
	_, err := x.UpdateAlias(t.Context(), move)
	x.refused(err, lambent.CodeConflict, onProvisioned)
	move.Version = ptr(lambent.Latest)
	_, err = x.UpdateAlias(t.Context(), move)
	x.refused(err, lambent.CodeInvalid, onUnpublished)
	x.ok(x.DeleteProvisioned(t.Context(), ns, "f", "2"))
	move.Version, move.Weights = ptr("2"), &map[string]float64{"1": 0.9}
	if _, err = x.UpdateAlias(t.Context(), move); err != nil { // as a deployment shifts traffic
		t.Errorf("a provisioned alias that gets weights: %v", err)
	}
}

func TestProvisionWithinTheConcurrency(t *testing.T) {
	x := open(t)
	x.versions()
	x.create("g")
	x.refused(x.provision("1", 1001), lambent.CodeInvalid, "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000].")
	const low = "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
	x.refused(x.provision("1", 901), lambent.CodeInvalid, low)
	x.ok(x.provision("1", 900))
	x.ok(x.provision("1", 900)) // its own does not count twice
	x.refused(x.provision("2", 1), lambent.CodeInvalid, low)
	x.refused(x.SetReserved(t.Context(), ns, "g", ptr(1)), lambent.CodeInvalid, "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
	if n := x.Taken(ns, ""); n != 900 {
		t.Errorf("%d are taken", n)
	}
	x.refused(x.SetReserved(t.Context(), ns, "f", ptr(0)), lambent.CodeInvalid, " ReservedConcurrentExecutions  0 should not be lower than function's total provisioned concurrency [900].")
	x.ok(x.provision("1", 2))
	x.ok(x.SetReserved(t.Context(), ns, "f", ptr(5)))
	x.ok(x.provision("2", 3))
	x.refused(x.provision("2", 4), lambent.CodeInvalid, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
	if n := x.Taken(ns, ""); n != 5 {
		t.Errorf("%d are taken", n)
	}
	windows := []lambent.Window{{Start: "0 8 * * *", Duration: time.Hour, Count: 4}}
	_, err := x.PutProvisioned(t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: "2", Requested: 1, Windows: &windows})
	x.refused(err, lambent.CodeInvalid, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
}

func TestProvisionWindows(t *testing.T) {
	x := open(t)
	x.versions()
	put := func(w ...lambent.Window) error {
		_, err := x.PutProvisioned(t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: "live", Requested: 2, Windows: &w})
		return err
	}
	good := lambent.Window{Start: "0 8 * * 1-5", Duration: 9 * time.Hour, Count: 5}
	for name, w := range map[string]lambent.Window{
		"no start": {Duration: time.Hour}, "long start": {Start: strings.Repeat("*", 257), Duration: time.Hour},
		"no time": {Start: "* * * * *"}, "long time": {Start: "* * * * *", Duration: 169 * time.Hour},
		"negative": {Start: "* * * * *", Duration: time.Hour, Count: -1}, "many": {Start: "* * * * *", Duration: time.Hour, Count: math.MaxInt},
	} {
		if err := put(good, w); lambent.ReasonOf(err) != "Windows" || !strings.HasPrefix(err.Error(), "window 2: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(make([]lambent.Window, 33)...); lambent.ReasonOf(err) != "Windows" {
		t.Errorf("33 windows: %v", err)
	}
	x.ok(put(good))
	x.ok(x.provision("live", 3)) // as AWS's API, which knows no windows
	p, err := x.Provisioned(ns, "f", "live")
	x.ok(err)
	if p.Requested != 3 || !slices.Equal(p.Windows, []lambent.Window{good}) {
		t.Errorf("provisioned: %+v", p)
	}
	x.ok(x.provision("live", 0)) // outside of the windows
	x.refused(x.provision("2", 0), lambent.CodeInvalid, "0 instances are no provisioned concurrency; it is ended by deleting it")
	x.refused(x.provision("live", -1), lambent.CodeInvalid, "-1 instances are no provisioned concurrency; it is ended by deleting it")
	x.ok(x.provision("live", 3))
	x.ok(put())
	if p, err = x.Provisioned(ns, "f", "live"); err != nil || len(p.Windows) != 0 {
		t.Errorf("provisioned: %+v, %v", p, err)
	}
}

func TestProvisionedReads(t *testing.T) {
	x := open(t)
	_, err := x.Provisioned(ns, "f", "1")
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f:1")
	_, _, err = x.ListProvisioned(ns, "f", "", 0)
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f")
	x.refused(x.DeleteProvisioned(t.Context(), ns, "f", "live"), lambent.CodeNotFound, "Cannot find alias arn: A:function:f:live")
	x.versions()
	_, err = x.Provisioned(ns, "f", "live")
	x.refused(err, lambent.CodeNotFound, "No Provisioned Concurrency Config found for this function")
	_, err = x.Provisioned(ns, "f", lambent.Latest)
	x.refused(err, lambent.CodeInvalid, "The function resource provided must be an alias or a published version.")
	x.ok(x.DeleteProvisioned(t.Context(), ns, "f", "live"))
	x.ok(x.provision("live", 1))
	x.ok(x.provision("2", 2))
	items, next, err := x.ListProvisioned(ns, "f", "", 1)
	if err != nil || len(items) != 1 || items[0].Qualifier != "2" || next != "2" {
		t.Errorf("first page: %v, %q, %v", items, next, err)
	}
	if items, next, err = x.ListProvisioned(ns, "f", next, 1); err != nil || len(items) != 1 || items[0].Qualifier != "live" || next != "" {
		t.Errorf("second page: %v, %q, %v", items, next, err)
	}
	for k := range x.Kept() {
		if k.Function.Name != "f" || len(k.Provisioned) != 2 {
			t.Errorf("kept: %+v", k)
		}
	}
}

func TestWeighted(t *testing.T) {
	x := open(t)
	x.versions()
	x.alias("split", "1", map[string]float64{"2": 0.5})
	var names []string
	for a := range x.Weighted() {
		names = append(names, a.Name)
	}
	if !slices.Equal(names, []string{"split"}) {
		t.Errorf("weighted: %v", names)
	}
}

func TestProvisionedGoesWithItsTarget(t *testing.T) {
	x := open(t)
	x.versions()
	x.ok(x.provision("live", 1))
	x.ok(x.provision("2", 2))
	_, err := x.SetSettings(t.Context(), ns, "f", func(s *lambent.Settings) error {
		s.MinInstances = map[string]int{"live": 1, "2": 1, lambent.Latest: 1}
		return nil
	})
	x.ok(err)
	left := func() string {
		items, _, err := x.ListProvisioned(ns, "f", "", 0)
		x.ok(err)
		var names []string
		for _, p := range items {
			names = append(names, p.Qualifier)
		}
		e, err := x.Get(ns, "f", "")
		x.ok(err)
		return fmt.Sprint(names, slices.Sorted(maps.Keys(e.Function.Settings.MinInstances)))
	}
	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	if got := left(); got != "[2] [$LATEST 2]" {
		t.Errorf("after the alias: %s", got)
	}
	x.alias("live", "1", nil) // a new one by that name begins with nothing
	_, err = x.Provisioned(ns, "f", "live")
	x.refused(err, lambent.CodeNotFound, "No Provisioned Concurrency Config found for this function")
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "2"))
	if got := left(); got != "[] [$LATEST]" {
		t.Errorf("after the version: %s", got)
	}
	x.ok(x.provision("live", 1))
	x.ok(x.DeleteFunction(t.Context(), ns, "f", ""))
	if text := dump(t, x.options.Records); text != "" {
		t.Errorf("after the function:\n%s", text)
	}
	if n := x.Taken(ns, ""); n != 0 {
		t.Errorf("%d are taken", n)
	}
}

func TestSettings(t *testing.T) {
	x := open(t)
	set := func(edit func(*lambent.Settings)) (lambent.Settings, error) {
		return x.SetSettings(t.Context(), ns, "f", func(s *lambent.Settings) error { edit(s); return nil })
	}
	_, err := set(func(*lambent.Settings) {})
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f")
	x.versions()
	keep := map[string]int{lambent.Latest: 2, "live": 0}
	got, err := set(func(s *lambent.Settings) { s.NoReserve, s.MinInstances = true, keep })
	x.ok(err)
	keep["1"] = 7 // the caller's map is not ours
	if want := (lambent.Settings{NoReserve: true, MinInstances: map[string]int{lambent.Latest: 2}}); !reflect.DeepEqual(got, want) {
		t.Errorf("settings: %+v", got)
	}
	if e, _ := x.Get(ns, "f", ""); !reflect.DeepEqual(e.Function.Settings, got) {
		t.Errorf("shown: %+v", e.Function.Settings)
	}
	for name, n := range map[string]int{lambent.Latest: -1, "live": 1001} {
		if _, err = set(func(s *lambent.Settings) { s.MinInstances = map[string]int{name: n} }); lambent.ReasonOf(err) != "OutOfRange" {
			t.Errorf("%s=%d: %v", name, n, err)
		}
	}
	_, err = set(func(s *lambent.Settings) { s.MinInstances["none"] = 1 })
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f:none")
	_, err = x.SetSettings(t.Context(), ns, "f", func(s *lambent.Settings) error {
		s.MinInstances[lambent.Latest] = 9
		return lambent.Errorf(lambent.CodeInvalid, "no")
	})
	x.refused(err, lambent.CodeInvalid, "no")
	if e, _ := x.Get(ns, "f", ""); e.Function.Settings.MinInstances[lambent.Latest] != 2 {
		t.Errorf("a refused edit shows: %+v", e.Function.Settings)
	}
	if want := []string{"f"}; !slices.Equal(x.wants, want) {
		t.Errorf("told of %v, want %v", x.wants, want)
	}
}

func TestSnapStartExcludes(t *testing.T) {
	x := open(t)
	x.create("f")
	snap := func(edit func(*lambent.Version)) error {
		_, err := x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "f", Apply: func(v *lambent.Version) {
			v.SnapStart = "PublishedVersions"
			edit(v)
		}})
		x.settleAll()
		return err
	}
	x.refused(snap(func(v *lambent.Version) { v.Runtime = "nodejs22.x" }), lambent.CodeInvalid, "nodejs22.x is not supported for SnapStart enabled functions.")
	x.refused(snap(func(v *lambent.Version) { v.EphemeralMB = 513 }), lambent.CodeInvalid, "Ephemeral storage greater than 512 MB is not supported for SnapStart enabled functions.")
	x.refused(snap(func(v *lambent.Version) { v.Extra = map[string][]byte{"FileSystemConfigs": []byte("[{}]")} }), lambent.CodeInvalid, "Amazon EFS is not supported for SnapStart enabled functions.")
	x.ok(snap(func(*lambent.Version) {}))
	x.publishVersion("f")
	x.refused(x.provision("1", 1), lambent.CodeInvalid, "Provisioned Concurrency is not supported for SnapStart enabled functions.")
}

// TestRecordsOfOlderServers opens what was written before there were settings.
func TestRecordsOfOlderServers(t *testing.T) {
	records := store.NewMemory()
	for key, value := range map[string]string{
		"function/" + ns + "/f":        `{"next":1}`,
		"version/" + ns + "/f/$LATEST": `{"digest":"d","size":1,"unpacked":1,"revisionId":"r","lastModified":"2026-01-01T00:00:00Z","state":"Active"}`,
	} {
		if _, err := records.Commit(t.Context(), store.Op{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	x := openOn(t, records)
	e, err := x.Get(ns, "f", "")
	x.ok(err)
	if !reflect.DeepEqual(e.Function.Settings, lambent.Settings{}) {
		t.Errorf("settings: %+v", e.Function.Settings)
	}
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"a": "b"}))
	if text := dump(t, records); strings.Contains(text, "settings") {
		t.Errorf("settings that nobody chose are written:\n%s", text)
	}
}

// TestProvisionedInvariants lets any order of changes happen: no version is
// provisioned twice, every configuration leads to a published version, and the
// sums stay within the limits. The fixture compares with a reopened catalog.
func TestProvisionedInvariants(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		x := open(t)
		x.versions()
		qualifier := rapid.SampledFrom([]string{"1", "2", "3", "live", "other", lambent.Latest})
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			q := qualifier.Draw(r, "qualifier")
			switch rapid.IntRange(0, 6).Draw(r, "step") {
			case 0, 1, 2:
				_ = x.provision(q, rapid.IntRange(1, 500).Draw(r, "n"))
			case 3:
				_ = x.DeleteProvisioned(t.Context(), ns, "f", q)
			case 4:
				_, _ = x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "other", Version: q})
				_, _ = x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Version: &q})
			case 5:
				_ = x.DeleteAlias(t.Context(), ns, "f", q)
			case 6:
				_ = x.SetReserved(t.Context(), ns, "f", rapid.Ptr(rapid.IntRange(0, 900), true).Draw(r, "reserved"))
			}
			checkProvisioned(r, x)
		}
		x.same()
	})
}

func checkProvisioned(r *rapid.T, x *fixture) {
	f := x.functions.get(id{ns, "f"})
	seen, sum := map[string]string{}, 0
	for _, p := range f.provisioned {
		v, _ := f.resolve(p.Qualifier)
		if v == nil || !v.Published() {
			r.Fatalf("%s is provisioned and leads to %v", p.Qualifier, v)
		}
		if other := seen[v.Number]; other != "" {
			r.Fatalf("version %s is provisioned by %s and %s", v.Number, other, p.Qualifier)
		}
		seen[v.Number], sum = p.Qualifier, sum+p.Requested
	}
	limit := lambent.DefaultConcurrency - minUnreserved
	if f.shared.Reserved != nil {
		limit = *f.shared.Reserved
	}
	if sum > limit {
		r.Fatalf("%d are provisioned, more than %d", sum, limit)
	}
}
