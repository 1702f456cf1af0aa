package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/store"
)

// faulty fails the next commit, before it was applied or after.
type faulty struct {
	store.Records
	before, after error
}

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	before, after := f.before, f.after
	f.before, f.after = nil, nil
	if before != nil {
		return 0, before
	}
	rev, err := f.Records.Commit(ctx, ops...)
	if after != nil {
		return 0, after
	}
	return rev, err
}

// dump is all that the store holds.
func dump(t *testing.T, records store.Records) string {
	t.Helper()
	var b strings.Builder
	for r, err := range records.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\n", r.Key, r.Value)
	}
	return b.String()
}

// writes are one of each kind, all of which work on [prepare]'s catalog.
var writes = map[string]func(x *fixture) error{
	"create": func(x *fixture) error { _, err := x.CreateFunction(x.t.Context(), input("g")); return err },
	"code": func(x *fixture) error {
		_, err := x.UpdateCode(x.t.Context(), UpdateCode{Namespace: ns, Function: "f", Source: artifact.Source{Zip: []byte("new")}, Publish: true})
		return err
	},
	"config": func(x *fixture) error {
		_, err := x.UpdateConfig(x.t.Context(), UpdateConfig{Namespace: ns, Function: "f"})
		return err
	},
	"publish": func(x *fixture) error {
		_, err := x.PublishVersion(x.t.Context(), PublishVersion{Namespace: ns, Function: "f"})
		return err
	},
	"delete":         func(x *fixture) error { return x.DeleteFunction(x.t.Context(), ns, "f", "") },
	"delete version": func(x *fixture) error { return x.DeleteFunction(x.t.Context(), ns, "f", "2") },
	"alias": func(x *fixture) error {
		_, err := x.CreateAlias(x.t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "new", Version: "1"})
		return err
	},
	"update alias": func(x *fixture) error {
		_, err := x.UpdateAlias(x.t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Version: ptr("2")})
		return err
	},
	"delete alias": func(x *fixture) error { return x.DeleteAlias(x.t.Context(), ns, "f", "live") },
	"tag":          func(x *fixture) error { return x.Tag(x.t.Context(), ns, "f", map[string]string{"new": ""}) },
	"untag":        func(x *fixture) error { return x.Untag(x.t.Context(), ns, "f", []string{"old"}) },
	"reserve":      func(x *fixture) error { return x.SetReserved(x.t.Context(), ns, "f", ptr(3)) },
	"provision": func(x *fixture) error {
		_, err := x.PutProvisioned(x.t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: "2", Requested: 3, Windows: &[]lambent.Window{{Start: "0 8 * * *", Duration: time.Hour, Count: 5}}})
		return err
	},
	"provision more": func(x *fixture) error {
		_, err := x.PutProvisioned(x.t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: "live", Requested: 4})
		return err
	},
	"unprovision": func(x *fixture) error { return x.DeleteProvisioned(x.t.Context(), ns, "f", "live") },
	"settings": func(x *fixture) error {
		_, err := x.SetSettings(x.t.Context(), ns, "f", func(s *lambent.Settings) error {
			s.NoReserve, s.NoPrediction, s.MinInstances = true, true, map[string]int{lambent.Latest: 1}
			return nil
		})
		return err
	},
	"layer": func(x *fixture) error {
		_, err := x.PublishLayer(x.t.Context(), PublishLayer{Namespace: ns, Name: "deps", Source: artifact.Source{Zip: []byte("l")}})
		return err
	},
	"new layer": func(x *fixture) error {
		_, err := x.PublishLayer(x.t.Context(), PublishLayer{Namespace: ns, Name: "more", Source: artifact.Source{Zip: []byte("l")}})
		return err
	},
	"delete layer": func(x *fixture) error { return x.DeleteLayer(x.t.Context(), ns, "deps", 1) },
	"policy": func(x *fixture) error {
		_, err := x.AddStatement(x.t.Context(), lambent.FunctionARN(region, ns, "f", "1"), Statement{Sid: "s", JSON: json.RawMessage(`{}`)}, "")
		return err
	},
	"layer policy": func(x *fixture) error {
		_, err := x.AddStatement(x.t.Context(), lambent.LayerARN(region, ns, "deps", 1), Statement{Sid: "s", JSON: json.RawMessage(`{}`)}, "")
		return err
	},
	"unpolicy": func(x *fixture) error {
		return x.RemoveStatement(x.t.Context(), lambent.FunctionARN(region, ns, "f", ""), "old", "")
	},
}

