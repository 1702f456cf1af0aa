package pool

import (
	"context"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox/fake"
)

// A function is changed all the time while its instances take long to start: who
// came before a change is served by what was started for it, who came after it is
// not.
func TestCallThatWaitsThroughAChangeIsServed(t *testing.T) {
	inPool(t, scripted{init: time.Second}, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		var wg sync.WaitGroup
		for n := range 20 {
			v := version("f")
			v.Handler = string(rune('a' + n))
			wg.Go(func() {
				began := time.Now()
				l, err := p.Acquire(context.Background(), v)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				if took := time.Since(began); took > 1100*time.Millisecond {
					t.Errorf("call %d waited %v for a start of 1 s", n, took)
				}
				if got := l.Version().Handler; got != v.Handler {
					t.Errorf("call %d runs %q, want %q", n, got, v.Handler)
				}
				l.Release(time.Now().Add(time.Second))
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		time.Sleep(time.Second)
		if s := p.Stats(); s.Instances != 1 {
			t.Errorf("%+v: only the last version's instance is of use", s)
		}
	})
}
