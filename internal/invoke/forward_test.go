package invoke

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// application makes the shelf's function one that serves HTTP.
func (b bench) application() {
	v := *b.shelf.version.Load()
	v.App = &lambent.App{Port: 8080, StartTimeout: time.Second, Concurrency: 5}
	b.shelf.version.Store(&v)
}

func (b bench) forward(send Send) error {
	return b.Forward(context.Background(), &lambent.Invocation{Namespace: "000000000000", Function: "f"}, send)
}

func TestForward(t *testing.T) {
	inService(t, fake.Script{}, func(t *testing.T, b bench) {
		if err := b.forward(nil); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("to a function: %v", err)
		}
		b.application()
		if _, err := b.call("{}"); lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), "/fn/f/") {
			t.Errorf("an event to an application: %v", err)
		}
		ids := map[string]bool{}
		broken := errors.New("broken")
		if err := b.forward(func(_ context.Context, to Backend) error {
			ids[to.ID()] = true
			// While this request lasts another one has the same instance.
			if err := b.forward(func(_ context.Context, to Backend) error { ids[to.ID()] = true; return nil }); err != nil {
				t.Error(err)
			}
			return broken
		}); !errors.Is(err, broken) || len(ids) != 1 {
			t.Errorf("%v, %d instances", err, len(ids))
		}
	})
}

// TestForwardTriesOthers only when nothing was sent, and not for ever.
func TestForwardTriesOthers(t *testing.T) {
	inService(t, fake.Script{}, func(t *testing.T, b bench) {
		b.application()
		tries := 0
		err := b.forward(func(context.Context, Backend) error {
			if tries++; tries == 2 {
				return nil
			}
			return UnsentError{errors.New("refused")}
		})
		if err != nil || tries != 2 {
			t.Errorf("after %d tries: %v", tries, err)
		}
		tries = 0
		var unsent UnsentError
		if err := b.forward(func(context.Context, Backend) error { tries++; return UnsentError{errors.New("refused")} }); !errors.As(err, &unsent) || tries != maxAttempts {
			t.Errorf("after %d tries: %v", tries, err)
		}
	})
}

func TestForwardToWhatDoesNotStart(t *testing.T) {
	fails := func(context.Context, *fake.Instance) error {
		return fake.End(sandbox.Failure{Type: "Runtime.StartTimeout", Message: "it listens on 3000 instead"})
	}
	inService(t, fake.Script{Init: fails}, func(t *testing.T, b bench) {
		b.application()
		err := b.forward(func(context.Context, Backend) error { t.Error("sent"); return nil })
		var e *lambent.Error
		if !errors.As(err, &e) || e.Code != lambent.CodeUnavailable || e.Reason != "Runtime.StartTimeout" || e.Message != "it listens on 3000 instead" {
			t.Errorf("%+v", err)
		}
	})
}

// TestForwardIsAdmitted within the same limits as invocations.
func TestForwardIsAdmitted(t *testing.T) {
	inService(t, fake.Script{}, func(t *testing.T, b bench) {
		b.application()
		one := 1
		b.shelf.reserved = &one
		if err := b.forward(func(context.Context, Backend) error {
			if err := b.forward(func(context.Context, Backend) error { return nil }); lambent.CodeOf(err) != lambent.CodeThrottled {
				t.Errorf("a second request beside the one that is allowed: %v", err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}
