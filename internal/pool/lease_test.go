package pool

import (
	"context"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// TestMemoryIsLookedAtAsTheInstanceRuns: an instance's memory is asked for at its
// first call and then as often as it may have changed.
func TestMemoryIsLookedAtAsTheInstanceRuns(t *testing.T) {
	var holds *fake.Instance
	keep := func(o *Options) {
		o.Driver = sandbox.Guard(fake.New(fake.Script{Init: func(_ context.Context, i *fake.Instance) error {
			holds = i
			i.SetUsage(sandbox.Usage{MaxMemoryBytes: 10 << 20})
			return nil
		}}))
	}
	inPool(t, scripted{}, keep, func(t *testing.T, p *Pool, _ *fake.Driver) {
		v := version("f")
		call := func(took time.Duration, ended string, want int) {
			t.Helper()
			l, err := p.Acquire(context.Background(), v)
			if err != nil {
				t.Fatal(err)
			}
			l.ended = ended
			if got := l.MaxMemoryMB(took); got != want {
				t.Errorf("after a call of %v: %d MB, want %d", took, got, want)
			}
			l.ended = ""
			l.Release(time.Now().Add(time.Second))
		}
		call(time.Millisecond, "", 10)
		holds.SetUsage(sandbox.Usage{MaxMemoryBytes: 20<<20 + 1})
		call(time.Millisecond, "", 10)
		call(2*time.Millisecond, "", 10)
		call(time.Millisecond, "", 21)
		holds.SetUsage(sandbox.Usage{MaxMemoryBytes: 30 << 20})
		call(time.Millisecond, "Runtime.ExitError", 30)
		holds.SetUsage(sandbox.Usage{MaxMemoryBytes: 40 << 20})
		call(time.Second, "", 40)
	})
}
