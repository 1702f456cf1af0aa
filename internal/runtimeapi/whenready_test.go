package runtimeapi

import (
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// TestWhenReady: who waits for the runtime is told once, when it comes back or when
// it has gone, and not at all when that is so already.
func TestWhenReady(t *testing.T) {
	told := make(chan struct{}, 2)
	tell := func() { told <- struct{}{} }
	expect := func(t *testing.T, when string) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(10 * time.Second):
			t.Fatal("not told " + when)
		}
	}

	s := NewSession(Options{})
	w := &waiter{answer: func(reply) {}}
	if !s.WhenReady(tell) {
		t.Fatal("ready before the runtime has come")
	}
	if _, now := s.next(w); now {
		t.Fatal("an event out of nowhere")
	}
	expect(t, "when the runtime came")
	if s.WhenReady(tell) {
		t.Error("not ready although the runtime waits")
	}

	if _, _, err := s.offer(sandbox.Event{RequestID: "one"}); err != nil {
		t.Fatal(err)
	}
	if !s.WhenReady(tell) {
		t.Fatal("ready while it has an event")
	}
	s.Exited(sandbox.Failure{Type: "Runtime.ExitError"})
	expect(t, "when the runtime had gone")
	if s.WhenReady(tell) {
		t.Error("not ready although there is nothing to wait for")
	}
	s.serving.Wait()
	if len(told) > 0 {
		t.Error("told twice")
	}
}
