package pool

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// BenchmarkWarm is what the pool costs a call that finds an idle instance.
func BenchmarkWarm(b *testing.B) {
	r := &rooms{}
	p := New(Options{Driver: fake.New(fake.Script{}), Artifacts: r, Runtimes: r, Logs: r, Log: slog.New(slog.DiscardHandler),
		Environment: func(*lambent.Version, ColdStart) []string { return nil },
		Idle:        time.Minute, MemoryMB: 4096, MaxWait: time.Second, NewID: func() string { return fmt.Sprintf("%032d", 1) }})
	b.Cleanup(func() { _ = p.Close(context.Background()) })
	v := version("f")
	b.ReportAllocs()
	for b.Loop() {
		l, err := p.Acquire(context.Background(), v)
		if err != nil {
			b.Fatal(err)
		}
		l.Release(time.Time{})
	}
}
