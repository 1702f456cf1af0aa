package async

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// at once answers without a pause.
type atOnce struct{}

func (atOnce) Invoke(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	return answer(`{"ok":true}`), nil
}

func benchService(b *testing.B) *Service {
	db, err := store.OpenSQLite(b.Context(), store.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() }) // what was written does not matter
	return New(Options{Jobs: db, Invoker: atOnce{}, Catalog: &shelf{}, Region: region, Alone: true, Concurrency: 64})
}

func (s *Service) fill(b *testing.B, n int) {
	payload := append(append([]byte(`"`), bytes.Repeat([]byte("x"), 1022)...), '"')
	var all sync.WaitGroup
	for w := range 64 {
		all.Go(func() {
			for i := w; i < n; i += 64 {
				inv := &lambent.Invocation{Namespace: ns, Function: fmt.Sprint("f", i%4), Payload: payload}
				if _, _, err := s.Accept(b.Context(), Request{Invocation: inv}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkAccept takes events of 1 KB from 64 callers, durably.
func BenchmarkAccept(b *testing.B) {
	s := benchService(b)
	b.ReportAllocs()
	b.ResetTimer()
	s.fill(b, b.N)
}

// BenchmarkDrain runs events that wait, to their durable end.
func BenchmarkDrain(b *testing.B) {
	s := benchService(b)
	s.fill(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	for s.idle(s.o.Jobs) != nil {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	cancel()
	<-done
}
