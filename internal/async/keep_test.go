package async

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// runKeeper starts a memory of calls; the returned function ends it.
func runKeeper(r *rig, share float64) (*Keeper, func()) {
	k := r.NewKeeper(share)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return k, func() { cancel(); <-done }
}

func TestCallsThatFailAreKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, picky, nil)
		k, end := runKeeper(r, 0)
		defer end()
		call := func(id, payload string) *lambent.Invocation {
			inv := &lambent.Invocation{RequestID: id, Namespace: ns, Function: "f", Payload: []byte(payload), Source: "url", Arrived: time.Now()}
			if _, err := k.Invoke(t.Context(), inv); err != nil {
				t.Fatal(err)
			}
			return inv
		}
		bad := call("bad", `"bad"`)
		call("good", `"ok"`)
		bad.Payload[1] = 'X' // the caller's memory is the caller's
		time.Sleep(time.Second)
		o, err := r.Get(t.Context(), ns, "bad")
		if err != nil || o.Kind != KindCall || o.Status != store.JobFailed || o.Error != "ValueError" || string(o.Payload) != `"bad"` || o.Source != "url" {
			t.Errorf("kept %+v, %v", o, err)
		}
		if _, err := r.Get(t.Context(), ns, "good"); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("a call that did not fail: %v", err)
		}
		again, err := r.Retry(t.Context(), ns, "bad")
		if err != nil {
			t.Fatal(err)
		}
		if o := r.want(again, store.JobFailed); o.RetryOf != "bad" {
			t.Errorf("retried as %+v", o)
		}
	})
}

// What comes too fast, or is too large, does not make anybody wait.
func TestKeptCallsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			return answer(string(inv.Payload)), nil
		}, nil)
		k, end := runKeeper(r, 1)
		defer end()
		large := bytes.Repeat([]byte("x"), maxCallPayload+1)
		begin := time.Now()
		for i := range 5 * maxCalls {
			inv := &lambent.Invocation{RequestID: fmt.Sprint("c", i), Namespace: ns, Function: "f", Payload: large}
			if _, err := k.Invoke(t.Context(), inv); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("the calls waited for %s", took)
		}
		if n := k.bytes.Load(); n > maxCallBytes+2*maxCallPayload {
			t.Errorf("%d bytes wait to be written", n)
		}
		time.Sleep(time.Minute)
		if n := k.bytes.Load(); n != 0 {
			t.Errorf("%d bytes count as held when all is written", n)
		}
		found, err := r.List(t.Context(), Query{Namespace: ns, Function: "f", Kind: KindCall, Limit: 10 * maxCalls})
		if err != nil || len(found) < maxCallBytes/maxCallPayload || len(found) > 2*maxCalls {
			t.Errorf("%d calls are kept, %v", len(found), err)
		}
		o, err := r.Get(t.Context(), ns, found[0].ID)
		if err != nil || o.Payload != nil || len(o.Answer.Payload) != maxCallPayload || o.Answer.Truncated != len(large) {
			t.Errorf("a large payload is kept with %d bytes, its answer with %d of %d, %v", len(o.Payload), len(o.Answer.Payload), o.Answer.Truncated, err)
		}
		if _, err := r.Retry(t.Context(), ns, found[0].ID); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("retry without a payload: %v", err)
		}
	})
}

func TestReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
			return answer(fmt.Sprintf("%q", inv.Qualifier+string(inv.Payload))), nil
		}, nil)
		id := r.accept("f", "1")
		r.wait(id)
		p, err := r.Replay(t.Context(), ns, id, "7")
		if err != nil || string(p.Was.Answer.Payload) != `"1"` || string(p.Now.Payload) != `"71"` || p.ID == id {
			t.Errorf("replayed %+v, %v", p, err)
		}
		if _, err := r.Replay(t.Context(), "111111111111", id, ""); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("another tenant's: %v", err)
		}
		found, err := r.List(t.Context(), Query{Namespace: ns})
		if err != nil || len(found) != 1 {
			t.Errorf("%d calls are kept, %v", len(found), err)
		}
	})
}

func TestWindow(t *testing.T) {
	w := window{size: firstWindow}
	for range 2000 {
		w.ran(time.Second)
	}
	if w.size < 100 {
		t.Errorf("with steady calls the window is %.0f", w.size)
	}
	for range 20000 {
		w.ran(3 * time.Second)
	}
	slow := w.size
	if w.refused(); w.size != max(slow/2, 1) {
		t.Errorf("after a refusal the window is %.1f, before %.1f", w.size, slow)
	}
	for range 100 {
		w.refused()
	}
	if w.size != 1 {
		t.Errorf("the window is %.1f", w.size)
	}
	if w.ran(time.Second); w.size < max(slow/2, firstWindow) {
		t.Errorf("after a long block the window is %.1f, before %.1f", w.size, slow)
	}
}

func TestErrorsOfTheStore(t *testing.T) {
	cause := lambent.Errorf(lambent.CodeUnavailable, "the disk is full").WithReason(store.ReasonDiskFull)
	err := unavailable("keep the event", cause)
	if lambent.CodeOf(err) != lambent.CodeUnavailable || lambent.ReasonOf(err) != store.ReasonDiskFull || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}
