package invoke

import (
	"context"
	"errors"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Backend is an application's instance, for the time of one request.
type Backend interface {
	sandbox.Dialer
	// ID is the instance's: unique as long as the server runs.
	ID() string
	// Version is what it runs.
	Version() *lambent.Version
	// Done is closed when it has ended, for the reason that Why tells.
	Done() <-chan struct{}
	Why() *sandbox.Failure
}

// Send passes one request to an instance and its answer to the caller. An error
// in which errors.As finds an [UnsentError] says that another instance may be tried.
type Send func(ctx context.Context, to Backend) error

// UnsentError is the error of a request of which the instance has seen nothing.
type UnsentError struct{ Cause error }

// Error implements error.
func (u UnsentError) Error() string { return u.Cause.Error() }

// Unwrap is for errors.As.
func (u UnsentError) Unwrap() error { return u.Cause }

// Forward is Invoke for an application: the same way to an instance, where the
// request is passed through by send instead of being handed over as an event. The
// instance is in use until send returns, which may be the life of a stream. The
// error is send's, or that of a request that has reached no instance, which is a
// [lambent.Error].
func (s *Service) Forward(ctx context.Context, inv *lambent.Invocation, send Send) (err error) {
	call := s.o.Traces.Begin(inv)
	defer func() { call.End(nil, err) }()
	v, err := s.resolve(ctx, inv)
	if err != nil {
		return s.refused(err)
	}
	if v.App == nil {
		return s.refused(lambent.Errorf(lambent.CodeInvalid, "%s is not an HTTP application", v.Function))
	}
	if s.o.Observer != nil {
		began := s.o.Observer.Begin(v)
		defer func() { s.o.Observer.End(v, began, forwarded(ctx, inv, err)) }()
	}
	p, err := s.enter(ctx, v, inv.NoQueue)
	if err != nil {
		return s.refused(err)
	}
	defer s.leave(p)
	call.Asked(inv, v)
	for attempt := 1; ; attempt++ {
		lease, err := s.o.Pool.AcquireNear(ctx, v, inv.Affinity)
		if err != nil {
			return s.refused(err)
		}
		err = s.forward(ctx, call, lease, send)
		var unsent UnsentError
		if !errors.As(err, &unsent) || attempt == maxAttempts {
			return err
		}
	}
}

// forward is one attempt.
func (s *Service) forward(ctx context.Context, call *telemetry.Call, lease *pool.Lease, send Send) error {
	v := lease.Version()
	defer lease.Release(time.Time{})
	note(call, lease)
	if f := lease.Failed(); f != nil {
		s.o.Metrics.ForwardFailed(v, f.Type)
		return &lambent.Error{Code: lambent.CodeUnavailable, Reason: f.Type, Message: f.Message}
	}
	began := time.Now()
	err := send(ctx, lease)
	if err == nil || ctx.Err() == nil { // who goes away says nothing of the instance
		lease.Judged(err == nil)
	}
	s.o.Metrics.Forwarded(v, time.Since(began), err != nil)
	return err
}

// forwarded is what an observer is told. A request that its caller gives up says
// nothing of the application.
func forwarded(ctx context.Context, inv *lambent.Invocation, err error) lambent.Outcome {
	switch {
	case err == nil && inv.Broken:
		return lambent.CallFailed
	case err != nil && ctx.Err() != nil:
		return lambent.CallRefused
	}
	return outcome(nil, err)
}

// refuseApp is the answer to who invokes an application.
func refuseApp(v *lambent.Version) error {
	if v.App == nil {
		return nil
	}
	return lambent.Errorf(lambent.CodeInvalid, "%s is an HTTP application, which takes no events: send requests to /fn/%s/ on the gateway address", v.Function, v.Function)
}
