package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

func testKept(t *testing.T, open Open) {
	s := open(t)
	wantAbsent(t, s, "a/1")
	first := commit(t, s, put("a/1", "one"), put("a/2", "two"))
	if first <= 0 {
		t.Fatalf("first revision is %d, want above 0", first)
	}
	want(t, s, "a/1", "one", first)
	second := commit(t, s, put("a/1", "uno"), del("a/2"), del("a/3"))
	if second <= first {
		t.Fatalf("revision went from %d to %d", first, second)
	}
	want(t, s, "a/1", "uno", second)
	wantAbsent(t, s, "a/2")
	wantAbsent(t, s, "a/3")
	commit(t, s, store.Op{Key: "a/1"}) // a nil value deletes, too
	wantAbsent(t, s, "a/1")
	if third := commit(t, s, put("a/2", "again")); third <= second {
		t.Fatalf("revision went from %d to %d", second, third)
	}
	if now, again := commit(t, s), commit(t, s); now != again {
		t.Fatalf("empty batches moved the revision from %d to %d", now, again)
	}
}

func testOwnBytes(t *testing.T, open Open) {
	s := open(t)
	value := []byte("mine")
	revision := commit(t, s, store.Op{Key: "k", Value: value})
	copy(value, "xxxx")
	r, err := s.Get(testContextOf(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	copy(r.Value, "yyyy")
	want(t, s, "k", "mine", revision)
}

func testEmptyValue(t *testing.T, open Open) {
	s := open(t)
	revision := commit(t, s, store.Op{Key: "empty", Value: []byte{}})
	want(t, s, "empty", "", revision)
	for r, err := range s.Scan(testContextOf(t), "") {
		if err != nil || r.Value == nil {
			t.Fatalf("scan gives %v, %v, want a value that is not nil", r, err)
		}
	}
	seen, err := take(s.Watch(testContextOf(t), "", 0), 1)
	if err != nil || seen[0].Value == nil {
		t.Fatalf("watch gives %v, %v, want a value that is not nil", seen, err)
	}
}

func testChecks(t *testing.T, open Open) {
	s := open(t)
	first := commit(t, s, ifRevision(put("a", "1"), 0))
	for name, ops := range map[string][]store.Op{
		"present is not absent":    {put("b", "x"), ifRevision(put("a", "2"), 0)},
		"another revision":         {put("b", "x"), ifRevision(put("a", "2"), first+1)},
		"absent has no revision":   {put("b", "x"), ifRevision(put("c", "2"), first)},
		"deleting is checked, too": {put("b", "x"), ifRevision(del("a"), first+7)},
		"the first check fails":    {ifRevision(put("c", "x"), 9), put("b", "x")},
	} {
		_, err := s.Commit(testContextOf(t), ops...)
		if !errors.Is(err, store.ErrConflict) || lambent.CodeOf(err) != lambent.CodePrecondition {
			t.Errorf("%s: %v, want ErrConflict", name, err)
		}
		want(t, s, "a", "1", first)
		wantAbsent(t, s, "b")
	}
	commit(t, s, ifRevision(del("a"), first), ifRevision(put("b", "y"), 0))
	wantAbsent(t, s, "a")
	commit(t, s, ifRevision(put("a", "back"), 0)) // a deleted record is absent
}

func testRefused(t *testing.T, open Open) {
	s := open(t)
	for name, c := range map[string]struct {
		ops  []store.Op
		code lambent.Code
	}{
		"empty key":   {[]store.Op{put("", "x")}, lambent.CodeInvalid},
		"NUL in key":  {[]store.Op{put("a\x00b", "x")}, lambent.CodeInvalid},
		"long key":    {[]store.Op{put(strings.Repeat("k", store.MaxKey+1), "x")}, lambent.CodeInvalid},
		"named twice": {[]store.Op{put("a", "x"), del("a")}, lambent.CodeInvalid},
		"long value":  {[]store.Op{{Key: "a", Value: make([]byte, store.MaxValue+1)}}, lambent.CodeTooLarge},
	} {
		if _, err := s.Commit(testContextOf(t), c.ops...); lambent.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want code %s", name, err, c.code)
		}
	}
	wantAbsent(t, s, "a")
	revision := commit(t, s, put(strings.Repeat("\xff", store.MaxKey), "longest"))
	want(t, s, strings.Repeat("\xff", store.MaxKey), "longest", revision)
}

func testScan(t *testing.T, open Open) {
	s := open(t)
	commit(t, s, put("b/2", "x"), put("b/10", "x"), put("b", "x"), put("b0", "x"), put("a/1", "x"),
		put("B/1", "x"), put("b/\xff\xff", "x"), put("\xff\xff", "x"), put("\xff\xffz", "x"), put("b/gone", "x"))
	commit(t, s, del("b/gone"))
	for prefix, want := range map[string][]string{
		"":         {"B/1", "a/1", "b", "b/10", "b/2", "b/\xff\xff", "b0", "\xff\xff", "\xff\xffz"},
		"b/":       {"b/10", "b/2", "b/\xff\xff"},
		"b/\xff":   {"b/\xff\xff"},
		"\xff":     {"\xff\xff", "\xff\xffz"},
		"\xff\xff": {"\xff\xff", "\xff\xffz"},
		"c":        {},
	} {
		got, err := take(s.Scan(testContextOf(t), prefix), -1)
		if err != nil {
			t.Fatalf("scan %q: %v", prefix, err)
		}
		wantKeys(t, got, want...)
	}
	got, err := take(s.Scan(testContextOf(t), "b"), 2) // leaving early
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, got, "b", "b/10")
}

