package async

import (
	"context"
	"fmt"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
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
		if q, err := r.Queue(t.Context(), ns, "f"); err != nil || q.Waiting != many-106+10 || q.Running != 1 || q.Oldest < 104*time.Second {
			t.Errorf("of f there are %+v, %v", q, err)
		}
		if q, err := r.Queue(t.Context(), ns, "g"); err != nil || q.Waiting != 1 || q.Running != 0 || q.Oldest != 0 {
			t.Errorf("of g there are %+v, %v", q, err)
		}
		time.Sleep((many + 10 - 104) * time.Second)
		want("one is to begin later", 1, 0)
		r.accept("bad", "x")
		time.Sleep(30 * time.Second)
		want("one is to be tried again", 2, 30*time.Second)
		time.Sleep(time.Hour)
		r.shelf.configure("tells", lambent.EventConfig{OnSuccess: lambent.Destination{ARN: "arn:aws:sqs:us-east-1:" + ns + ":q"}})
		r.o.Deliverers["sqs"] = away{}
		r.accept("tells", "x")
		time.Sleep(time.Minute)
		want("a record waits, which is no call", 1, 0)
		time.Sleep(7 * time.Hour)
		if c := r.Counts(); c != (telemetry.EventCounts{}) {
			t.Errorf("in the end there are %+v", c)
		}
	})
}

// away is the door to a destination that does not answer.
type away struct{}

func (away) Deliver(context.Context, Delivery) error {
	return lambent.Errorf(lambent.CodeUnavailable, "nobody is there")
}

// Events of a function that is stopped end at once, and their destinations are told.
func TestStoppedFunctionIsNotTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, nil)
		r.shelf.reserved = new(0)
		r.shelf.configure("f", lambent.EventConfig{OnFailure: lambent.Destination{ARN: "arn:aws:lambda:us-east-1:" + ns + ":function:g"}})
		began := time.Now()
		id := r.accept("f", "1")
		o := r.want(id, store.JobFailed)
		if o.Condition != ZeroReservedConcurrency || o.Error != ZeroReservedConcurrency || len(o.Attempts) != 0 || len(o.Sent) != 1 || time.Since(began) > time.Second {
			t.Errorf("after %v: %+v", time.Since(began), o)
		}
		r.shelf.mu.Lock()
		r.shelf.reserved = new(1)
		r.shelf.mu.Unlock()
		again, err := r.Retry(t.Context(), ns, id)
		if err != nil {
			t.Fatal(err)
		}
		r.want(again, store.JobSucceeded)
		if r.spine.called(id) != 0 {
			t.Error("a stopped function was called")
		}
	})
}

// Held events wait, use up no retries, and can be cancelled meanwhile.
func TestHeldEventsWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, nil)
		hold := func(on bool) {
			r.shelf.mu.Lock()
			defer r.shelf.mu.Unlock()
			r.shelf.settings.HoldEvents = on
		}
		hold(true)
		id, other := r.accept("f", "1"), r.accept("f", "2")
		time.Sleep(time.Hour)
		if o, err := r.Get(t.Context(), ns, id); err != nil || o.Status != store.JobWaiting || r.spine.called(id) != 0 {
			t.Fatalf("held: %v, %+v, %d calls", err, o, r.spine.called(id))
		}
		if _, err := r.Cancel(t.Context(), ns, other); err != nil {
			t.Fatal(err)
		}
		hold(false)
		if o := r.want(id, store.JobSucceeded); len(o.Attempts) != 1 {
			t.Errorf("the attempts are %+v", o.Attempts)
		}
		r.want(other, store.JobCancelled)
		if r.spine.called(other) != 0 {
			t.Error("a cancelled call was run")
		}
	})
}
