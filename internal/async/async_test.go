package async

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

func TestEveryEventRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, nil)
		ids := map[string]string{}
		for i := range 2000 {
			ids[r.accept(fmt.Sprintf("f%d", i%3), fmt.Sprint(i))] = fmt.Sprint(i)
		}
		for id, n := range ids {
			o := r.want(id, store.JobSucceeded)
			if r.spine.called(id) != 1 || string(o.Answer.Payload) != n || len(o.Attempts) != 1 || o.Attempts[0].Instance != "i-1" || o.Condition != Success {
				t.Fatalf("event %s ran %d times: %+v", n, r.spine.called(id), o)
			}
		}
		r.end()
		if lanes, _ := r.store.Lanes(context.Background()); len(lanes) != 0 {
			t.Errorf("lanes are left: %+v", lanes)
		}
	})
}

func TestOrderWithinAFunction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, func(o *Options) { o.Concurrency = 1 })
		var last string
		for _, n := range numbers(300) {
			last = r.accept("f", n)
		}
		r.wait(last)
		if got := r.spine.ran(); !slices.Equal(got, numbers(300)) {
			t.Errorf("the order is %v", got)
		}
	})
}

func TestKeysKeepTheirOrderAndPriorityGoesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var open atomic.Int32
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			if open.Add(1) > 1 && inv.Payload[0] == 'k' {
				t.Error("two calls with one key ran at the same time")
			}
			time.Sleep(10 * time.Millisecond)
			open.Add(-1)
			return answer("1"), nil
		}, func(o *Options) { o.Concurrency = 1 })
		var want []string
		var last string
		for i := range 20 {
			want = append(want, fmt.Sprintf("k%d", i))
			last = r.accept("f", want[i], func(q *Request) { q.Key = "k" })
		}
		r.wait(last)
		if got := r.spine.ran(); !slices.Equal(got, want) {
			t.Errorf("the order is %v", got)
		}
		soon := time.Now().Add(time.Minute)
		for p := range 5 {
			last = r.accept("g", fmt.Sprintf("p%d", p), func(q *Request) { q.Priority, q.At = p, soon })
		}
		r.wait(last)
		if got := r.spine.ran()[20]; got != "p4" {
			t.Errorf("%s went first, want p4", got)
		}
	})
}

func TestRetriesAsOnAWS(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error) {
			if string(inv.Payload) == "poison" || n <= 2 {
				return failure("ValueError", "no"), nil
			}
			return answer("1"), nil
		}, func(o *Options) { o.Rand = func() float64 { return 0.5 } })
		begin := time.Now()
		healed, poison := r.accept("f", "heals"), r.accept("f", "poison")
		o := r.want(healed, store.JobSucceeded)
		if len(o.Attempts) != 3 || o.Retries != 2 {
			t.Errorf("attempts %+v", o.Attempts)
		}
		if took := time.Since(begin).Round(time.Second); took < 3*time.Minute || took > 3*time.Minute+5*time.Second {
			t.Errorf("two retries took %s, want one minute and two", took)
		}
		o = r.want(poison, store.JobFailed)
		if r.spine.called(poison) != 3 || o.Condition != RetriesExhausted || o.Error != "ValueError" || o.Answer.LogTail != "log\n" {
			t.Errorf("poison: %+v", o)
		}
	})
}

func TestRulesByError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error) {
			return failure(string(inv.Payload), ""), nil
		}, nil)
		r.shelf.configure("f", lambent.EventConfig{MaxRetries: new(1), Rules: []lambent.RetryRule{
			{Error: "Net*", MaxRetries: 7, Delay: time.Second, Factor: 2, MaxDelay: 8 * time.Second},
			{Error: "*.Fatal", MaxRetries: 0},
		}})
		for payload, want := range map[string]int{"NetTimeout": 8, "Disk.Fatal": 1, "Other": 2} {
			id := r.accept("f", payload)
			r.want(id, store.JobFailed)
			if got := r.spine.called(id); got != want {
				t.Errorf("%s: called %d times, want %d", payload, got, want)
			}
		}
	})
}