func testScanSnapshot(t *testing.T, open Open) {
	s := open(t)
	var ops []store.Op
	for i := range 1000 {
		ops = append(ops, put(fmt.Sprintf("k/%04d", i), "old"))
	}
	commit(t, s, ops...)
	n := 0
	for r, err := range s.Scan(testContextOf(t), "k/") {
		if err != nil || string(r.Value) != "old" {
			t.Fatalf("record %d of the scan is %q, %v", n, r.Value, err)
		}
		if n++; n == 1 {
			commit(t, s, put("k/0500", "new"), del("k/0600"), put("k/0500x", "new"))
		}
	}
	if n != 1000 {
		t.Fatalf("scan gave %d records, want 1000", n)
	}
}

func testScanWrites(t *testing.T, open Open) {
	s := open(t)
	commit(t, s, put("a/1", "x"), put("a/2", "x"))
	for r, err := range s.Scan(testContextOf(t), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, ifRevision(del(r.Key), r.Revision), put("b/"+r.Key, "moved"))
	}
	got, err := take(s.Scan(testContextOf(t), ""), -1)
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, got, "b/a/1", "b/a/2")
}

func testContext(t *testing.T, open Open) {
	s := open(t)
	commit(t, s, put("a", "x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(doing string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) || lambent.CodeOf(err) != lambent.CodeCanceled {
			t.Errorf("%s with an ended context: %v", doing, err)
		}
	}
	_, err := s.Get(ctx, "a")
	check("get", err)
	_, err = s.Commit(ctx, put("a", "y"))
	check("commit", err)
	_, err = take(s.Scan(ctx, ""), -1)
	check("scan", err)
	if got, err := take(s.Watch(ctx, "", 0), -1); len(got) != 0 || err != nil {
		t.Errorf("watch with an ended context: %v, %v, want nothing", got, err)
	}
}

func testClosed(t *testing.T, open Open) {
	s := open(t)
	revision := commit(t, s, put("a", "x"))
	watched := make(chan error, 1)
	ctx := testContextOf(t)
	go func() { // ended by Close; the channel below waits for it
		_, err := take(s.Watch(ctx, "", revision), -1)
		watched <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := <-watched; !errors.Is(err, store.ErrClosed) {
		t.Errorf("watch ended with %v, want ErrClosed", err)
	}
	_, err := s.Get(ctx, "a")
	_, err2 := s.Commit(ctx, put("a", "y"))
	_, err3 := take(s.Scan(ctx, ""), -1)
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, store.ErrClosed) || lambent.CodeOf(err) != lambent.CodeUnavailable {
			t.Errorf("a closed store answers %v, want ErrClosed", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}