func prepare(t *testing.T) (*fixture, *faulty) {
	t.Helper()
	records := &faulty{Records: store.NewMemory()}
	x := openOn(t, records)
	x.create("f")
	x.publishVersion("f")
	x.describe("f", "two")
	x.publishVersion("f")
	x.describe("f", "three")
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.ok(err)
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"old": ""}))
	x.layer(ns, "deps", "one")
	_, err = x.AddStatement(t.Context(), lambent.FunctionARN(region, ns, "f", ""), Statement{Sid: "old", JSON: json.RawMessage(`{}`)}, "")
	x.ok(err)
	_, err = x.PutProvisioned(t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: "live", Requested: 1, Windows: &[]lambent.Window{{Start: "rate(1 hour)", Duration: time.Minute, Count: 2}}})
	x.ok(err)
	_, err = x.SetSettings(t.Context(), ns, "f", func(s *lambent.Settings) error { s.MinInstances = map[string]int{"live": 1, "2": 1}; return nil })
	x.ok(err)
	return x, records
}

func TestWriteIsStoredWhenItReturns(t *testing.T) {
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			x, records := prepare(t)
			before := dump(t, records)
			x.ok(write(x))
			if dump(t, records) == before {
				t.Error("nothing was written")
			}
			x.same()
		})
	}
}

// TestRestart is about the store that keeps what it is told.
func TestRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("opens and closes files")
	}
	dir := t.TempDir()
	reopen := func() (*fixture, *store.SQLite) {
		t.Helper()
		records, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		x := &fixture{t: t, options: Options{Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region}}
		if x.Catalog, err = Open(t.Context(), x.options); err != nil {
			t.Fatal(err)
		}
		return x, records
	}
	x, records := reopen()
	x.create("f")
	one := x.publishVersion("f")
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.ok(err)
	windows := []lambent.Window{{Start: "cron(0 8 ? * MON-FRI *)", Duration: 9 * time.Hour, Count: 5}}
	p, err := x.PutProvisioned(t.Context(), PutProvisioned{Namespace: ns, Function: "f", Qualifier: "live", Requested: 2, Windows: &windows})
	x.ok(err)
	settings, err := x.SetSettings(t.Context(), ns, "f", func(s *lambent.Settings) error {
		s.NoReserve, s.MinInstances = true, map[string]int{lambent.Latest: 3}
		return nil
	})
	x.ok(err)
	x.layer(ns, "deps", "one")
	u, err := x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "f", LayerARNs: &[]string{lambent.LayerARN(region, ns, "deps", 1)}})
	x.ok(err) // and the server ends while this is in progress
	x.ok(records.Close())

	x, records = reopen()
	defer func() { x.ok(records.Close()) }()
	h := x.head("f")
	if h.UpdateStatus != lambent.UpdateSuccessful || h.RevisionID == u.RevisionID || len(h.Layers) != 1 || !h.LastModified.Equal(u.LastModified) {
		t.Errorf("head: %+v", h)
	}
	v, err := x.Resolve(ns, "f", "live")
	x.ok(err)
	if v.RevisionID != one.RevisionID || v.Number != "1" {
		t.Errorf("live: %+v", v)
	}
	again, err := x.Provisioned(ns, "f", "live")
	x.ok(err)
	if !reflect.DeepEqual(again, p) {
		t.Errorf("provisioned: %+v, want %+v", again, p)
	}
	if e, _ := x.Get(ns, "f", ""); !reflect.DeepEqual(e.Function.Settings, settings) {
		t.Errorf("settings: %+v, want %+v", e.Function.Settings, settings)
	}
	x.describe("f", "goes on")
	if two := x.publishVersion("f"); two.Number != "2" {
		t.Errorf("next version: %+v", two)
	}
}

