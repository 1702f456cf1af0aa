package async

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/store"
)

// clock is a wall clock that can be set.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Now().Round(0).Add(time.Duration(c.offset.Load())) // no monotonic part
}

func (c *clock) jump(d time.Duration) { c.offset.Add(int64(d)) }

// The clock jumps both ways, by more than leases and less than ages, while events
// run: each ends once.
func TestClockJumps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var c clock
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error) {
			time.Sleep(time.Second)
			if len(inv.Payload)%2 == 0 && n < 2 {
				return failure("E", ""), nil
			}
			return answer("1"), nil
		}, func(o *Options) { o.Now = c.now })
		var ids []string
		jumps := []time.Duration{time.Hour, -2 * time.Hour, 10 * time.Minute, 3 * time.Hour, -time.Hour}
		for i := range 500 {
			ids = append(ids, r.accept("f", fmt.Sprintf("%0*d", 1+i%4, i)))
			if i%100 == 50 {
				c.jump(jumps[i/100])
			}
			if i%20 == 0 {
				time.Sleep(2 * time.Second)
			}
		}
		twice := 0
		for _, id := range ids {
			r.want(id, store.JobSucceeded)
			r.spine.mu.Lock()
			if r.spine.ended[id] != 1 {
				twice++
			}
			r.spine.mu.Unlock()
		}
		t.Logf("delivered %d, duplicates %d, lost=0 over %d jumps of the clock", len(ids), twice, len(jumps))
		if twice > 0 {
			t.Errorf("%d events ran again after a good end", twice)
		}
	})
}

// broken is a store that refuses for a while.
type broken struct {
	store.Jobs
	down atomic.Bool
}

func (b *broken) err() error {
	if b.down.Load() {
		return lambent.Errorf(lambent.CodeUnavailable, "the disk is full").WithReason(store.ReasonDiskFull)
	}
	return nil
}

func (b *broken) Push(ctx context.Context, jobs ...store.Job) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.Jobs.Push(ctx, jobs...)
}

func (b *broken) Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]store.Job, error) {
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.Jobs.Take(ctx, lane, limit, now, until)
}

func (b *broken) Change(ctx context.Context, changes ...store.Change) ([]error, error) {
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.Jobs.Change(ctx, changes...)
}

// While the store cannot write, events are refused, what runs ends later, and
// afterwards all goes on without a restart.
func TestStoreThatCannotWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &broken{}
		r := newRig(t, works, func(o *Options) { b.Jobs = o.Jobs; o.Jobs = b })
		var ids []string
		refused := 0
		for round := range 10 {
			for i := range 200 {
				q := Request{Invocation: &lambent.Invocation{Namespace: ns, Function: "f", Payload: fmt.Append(nil, i)}}
				id, _, err := r.Accept(t.Context(), q)
				if err == nil {
					ids = append(ids, id)
				} else if refused++; lambent.CodeOf(err) != lambent.CodeUnavailable || lambent.ReasonOf(err) != store.ReasonDiskFull {
					t.Fatal(err)
				}
				if i == 100 {
					b.down.Store(round%2 == 0)
				}
				time.Sleep(time.Millisecond)
			}
			time.Sleep(5 * time.Second)
			b.down.Store(false)
		}
		for _, id := range ids {
			r.want(id, store.JobSucceeded)
			if n := r.spine.called(id); n != 1 {
				t.Errorf("%s ran %d times", id, n)
			}
		}
		t.Logf("delivered %d, refused %d, duplicates 0, lost=0", len(ids), refused)
		if refused == 0 {
			t.Error("nothing was refused")
		}
	})
}

// stuck is a store some of whose answers do not come until who asks has given up.
type stuck struct {
	store.Jobs
	hangs func(what string) bool
}

func (s *stuck) wait(ctx context.Context, what string) error {
	if !s.hangs(what) {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *stuck) Lanes(ctx context.Context) ([]store.Lane, error) {
	if err := s.wait(ctx, "lanes"); err != nil {
		return nil, err
	}
	return s.Jobs.Lanes(ctx)
}

func (s *stuck) Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]store.Job, error) {
	if err := s.wait(ctx, "take"); err != nil {
		return nil, err
	}
	return s.Jobs.Take(ctx, lane, limit, now, until)
}

func (s *stuck) Change(ctx context.Context, changes ...store.Change) ([]error, error) {
	if err := s.wait(ctx, "change"); err != nil {
		return nil, err
	}
	return s.Jobs.Change(ctx, changes...)
}