// Throttled events and faults of the platform use up no retry, and others' events
// pass them.
func TestNoRoomUsesUpNoRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		begin := time.Now()
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error) {
			if inv.Function == "f" && time.Since(begin) < 20*time.Minute {
				return nil, lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason("ReservedFunctionConcurrentInvocationLimitExceeded")
			}
			return answer("1"), nil
		}, nil)
		var ids []string
		for _, n := range numbers(50) {
			ids = append(ids, r.accept("f", n))
		}
		other := r.accept("g", "1")
		r.want(other, store.JobSucceeded)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("another function's event waited for %s", took)
		}
		for _, id := range ids {
			if o := r.want(id, store.JobSucceeded); o.Retries != 0 || o.Refused == 0 {
				t.Errorf("retries %d, refused %d", o.Retries, o.Refused)
			}
		}
		if took := time.Since(begin); took < 20*time.Minute || took > 30*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *lambent.Invocation, int) (*lambent.Result, error) {
			return nil, lambent.Errorf(lambent.CodeUnavailable, "no instance")
		}, nil)
		r.shelf.configure("f", lambent.EventConfig{MaxAge: 10 * time.Minute})
		begin := time.Now()
		o := r.want(r.accept("f", "1"), store.JobExpired)
		if o.Condition != EventAgeExceeded || time.Since(begin) < 10*time.Minute || time.Since(begin) > 16*time.Minute {
			t.Errorf("after %s: %+v", time.Since(begin), o)
		}
		// An event that is put off is as old as the moment it was put off to.
		late := r.accept("f", "2", func(q *Request) { q.At = time.Now().Add(time.Hour) })
		begin = time.Now()
		r.want(late, store.JobExpired)
		if took := time.Since(begin); took < 70*time.Minute {
			t.Errorf("a call in an hour with ten minutes expired after %s", took)
		}
	})
}

func TestPutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, nil)
		begin := time.Now()
		id := r.accept("f", "1", func(q *Request) { q.At = begin.Add(5 * time.Minute) })
		time.Sleep(4 * time.Minute)
		if o, err := r.Get(t.Context(), ns, id); err != nil || o.Status != store.JobWaiting || !o.Due.Equal(begin.Add(5*time.Minute)) {
			t.Errorf("after four minutes: %+v, %v", o, err)
		}
		r.want(id, store.JobSucceeded)
		if took := time.Since(begin); took < 5*time.Minute || took > 5*time.Minute+2*time.Second {
			t.Errorf("it ran after %s", took)
		}
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, func(o *Options) { o.MaxWaiting = 1 << 20 })
		inv := func(fn, payload string) *lambent.Invocation {
			return &lambent.Invocation{Namespace: ns, Function: fn, Payload: []byte(payload)}
		}
		many := map[string]string{}
		for i := range MaxLabels + 1 {
			many[fmt.Sprint(i)] = "x"
		}
		for name, tt := range map[string]struct {
			q    Request
			want lambent.Code
		}{
			"no function": {Request{Invocation: inv("nobody", "1")}, lambent.CodeNotFound},
			"too large":   {Request{Invocation: inv("f", strings.Repeat("x", lambent.MaxAsyncPayload+1))}, lambent.CodeTooLarge},
			"labels":      {Request{Invocation: inv("f", "1"), Labels: many}, lambent.CodeInvalid},
			"no label":    {Request{Invocation: inv("f", "1"), Labels: map[string]string{"": "x"}}, lambent.CodeInvalid},
			"priority":    {Request{Invocation: inv("f", "1"), Priority: 1001}, lambent.CodeInvalid},
			"key":         {Request{Invocation: inv("f", "1"), Key: strings.Repeat("k", 257)}, lambent.CodeInvalid},
			"key of NUL":  {Request{Invocation: inv("f", "1"), Key: "a\x00"}, lambent.CodeInvalid},
			"no text":     {Request{Invocation: inv("f", "1"), Labels: map[string]string{"a": "\xff"}}, lambent.CodeInvalid},
			"far":         {Request{Invocation: inv("f", "1"), At: time.Now().Add(2 * maxAhead)}, lambent.CodeInvalid},
		} {
			if _, _, err := r.Accept(t.Context(), tt.q); lambent.CodeOf(err) != tt.want {
				t.Errorf("%s: %v, want %s", name, err, tt.want)
			}
		}
		r.mu.Lock()
		r.waiting = 1 << 20
		r.mu.Unlock()
		if _, _, err := r.Accept(t.Context(), Request{Invocation: inv("f", "1")}); lambent.CodeOf(err) != lambent.CodeUnavailable {
			t.Errorf("full: %v", err)
		}
	})
}

