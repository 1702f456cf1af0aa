package store_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/store"
)

// processor reports the processor time of an operation, which says more than the
// clock where others use the machine.
func processor(b *testing.B) func() {
	begin := used()
	return func() { b.ReportMetric(float64((used()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchStore is in the directory BENCH_DIR, as an earlier run left it, or new.
func benchStore(b *testing.B) *store.SQLite {
	dir := os.Getenv("BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	return openSQLite(b, dir)
}

// backlog is how many jobs are pushed before a benchmark begins: BENCH_BACKLOG, or
// none.
func backlog(b *testing.B, s store.Jobs) {
	n, _ := strconv.Atoi(os.Getenv("BENCH_BACKLOG"))
	body := bytes.Repeat([]byte("v"), 1024)
	for n > 0 {
		part := make([]store.Job, min(n, 5000))
		for i := range part {
			part[i] = event(body)
		}
		if err := s.Push(b.Context(), part...); err != nil {
			b.Fatal(err)
		}
		n -= len(part)
	}
}

func event(body []byte) store.Job {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err)
	}
	now := time.Now()
	return store.Job{ID: id.String(), Lane: "000000000000/bench", Status: store.JobWaiting, Created: now, Due: now, Kind: "event", Body: body}
}

// BenchmarkPush is durable jobs of 1 KB by 64 callers, one each.
func BenchmarkPush(b *testing.B) {
	s := benchStore(b)
	defer closeStore(b, s)
	backlog(b, s)
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

// BenchmarkDrain takes jobs by 32 and ends them, in 4 loops.
func BenchmarkDrain(b *testing.B) {
	s := openSQLite(b, b.TempDir())
	defer closeStore(b, s)
	body := bytes.Repeat([]byte("v"), 1024)
	for left := b.N; left > 0; left -= 5000 {
		part := make([]store.Job, min(left, 5000))
		for i := range part {
			part[i] = event(body)
		}
		if err := s.Push(b.Context(), part...); err != nil {
			b.Fatal(err)
		}
	}
	backlog(b, s)
	lane := event(nil).Lane
	var all sync.WaitGroup
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	defer processor(b)()
	b.ResetTimer()
	for range 4 {
		all.Go(func() {
			for {
				n := 0
				for range left {
					if n++; n == 32 {
						break
					}
				}
				if n == 0 {
					return
				}
				jobs, err := s.Take(b.Context(), lane, n, time.Now(), time.Now().Add(time.Minute))
				if err != nil || len(jobs) != n {
					b.Error(fmt.Sprint("took ", len(jobs), err))
					return
				}
				changes := make([]store.Change, len(jobs))
				for i, j := range jobs {
					changes[i] = store.Change{ID: j.ID, Token: j.Token, Status: store.JobSucceeded, Ended: time.Now(), Result: []byte(`{"ok":true}`)}
				}
				if _, err := s.Change(b.Context(), changes...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
