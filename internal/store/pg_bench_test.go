package store_test

import (
	"bytes"
	"testing"

	"lambent.dev/lambent/internal/store/storetest"
)

// BenchmarkPostgresPush is durable jobs of 1 KB by 64 callers, one each.
func BenchmarkPostgresPush(b *testing.B) {
	server := storetest.NewPostgres(b) // one that syncs, unlike that of the tests
	s := openPostgresAt(b, server.URL("bench"))
	defer closeStore(b, s)
	body := bytes.Repeat([]byte("v"), 1024)
	b.SetParallelism(32) // times GOMAXPROCS
	defer processor(b)()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Push(b.Context(), event(body)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