func TestIdempotency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, works, nil)
		once := func(q *Request) { q.Idempotency = "order-7" }
		a, b := r.accept("f", "1", once), r.accept("f", "1", once)
		if other := r.accept("g", "1", once); a != b || a == other {
			t.Errorf("ids %s, %s; of another function %s", a, b, other)
		}
		r.want(a, store.JobSucceeded)
		if c := r.accept("f", "1", once); c != a || r.spine.called(a) != 1 {
			t.Errorf("after its end: %s, called %d times", c, r.spine.called(a))
		}
		q := Request{Invocation: &lambent.Invocation{Namespace: ns, Function: "f", Payload: []byte("2")}, Idempotency: "order-7"}
		if _, _, err := r.Accept(t.Context(), q); lambent.ReasonOf(err) != "IdempotencyMismatch" {
			t.Errorf("another payload: %v", err)
		}
	})
}

// One function with a thousand long calls does not delay another's one.
func TestFairness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			if inv.Function == "noisy" {
				time.Sleep(10 * time.Second)
			}
			return answer("1"), nil
		}, func(o *Options) { o.Concurrency = 8 })
		r.shelf.configure("x", lambent.EventConfig{})
		for _, n := range numbers(1000) {
			r.accept("Noisy", n)
		}
		for i := range 20 {
			time.Sleep(7 * time.Second)
			begin := time.Now()
			r.want(r.accept("quiet", fmt.Sprint(i)), store.JobSucceeded)
			if took := time.Since(begin); took > 100*time.Millisecond {
				t.Errorf("the quiet function waited for %s", took)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			select {
			case <-inv.Stop.Done():
				return &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Failure"}, nil
			case <-time.After(time.Hour):
				return answer("1"), nil
			}
		}, func(o *Options) { o.Concurrency = 1 })
		running, leased := r.accept("f", "1"), r.accept("f", "2")
		later := r.accept("f", "3", func(q *Request) { q.At = time.Now().Add(time.Hour) })
		time.Sleep(time.Second)
		for _, id := range []string{leased, later, running} {
			o, err := r.Cancel(t.Context(), ns, id)
			if err != nil || o.Status != store.JobCancelled {
				t.Errorf("cancel %s: %+v, %v", id, o, err)
			}
		}
		if n := r.spine.called(leased) + r.spine.called(later); n != 0 {
			t.Errorf("cancelled calls ran %d times", n)
		}
		if _, err := r.Cancel(t.Context(), ns, running); lambent.ReasonOf(err) != "AlreadyEnded" {
			t.Errorf("cancel again: %v", err)
		}
		if _, err := r.Cancel(t.Context(), "111111111111", running); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("another tenant's: %v", err)
		}
	})
}

func TestProgressAndLongCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			if inv.Timeout != 8*time.Hour {
				t.Errorf("the limit is %s", inv.Timeout)
			}
			for i := range 3 {
				time.Sleep(time.Hour)
				inv.Progress(fmt.Appendf(nil, `{"hours":%d}`, i+1))
			}
			return answer("1"), nil
		}, nil)
		r.shelf.settings.AsyncTimeout = 8 * time.Hour
		id := r.accept("f", "1")
		var seen []string
		err := r.Watch(t.Context(), ns, id, func(o *Object) bool {
			if o.Status != store.JobWaiting {
				seen = append(seen, string(o.Status)+string(o.Progress))
			}
			return true
		})
		want := []string{`running`, `running{"hours":1}`, `running{"hours":2}`, `succeeded{"hours":3}`}
		seen = slices.DeleteFunc(seen, func(s string) bool { return s == `running{"hours":3}` }) // it may or may not be seen before the end
		if err != nil || !slices.Equal(seen, want) {
			t.Errorf("saw %v, %v", seen, err)
		}
		if o := r.wait(id); string(o.Progress) != `{"hours":3}` || o.Status != store.JobSucceeded || r.spine.called(id) != 1 {
			t.Errorf("in the end %+v", o)
		}
	})
}

// A cancellation and the loss of the lease may come at the same time.
func TestCancelAsTheLeasePasses(t *testing.T) {
	s := New(Options{Jobs: store.NewMemory(), Catalog: &shelf{}, Region: region})
	for range 100 {
		s.hold(newHeld(t.Context(), store.Job{ID: "j", Token: 1}, nil))
		var both sync.WaitGroup
		both.Go(func() { s.cancelHere("j") })
		both.Go(func() { s.extended([]store.Change{{ID: "j", Token: 1}}, []error{store.ErrConflict}) })
		both.Wait()
		if s.cancelHere("j") {
			t.Fatal("a job that is another's was cancelled here")
		}
	}
}
