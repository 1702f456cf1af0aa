package storetest

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Random histories on one driver and on the memory driver must give the same
// answers, revision by revision. The histories share one store, of which each
// uses a corner: making a durable one takes longer than a history.
func testHistories(t *testing.T, open Open) {
	driver, model := open(t), store.NewMemory()
	corner := 0
	rapid.Check(t, func(rt *rapid.T) {
		corner++
		h := history{t: t, driver: driver, model: model, prefix: fmt.Sprintf("h%d/", corner)}
		h.start = commit(t, model)
		rt.Repeat(map[string]func(*rapid.T){
			"commit": h.commit,
			"get":    h.get,
			"":       h.compare,
		})
	})
}

type history struct {
	t             *testing.T
	driver, model store.Records
	prefix        string
	start         int64 // revision when the history began
}

func (h *history) key(rt *rapid.T) string {
	return h.prefix + rapid.StringMatching(`[ab]{0,2}[\xff]?`).Draw(rt, "key")
}

func (h *history) commit(rt *rapid.T) {
	names := rapid.SliceOfNDistinct(rapid.Custom(h.key), 0, 4, rapid.ID[string]).Draw(rt, "keys")
	var ops []store.Op
	for _, key := range names {
		op := store.Op{Key: key, Delete: rapid.Bool().Draw(rt, "delete")}
		if !op.Delete {
			op.Value = rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(rt, "value")
		}
		if op.Check = rapid.Bool().Draw(rt, "check"); op.Check {
			if r, err := h.model.Get(testContextOf(h.t), key); err == nil {
				op.If = r.Revision
			}
			op.If += int64(rapid.SampledFrom([]int{0, 0, 0, 0, 1, -1}).Draw(rt, "off by"))
		}
		ops = append(ops, op)
	}
	got, err := h.driver.Commit(testContextOf(h.t), ops...)
	want, wantErr := h.model.Commit(testContextOf(h.t), ops...)
	if got != want || !same(err, wantErr) {
		rt.Fatalf("commit gives %d, %v; the memory driver %d, %v", got, err, want, wantErr)
	}
}

func (h *history) get(rt *rapid.T) {
	key := h.key(rt)
	got, err := h.driver.Get(testContextOf(h.t), key)
	want, wantErr := h.model.Get(testContextOf(h.t), key)
	if !reflect.DeepEqual(got, want) || !same(err, wantErr) {
		rt.Fatalf("get %q gives %v, %v; the memory driver %v, %v", key, got, err, want, wantErr)
	}
}

// compare looks at all there is, and at all that has changed.
func (h *history) compare(rt *rapid.T) {
	ctx := testContextOf(h.t)
	got, err := take(h.driver.Scan(ctx, h.prefix), -1)
	want, wantErr := take(h.model.Scan(ctx, h.prefix), -1)
	if !reflect.DeepEqual(got, want) || !same(err, wantErr) {
		rt.Fatalf("scan gives %v, %v; the memory driver %v, %v", got, err, want, wantErr)
	}
	end := store.Op{Key: h.prefix + "end", Value: []byte{1}}
	last, err := h.driver.Commit(ctx, end)
	if also, wantErr := h.model.Commit(ctx, end); last != also || err != nil || wantErr != nil {
		rt.Fatalf("commit gives %d, %v; the memory driver %d, %v", last, err, also, wantErr)
	}
	got, err = until(h.driver.Watch(ctx, h.prefix, h.start), last)
	want, wantErr = until(h.model.Watch(ctx, h.prefix, h.start), last)
	if !reflect.DeepEqual(got, want) || !same(err, wantErr) {
		rt.Fatalf("watch gives %v, %v; the memory driver %v, %v", got, err, want, wantErr)
	}
}

// until collects what a watch yields up to a revision.
func until(seq iter.Seq2[store.Record, error], last int64) ([]store.Record, error) {
	var got []store.Record
	for r, err := range seq {
		if err != nil {
			return got, err
		}
		if got = append(got, r); r.Revision == last {
			break
		}
	}
	return got, nil
}

// same tells whether two errors mean the same to a caller.
func same(a, b error) bool {
	for _, target := range []error{store.ErrNotFound, store.ErrConflict, store.ErrCompacted, store.ErrClosed} {
		if errors.Is(a, target) != errors.Is(b, target) {
			return false
		}
	}
	return (a == nil) == (b == nil) && lambent.CodeOf(a) == lambent.CodeOf(b)
}