// Whichever query of the store hangs, a server that stops does so in its time, and
// leaves nothing running. The dispatcher does not spin meanwhile, or this never ends.
func TestStopWhileTheStoreHangs(t *testing.T) {
	for _, what := range []string{"lanes", "take", "change"} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var hangs atomic.Bool
				r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
					select {
					case <-inv.Stop.Done():
						return &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Failure"}, nil
					case <-time.After(time.Hour):
						return answer("1"), nil
					}
				}, func(o *Options) {
					o.Alone = false // leases are extended
					o.Jobs = &stuck{Jobs: o.Jobs, hangs: func(w string) bool { return w == what && hangs.Load() }}
				})
				r.accept("f", "1")
				time.Sleep(5 * time.Second)
				hangs.Store(true)
				r.accept("g", "1")
				time.Sleep(30 * time.Second)
				begin := time.Now()
				r.end()
				if took := time.Since(begin); took > r.o.Drain+2*flushTime+time.Second {
					t.Errorf("the stop took %s", took)
				}
			})
		})
	}
}

// A server that stops lets calls end, gives back the others, and the next one runs
// them.
func TestStopAndGoOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			pause := time.Second
			if inv.Function == "long" {
				pause = time.Hour
			}
			select {
			case <-inv.Stop.Done():
				return &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Failure"}, nil
			case <-time.After(pause):
				return answer("1"), nil
			}
		}, nil)
		var ids []string
		for i := range 100 {
			ids = append(ids, r.accept("f", fmt.Sprint(i)))
		}
		long := r.accept("long", "1")
		time.Sleep(1500 * time.Millisecond)
		begin := time.Now()
		r.end()
		if took := time.Since(begin); took > r.o.Drain+2*flushTime+time.Second {
			t.Errorf("the stop took %s", took)
		}
		lanes, _ := r.store.Lanes(t.Context())
		for _, l := range lanes {
			if l.Running > 0 {
				t.Errorf("%s has %d leased jobs after the stop", l.Name, l.Running)
			}
		}
		next := New(r.o)
		r.Service = next
		r.run()
		for _, id := range ids {
			if o := r.want(id, store.JobSucceeded); r.spine.called(id) != 1 || o.Retries != 0 {
				t.Errorf("%s ran %d times", id, r.spine.called(id))
			}
		}
		if o := r.want(long, store.JobSucceeded); r.spine.called(long) != 2 || o.Retries != 0 {
			t.Errorf("the long call ran %d times and used up %d retries", r.spine.called(long), o.Retries)
		}
	})
}

// A server that is gone without a word leaves leases; they pass, and the jobs are
// run again.
func TestLeasesPass(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, nil)
		r.end()
		id := r.accept("f", "1")
		now := time.Now()
		if jobs, err := r.store.Take(t.Context(), laneOf(ns, "f"), 10, now, now.Add(time.Minute)); err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		r.o.Alone = false
		r.Service = New(r.o)
		r.run()
		r.want(id, store.JobSucceeded)
		if took := time.Since(now); took < time.Minute || took > time.Minute+2*time.Second {
			t.Errorf("it was run after %s", took)
		}
	})
}

// Two servers share a store: each event ends once, and a cancellation on one reaches
// the other.
func TestTwoServers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			if inv.Function == "long" {
				<-inv.Stop.Done()
				return &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Failure"}, nil
			}
			time.Sleep(time.Second)
			return answer("1"), nil
		}, func(o *Options) { o.Alone = false })
		other := &rig{Service: New(r.o), t: t, store: r.store, shelf: r.shelf, spine: r.spine}
		other.run()
		var ids []string
		for i := range 300 {
			ids = append(ids, r.accept(fmt.Sprintf("f%d", i%7), fmt.Sprint(i)))
		}
		for _, id := range ids {
			other.want(id, store.JobSucceeded)
			if n := r.spine.called(id); n != 1 {
				t.Errorf("%s ran %d times", id, n)
			}
		}
		long := r.accept("long", "1")
		time.Sleep(5 * time.Second)
		for _, s := range []*rig{r, other} {
			if _, err := s.Cancel(t.Context(), ns, long); err != nil && lambent.ReasonOf(err) != "AlreadyEnded" {
				t.Error(err)
			}
		}
		r.want(long, store.JobCancelled)
		time.Sleep(time.Minute) // the other one hears of it with its next extension
	})
}

