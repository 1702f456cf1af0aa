package async

import (
	"context"
	"fmt"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/telemetry"
)

// The oldest is the one that waits, wherever it does: leased ahead, in the store, or to
// be tried again; not the last one that was taken, and none that is to begin later.
func TestOldestIsTheOneThatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error) {
			time.Sleep(time.Second)
			if inv.Function == "bad" && n == 1 {
				return failure("Oops", "once"), nil
			}
			return answer("ok"), nil
		}, func(o *Options) { o.Concurrency = 1 })
		want := func(doing string, waiting int, oldest time.Duration) {
			t.Helper()
			if c := r.Counts(); c.Waiting != waiting || c.Oldest < oldest-1100*time.Millisecond || c.Oldest > oldest+1100*time.Millisecond {
				t.Errorf("%s: %+v, want %d that wait, since %v", doing, c, waiting, oldest)
			}
		}
		const many = 700 // more than are leased ahead
		for i := range many {
			r.accept("f", fmt.Sprint(i))
		}
		r.accept("g", "later", func(q *Request) { q.At = time.Now().Add(time.Hour) })
		time.Sleep(100*time.Second + 500*time.Millisecond)
		for range 10 {
			r.accept("f", "urgent", func(q *Request) { q.Priority = 9 })
		}
		time.Sleep(5 * time.Second)
		want("after some", 1+many-106+10, 105*time.Second)
		time.Sleep((many + 10 - 104) * time.Second)
		want("one is to begin later", 1, 0)
		r.accept("bad", "x")
		time.Sleep(30 * time.Second)
		want("one is to be tried again", 2, 30*time.Second)
		time.Sleep(time.Hour)
		if c := r.Counts(); c != (telemetry.EventCounts{}) {
			t.Errorf("in the end there are %+v", c)
		}
	})
}