func TestFailedCommit(t *testing.T) {
	disk := errors.New("no space left on device")
	for name, write := range writes {
		t.Run(name+" before", func(t *testing.T) {
			x, records := prepare(t)
			before, f, l := dump(t, records), x.functions.get(id{ns, "f"}), x.layers.get(id{ns, "deps"})
			changes := len(x.changes)
			records.before = disk
			if err := write(x); lambent.CodeOf(err) != lambent.CodeUnavailable || !errors.Is(err, disk) || strings.Contains(err.Error(), "space") {
				t.Errorf("error = %v", err)
			}
			if dump(t, records) != before || x.functions.get(id{ns, "f"}) != f || x.layers.get(id{ns, "deps"}) != l || len(x.changes) != changes {
				t.Error("a failed commit left a trace")
			}
			x.ok(write(x)) // and the next one works
		})
		t.Run(name+" after", func(t *testing.T) {
			x, records := prepare(t)
			records.after = disk
			if err := write(x); lambent.CodeOf(err) != lambent.CodeUnavailable {
				t.Errorf("error = %v", err)
			}
			x.same() // the snapshot follows the store, which has the write
		})
		t.Run(name+" conflict", func(t *testing.T) {
			x, records := prepare(t)
			records.before = fmt.Errorf("record: %w", store.ErrConflict)
			if err := write(x); lambent.CodeOf(err) != lambent.CodeConflict {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestCanceledWrite(t *testing.T) {
	x, records := prepare(t)
	before := dump(t, records)
	ctx, cancel := context.WithCancel(t.Context())
	leave, err := x.gates.enter(ctx, id{ns, "f"}.functionKey())
	x.ok(err)
	done := make(chan error)
	go func() { done <- x.Tag(ctx, ns, "f", map[string]string{"a": "b"}) }() // waited for below
	cancel()
	if err := <-done; lambent.CodeOf(err) != lambent.CodeCanceled {
		t.Errorf("behind a gate: %v", err)
	}
	leave()
	if _, err := x.commit(ctx, []store.Op{{Key: "x", Value: []byte("y")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("at the store: %v", err)
	}
	if dump(t, records) != before {
		t.Error("a canceled write was written")
	}
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"a": "b"})) // the gate is free again
}

// TestHammer lets writers and readers loose on a few functions and layers, and
// holds every acknowledged write against the store.
func TestHammer(t *testing.T) {
	x := open(t)
	x.options.OnChange, x.options.OnWanted = nil, nil
	x.o.OnChange, x.o.OnWanted = nil, nil
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	readers.Go(func() { _ = x.Run(ctx) })
	for range 2 {
		readers.Go(func() { x.read(ctx) })
	}
	for w := range 8 {
		writers.Go(func() { x.write(ctx, w, 150) })
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

func (x *fixture) read(ctx context.Context) {
	for ctx.Err() == nil {
		for _, name := range []string{"f0", "f1", "f2"} {
			v, err := x.Resolve(ns, name, "")
			if err == nil && (v.Function != name || v.RevisionID == "") {
				x.t.Errorf("resolved %+v", v)
			}
			if aliases, _, err := x.Aliases(ns, name, "", "", 0); err == nil {
				for _, a := range aliases {
					e, err := x.Get(ns, name, a.Name)
					if err == nil && e.Version == nil {
						x.t.Errorf("alias %+v leads nowhere", a)
					}
				}
			}
		}
		list, _ := x.List(ns, true, "", 0)
		for _, v := range list {
			if v == nil {
				x.t.Error("a hole in the list")
			}
		}
		x.Digests()
		if n := x.Taken(ns, ""); n > lambent.DefaultConcurrency-minUnreserved {
			x.t.Errorf("%d are taken", n)
		}
		for k := range x.Kept() {
			for _, p := range k.Provisioned {
				if p.Function != k.Function.Name {
					x.t.Errorf("%+v belongs to %s", p, k.Function.Name)
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func (x *fixture) write(ctx context.Context, w, n int) {
	r := rand.New(rand.NewPCG(1, uint64(w)))
	mine := fmt.Sprintf("w%d", w)
	for range n {
		name := fmt.Sprintf("f%d", r.IntN(3))
		var err error
		switch r.IntN(13) {
		case 0:
			_, err = x.CreateFunction(ctx, input(name))
		case 1:
			if r.IntN(4) == 0 {
				err = x.DeleteFunction(ctx, ns, name, "")
			}
		case 2, 3:
			_, err = x.UpdateConfig(ctx, UpdateConfig{Namespace: ns, Function: name, Apply: func(v *lambent.Version) { v.Description = fmt.Sprint(r.Uint32()) }})
		case 4:
			_, err = x.PublishVersion(ctx, PublishVersion{Namespace: ns, Function: name})
		case 5:
			err = x.DeleteFunction(ctx, ns, name, fmt.Sprint(1+r.IntN(5)))
		case 6:
			var a *lambent.Alias
			if a, err = x.CreateAlias(ctx, lambent.Alias{Namespace: ns, Function: name, Name: mine, Version: "$LATEST"}); err == nil {
				err = x.DeleteAlias(ctx, ns, name, a.Name)
			}
		case 7:
			err = x.Tag(ctx, ns, name, map[string]string{mine: fmt.Sprint(r.Uint32())})
		case 8:
			_, err = x.PublishLayer(ctx, PublishLayer{Namespace: ns, Name: "deps", Source: artifact.Source{Zip: []byte(mine)}})
		case 9:
			_, err = x.PutProvisioned(ctx, PutProvisioned{Namespace: ns, Function: name, Qualifier: fmt.Sprint(1 + r.IntN(5)), Requested: 1 + r.IntN(400)})
		case 10:
			err = x.DeleteProvisioned(ctx, ns, name, fmt.Sprint(1+r.IntN(5)))
		case 11:
			_, err = x.SetSettings(ctx, ns, name, func(s *lambent.Settings) error {
				s.NoReserve = !s.NoReserve
				s.MinInstances = map[string]int{lambent.Latest: r.IntN(3)}
				return nil
			})
		default:
			x.own(ctx, mine)
		}
		if lambent.ReasonOf(err) == "UnreservedTooLow" {
			continue // the others have taken too much
		}
		switch lambent.CodeOf(err) {
		case "", lambent.CodeConflict, lambent.CodeNotFound:
		default:
			x.t.Errorf("write: %v", err)
		}
	}
}

// own does a round on a function that only this writer touches.
func (x *fixture) own(ctx context.Context, name string) {
	v, err := x.CreateFunction(ctx, input(name))
	if err != nil {
		x.t.Errorf("create %s: %v", name, err)
		return
	}
	r, err := x.o.Records.Get(ctx, "version/"+ns+"/"+name+"/$LATEST")
	if err != nil || !strings.Contains(string(r.Value), `"`+v.RevisionID+`"`) {
		x.t.Errorf("the store does not hold the acknowledged %s: %s, %v", name, r.Value, err)
	}
	if err := x.DeleteFunction(ctx, ns, name, ""); err != nil {
		x.t.Errorf("delete %s: %v", name, err)
	}
	if _, err := x.o.Records.Get(ctx, "version/"+ns+"/"+name+"/$LATEST"); !errors.Is(err, store.ErrNotFound) {
		x.t.Errorf("the store still holds the deleted %s: %v", name, err)
	}
}

// fillStore writes n functions with environments straight to the store.
func fillStore(t testing.TB, records store.Records, n int) {
	t.Helper()
	for i := range n {
		k := id{ns, fmt.Sprintf("function-%05d", i)}
		v := &lambent.Version{
			Namespace: ns, Function: k.name, Number: lambent.Latest, Runtime: "python3.12", Handler: "index.handler", Role: "arn:aws:iam::111111111111:role/r",
			Env:  map[string]string{"TABLE": fmt.Sprint("table-", i), "STAGE": "production", "LOG_LEVEL": "info"},
			Code: lambent.CodeRef{Digest: lambent.Digest(fmt.Sprintf("%064x", i)), Size: 1000, Unpacked: 3000}, RevisionID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i),
			LastModified: time.Unix(1_700_000_000, 0).UTC(), State: lambent.StateActive, UpdateStatus: lambent.UpdateSuccessful,
		}
		normalise(v)
		ops, err := functionOps(k, nil, &function{shared: &lambent.Function{Namespace: ns, Name: k.name, NextVersion: 1}, head: v})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := records.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestTenThousandFunctions holds the snapshot to its share of the server's
// memory.
func TestTenThousandFunctions(t *testing.T) {
	const n, limit = 10_000, 60 << 20
	records := store.NewMemory()
	fillStore(t, records, n)
	before, start := heap(), time.Now()
	c, err := Open(t.Context(), Options{Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	used := heap() - before
	t.Logf("%d functions: opened in %v, %.1f MB of heap", n, took.Round(time.Millisecond), float64(used)/(1<<20))
	if used > limit {
		t.Errorf("%d bytes of heap, limit %d", used, limit)
	}
	if have, _ := c.Usage(ns); have != n {
		t.Errorf("%d functions", have)
	}
	if page, next := c.List(ns, false, "function-04999", 50); len(page) != 50 || page[0].Function != "function-05000" || next != "function-05049" {
		t.Errorf("a page of %d, next %q", len(page), next)
	}
}

func BenchmarkOpen10000(b *testing.B) {
	records := store.NewMemory()
	fillStore(b, records, 10_000)
	for b.Loop() {
		if _, err := Open(b.Context(), Options{Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	records := store.NewMemory()
	fillStore(b, records, 10_000)
	c, err := Open(b.Context(), Options{Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Resolve(ns, "function-05000", ""); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkTagAmong10000(b *testing.B) {
	records := store.NewMemory()
	fillStore(b, records, 10_000)
	c, err := Open(b.Context(), Options{Records: records, Artifacts: hashes{}, Runtimes: names{}, Region: region})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Tag(b.Context(), ns, "function-05000", map[string]string{"a": "b"}); err != nil {
			b.Fatal(err)
		}
	}
}
