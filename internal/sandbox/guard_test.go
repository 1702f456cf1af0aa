package sandbox_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

func start(t *testing.T, s fake.Script) (sandbox.Instance, *fake.Driver) {
	t.Helper()
	d := fake.New(s)
	i, err := sandbox.Guard(d).Start(t.Context(), sandbox.Spec{ID: "one", Version: &lambent.Version{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	return i, d
}

func TestGuardSerialises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		i, _ := start(t, fake.Script{Invoke: func(context.Context, *fake.Instance, sandbox.Event) (sandbox.Answer, error) {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			return sandbox.Answer{}, nil
		}})
		errs := make(chan error, 3)
		begin := time.Now()
		for range 3 {
			go func() {
				_, err := i.Invoke(t.Context(), sandbox.Event{})
				errs <- err
			}()
		}
		for range 3 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if most.Load() != 1 || time.Since(begin) != 3*time.Second {
			t.Errorf("%d at once, %v in all", most.Load(), time.Since(begin))
		}
		// Waiting for the turn is under the caller's deadline.
		go i.Invoke(t.Context(), sandbox.Event{})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := i.Invoke(ctx, sandbox.Event{}); lambent.CodeOf(err) != lambent.CodeTimeout {
			t.Errorf("an impatient caller got %v", err)
		}
		select {
		case <-i.Done():
			t.Error("a caller's deadline ended the instance")
		default:
		}
		time.Sleep(2 * time.Second)
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestGuardEndsOnFirstError(t *testing.T) {
	calls := 0
	i, d := start(t, fake.Script{Invoke: func(context.Context, *fake.Instance, sandbox.Event) (sandbox.Answer, error) {
		calls++
		return sandbox.Answer{}, errors.New("the wire is cut")
	}})
	if _, err := i.Invoke(t.Context(), sandbox.Event{}); err == nil {
		t.Fatal("the error is gone")
	}
	<-i.Done()
	<-i.Ready()
	if why := i.Why(); why == nil || why.Type != "Sandbox.Failure" {
		t.Errorf("why: %+v", why)
	}
	if d.Live() != 0 {
		t.Error("the instance lives on")
	}
	if _, err := i.Invoke(t.Context(), sandbox.Event{}); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("invoke of a dead instance: %v", err)
	}
	if _, err := i.Init(t.Context()); lambent.CodeOf(err) != lambent.CodeUnavailable {
		t.Errorf("init of a dead instance: %v", err)
	}
	if calls != 1 {
		t.Errorf("the driver was called %d times", calls)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestGuardLetsFailuresPass(t *testing.T) {
	i, _ := start(t, fake.Script{Invoke: func(_ context.Context, i *fake.Instance, _ sandbox.Event) (sandbox.Answer, error) {
		return sandbox.Answer{FunctionError: true, ErrorType: "Function.Oops"}, nil
	}})
	a, err := i.Invoke(t.Context(), sandbox.Event{})
	if err != nil || a.ErrorType != "Function.Oops" {
		t.Errorf("%+v, %v", a, err)
	}
	select {
	case <-i.Done():
		t.Error("a function's error ended the instance")
	default:
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