// What a function says of its error is of any size, and so is what a rule's delay grows
// to. Neither keeps the ends of others from the store.
func TestEndsOfAnySize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		long := strings.Repeat("<", 5<<20)
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error) {
			switch {
			case inv.Function == "talks":
				return failure(long, long), nil
			case inv.Function == "grows" && n <= 200:
				return failure("E", ""), nil
			}
			return answer("1"), nil
		}, nil)
		r.shelf.extra = map[string][]byte{"DeadLetterConfig": []byte(`{"TargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}`)}
		r.shelf.configure("grows", lambent.EventConfig{Rules: []lambent.RetryRule{{MaxRetries: 1000, Factor: 100}}})
		talks, grows := r.accept("talks", "1"), r.accept("grows", "1")
		o := r.want(talks, store.JobFailed)
		if len(o.Attempts) != 3 || len(o.Attempts[0].Error) != store.MaxWord || len(o.Attempts[0].Message) > maxMessage+3 {
			t.Errorf("%d attempts, the first with %d and %d bytes", len(o.Attempts), len(o.Attempts[0].Error), len(o.Attempts[0].Message))
		}
		letter, err := r.store.Job(t.Context(), o.Sent[0].Job)
		if err != nil || len(letter.Body) > 8*maxMessage {
			t.Errorf("a dead letter of %d bytes, %v", len(letter.Body), err)
		}
		if o := r.want(grows, store.JobSucceeded); o.Retries != 200 {
			t.Errorf("%d retries", o.Retries)
		}
		r.want(r.accept("f", "1"), store.JobSucceeded)
	})
}

// choosy is a store that does not take what it is asked for with one job.
type choosy struct {
	store.Jobs
	never string
}

func (c *choosy) Change(ctx context.Context, changes ...store.Change) ([]error, error) {
	for i := range changes {
		if changes[i].ID == c.never && changes[i].State != nil {
			return nil, lambent.Errorf(lambent.CodeTooLarge, "change job %s: it is too large", c.never)
		}
	}
	return c.Jobs.Change(ctx, changes...)
}

// An end that the store never takes fails alone.
func TestEndThatIsNeverTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := &choosy{never: NewID()}
		r := newRig(t, works, func(o *Options) { c.Jobs = o.Jobs; o.Jobs = c })
		ids := []string{r.accept("f", "1", func(q *Request) { q.Invocation.RequestID = c.never })}
		for i := range 50 {
			ids = append(ids, r.accept("f", fmt.Sprint(i)))
		}
		if o := r.want(ids[0], store.JobFailed); o.Error != "NotKept" {
			t.Errorf("the error is %s", o.Error)
		}
		for _, id := range ids[1:] {
			r.want(id, store.JobSucceeded)
		}
	})
}

// slow is a store whose leased jobs take their time to arrive.
type slow struct{ store.Jobs }

func (s slow) Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]store.Job, error) {
	jobs, err := s.Jobs.Take(ctx, lane, limit, now, until)
	time.Sleep(5 * onItsWay / 2)
	return jobs, err
}

// A call that is cancelled between its lease and its arrival is not run.
func TestCancelOnTheWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, func(o *Options) { o.Jobs = slow{o.Jobs} })
		id := r.accept("f", "1")
		synctest.Wait() // it is leased
		o, err := r.Cancel(t.Context(), ns, id)
		if err != nil || o.Status != store.JobCancelled {
			t.Fatalf("%+v, %v", o, err)
		}
		time.Sleep(time.Minute)
		if n := r.spine.called(id); n != 0 {
			t.Errorf("it ran %d times", n)
		}
	})
}

// A report of progress that is as deep as it may be keeps nobody from counting the tries.
func TestDeepProgress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		deep := []byte(strings.Repeat("[", lambent.MaxProgressDepth) + strings.Repeat("]", lambent.MaxProgressDepth))
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			inv.Progress(deep)
			return failure("E", ""), nil
		}, nil)
		id := r.accept("f", "1")
		if o := r.want(id, store.JobFailed); len(o.Attempts) != 3 || r.spine.called(id) != 3 {
			t.Errorf("%d attempts of %d calls", len(o.Attempts), r.spine.called(id))
		}
	})
}

// A fault of the platform uses up no retry.
func TestFaultsOfThePlatform(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, _ *lambent.Invocation, n int) (*lambent.Result, error) {
			if n > 9 {
				return answer("1"), nil
			}
			res := failure(sandbox.ByPlatform, "The sandbox failed")
			res.ErrorType = sandbox.ByPlatform
			return res, nil
		}, nil)
		r.shelf.configure("f", lambent.EventConfig{MaxRetries: new(0)})
		o := r.want(r.accept("f", "1"), store.JobSucceeded)
		if o.Retries != 0 || o.Refused != 9 || o.Attempts[0].Error != sandbox.ByPlatform {
			t.Errorf("%d retries, %d refused, %+v", o.Retries, o.Refused, o.Attempts)
		}
	})
}
