package store_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"lambent.dev/lambent/internal/store"
)

// BenchmarkCommit is durable inserts of 1 KB by 64 producers.
func BenchmarkCommit(b *testing.B) {
	s := openSQLite(b, b.TempDir())
	defer closeStore(b, s)
	value := bytes.Repeat([]byte("v"), 1024)
	var n atomic.Int64
	b.SetParallelism(32) // times GOMAXPROCS
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprintf("bench/%012d", n.Add(1))
			if _, err := s.Commit(b.Context(), store.Op{Key: key, Value: value}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkScan reads 10,000 records of 1 KB.
func BenchmarkScan(b *testing.B) {
	s := openSQLite(b, b.TempDir())
	defer closeStore(b, s)
	var ops []store.Op
	for i := range 10_000 {
		ops = append(ops, store.Op{Key: fmt.Sprintf("bench/%012d", i), Value: make([]byte, 1024)})
	}
	commit(b, s, ops...)
	for b.Loop() {
		for _, err := range s.Scan(b.Context(), "bench/") {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
