// Package storetest holds the drivers of the store room to one behaviour. It
// owns the conformance suite that every driver's own tests run, compares what a
// driver does with the memory driver on random histories, and refuses to know
// how a driver keeps its records. Its neighbour is package store.
package storetest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent/internal/store"
)

// deadline bounds each test's waiting.
const deadline = 20 * time.Second

// Open makes an empty driver that is closed when the test ends.
type Open func(t *testing.T) store.Records

// Run runs the suite against what open makes.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"RecordsAreKeptAndForgotten", testKept},
		{"ValuesBelongToTheirHolder", testOwnBytes},
		{"EmptyValuesAreValues", testEmptyValue},
		{"ChecksGuardTheWholeBatch", testChecks},
		{"BadBatchesAreRefused", testRefused},
		{"ScansAreOrderedAndBounded", testScan},
		{"ScansAreSnapshots", testScanSnapshot},
		{"ScansMayWrite", testScanWrites},
		{"WatchResumes", testWatchResumes},
		{"WatchFollows", testWatchFollows},
		{"WatchPages", testWatchPages},
		{"WatchTooLate", testWatchTooLate},
		{"WatchElsewhere", testWatchElsewhere},
		{"EndedContextsAreObeyed", testContext},
		{"ClosedStoresRefuse", testClosed},
		{"CompareAndSetLosesNothing", testHammer},
		{"BatchesAreNeverHalfSeen", testAtomic},
		{"HistoriesMatchTheMemoryDriver", testHistories},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

func testContextOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func del(key string) store.Op { return store.Op{Key: key, Delete: true} }

func ifRevision(op store.Op, revision int64) store.Op {
	op.Check, op.If = true, revision
	return op
}

func commit(t *testing.T, s store.Records, ops ...store.Op) int64 {
	t.Helper()
	revision, err := s.Commit(testContextOf(t), ops...)
	if err != nil {
		t.Fatalf("commit %d operations: %v", len(ops), err)
	}
	return revision
}

func want(t *testing.T, s store.Records, key, value string, revision int64) {
	t.Helper()
	r, err := s.Get(testContextOf(t), key)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	if string(r.Value) != value || r.Revision != revision || r.Key != key {
		t.Fatalf("get %q = %q at %d under %q, want %q at %d", key, r.Value, r.Revision, r.Key, value, revision)
	}
}

func wantAbsent(t *testing.T, s store.Records, key string) {
	t.Helper()
	if r, err := s.Get(testContextOf(t), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get %q = %q, %v, want ErrNotFound", key, r.Value, err)
	}
}

// take collects at most n records and the error that ended the sequence.
func take(seq iter.Seq2[store.Record, error], n int) ([]store.Record, error) {
	var got []store.Record
	if n == 0 {
		return nil, nil
	}
	for r, err := range seq {
		if err != nil {
			return got, err
		}
		if got = append(got, r); len(got) == n {
			break
		}
	}
	return got, nil
}

func keys(records []store.Record) []string {
	got := []string{}
	for _, r := range records {
		got = append(got, r.Key)
	}
	return got
}

func wantKeys(t *testing.T, got []store.Record, want ...string) {
	t.Helper()
	if !slices.Equal(keys(got), append([]string{}, want...)) {
		t.Fatalf("keys are %q, want %q", keys(got), want)
	}
}
