package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lambent.dev/lambent/internal/store"
)

func testWatchResumes(t *testing.T, open Open) {
	s := open(t)
	first := commit(t, s, put("a/2", "x"), put("a/1", "x"), put("b/1", "x"))
	second := commit(t, s, put("a/3", "x"), del("a/1"))
	commit(t, s, put("a/2", "y"))
	got, err := take(s.Watch(testContextOf(t), "a/", 0), 3)
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, got, "a/1", "a/3", "a/2") // by revision, then key; written twice is seen once
	if got[0].Value != nil || got[0].Revision != second {
		t.Errorf("the deletion is %q at %d, want nil at %d", got[0].Value, got[0].Revision, second)
	}
	if got, err = take(s.Watch(testContextOf(t), "", first), 3); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, got, "a/1", "a/3", "a/2")
	if got, err = take(s.Watch(testContextOf(t), "", second), 1); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, got, "a/2")
}

// follow watches beside the test. seen is closed when the watch is over; end ends it,
// which is no error.
func follow(t *testing.T, s store.Records, prefix string, after int64) (seen chan store.Record, end func()) {
	ctx, cancel := context.WithCancel(testContextOf(t))
	seen = make(chan store.Record)
	done := make(chan error, 1)
	go func() { // ended by cancel; done waits for it
		var last error
		for r, err := range s.Watch(ctx, prefix, after) {
			if last = err; err == nil {
				seen <- r
			}
		}
		done <- last
		close(seen)
	}()
	return seen, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch ended with %v", err)
		}
	}
}

func testWatchFollows(t *testing.T, open Open) {
	s := open(t)
	commit(t, s, put("a/old", "x"))
	start := commit(t, s)
	seen, end := follow(t, s, "a/", start)
	for i := range 20 {
		key := fmt.Sprintf("a/%d", i%3)
		op := put(key, fmt.Sprint(i))
		if i%5 == 4 {
			op = del(key)
		}
		commit(t, s, put("b/other", "x"))
		_, err := s.Get(t.Context(), key)
		changes := !op.Delete || err == nil
		revision := commit(t, s, op)
		if !changes {
			continue
		}
		r := <-seen
		if r.Key != key || r.Revision != revision || (r.Value == nil) != op.Delete || string(r.Value) != string(op.Value) {
			t.Fatalf("watch gave %q = %q at %d, want %q = %q at %d", r.Key, r.Value, r.Revision, key, op.Value, revision)
		}
	}
	end()
}

// A batch larger than any page of a driver is seen whole and once.
func testWatchPages(t *testing.T, open Open) {
	s := open(t)
	var ops []store.Op
	for i := range 1500 {
		ops = append(ops, put(fmt.Sprintf("k/%04d", i), "x"))
	}
	commit(t, s, ops...)
	commit(t, s, put("k/last", "x"))
	got, err := take(s.Watch(testContextOf(t), "k/", 0), 1501)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got[:1500] {
		if r.Key != ops[i].Key {
			t.Fatalf("record %d is %q, want %q", i, r.Key, ops[i].Key)
		}
	}
	if got[1500].Key != "k/last" {
		t.Errorf("the last record is %q", got[1500].Key)
	}
}

// What is deleted elsewhere leaves no watcher behind that looks now and then.
func testWatchElsewhere(t *testing.T, open Open) {
	s := open(t)
	commit(t, s, put("a/1", "x"))
	seen, end := follow(t, s, "a/", 0)
	<-seen
	const batch = 100
	for round := range store.KeepDeleted/batch + 2 {
		var puts, dels []store.Op
		for i := range batch {
			key := fmt.Sprintf("b/%d/%d", round, i)
			puts = append(puts, put(key, "x"))
			dels = append(dels, del(key))
		}
		commit(t, s, puts...)
		commit(t, s, dels...)
		time.Sleep(20 * time.Millisecond) // it is told of the commit, and looks
	}
	commit(t, s, put("a/2", "x"))
	if r := <-seen; r.Key != "a/2" {
		t.Errorf("watch gave %+v", r)
	}
	end()
}

func testWatchTooLate(t *testing.T, open Open) {
	s := open(t)
	start := commit(t, s, put("keep", "x"))
	var puts, dels []store.Op
	for i := range store.KeepDeleted + 101 {
		puts = append(puts, put(fmt.Sprintf("k/%d", i), "x"))
		dels = append(dels, del(fmt.Sprintf("k/%d", i)))
	}
	commit(t, s, puts...)
	early := commit(t, s, dels[:100]...)
	commit(t, s, dels[100:store.KeepDeleted+100]...)
	if got, err := take(s.Watch(testContextOf(t), "", start), len(dels)-1); err != nil {
		t.Fatalf("watch from revision %d ends after %d records with %v", start, len(got), err)
	}
	end := commit(t, s, dels[store.KeepDeleted+100]) // pushes the first hundred out
	if _, err := take(s.Watch(testContextOf(t), "", start), -1); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch from revision %d ends with %v, want ErrCompacted", start, err)
	}
	got, err := take(s.Watch(testContextOf(t), "", early), store.KeepDeleted+1)
	if err != nil {
		t.Errorf("watch from revision %d ends after %d records with %v", early, len(got), err)
	}
	got, err = take(s.Watch(testContextOf(t), "", 0), 1) // starting from nothing is never too late
	if err != nil || got[0].Key != "keep" {
		t.Errorf("watch from the start gives %v, %v", got, err)
	}
	next := commit(t, s, put("next", "x"))
	if got, err = take(s.Watch(testContextOf(t), "", end), 1); err != nil || got[0].Revision != next {
		t.Errorf("watch from the end gives %v, %v", got, err)
	}
}
