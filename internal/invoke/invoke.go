// Package invoke is the spine: every way to run a function ends in
// [Service.Invoke], which resolves the version, admits the call, acquires an
// instance, runs the invocation and records what became of it. It owns the
// concurrency limits; it refuses to know the caller's dialect and writes nothing
// durable. Above it are the front doors, below it the catalog, the pool and the
// log room's line formats.
package invoke

import (
	"context"
	"errors"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Options are the spine's neighbours and limits.
type Options struct {
	Catalog Resolver
	Pool    *pool.Pool
	Metrics *telemetry.Metrics // may be nil
	Traces  *telemetry.Traces  // nil is off
	Region  string
	// Concurrency is the account's limit of simultaneous invocations.
	Concurrency int
	// Queue is how many calls may wait in front of one function for a limit of
	// concurrency, and QueueWait how long; none wait by default.
	Queue     int
	QueueWait time.Duration
	// StreamRate, if positive, bounds a streamed answer after its first
	// lambent.StreamBurst bytes, in bytes per second.
	StreamRate int64
	// Observer is told of every call; nil is nobody.
	Observer Observer
	// NewID makes UUIDs for calls that come without a request id.
	NewID func() string
}

// Observer is told when a call asks for a version and when it is over, which it must
// note in next to no time. Calls that a limit keeps waiting count, too.
type Observer interface {
	Begin(v *lambent.Version) (began time.Time)
	// End is called once for each Begin.
	End(v *lambent.Version, began time.Time, how lambent.Outcome)
}

// Resolver finds what to run. It answers from memory.
type Resolver interface {
	Resolve(namespace, function, qualifier string) (*lambent.Version, error)
	Get(namespace, function, qualifier string) (catalog.Entry, error)
}

// Service is safe for use from any goroutine.
type Service struct {
	o     Options
	admit admission
}

// New makes the spine.
func New(o Options) *Service {
	s := &Service{o: o}
	s.admit.limit, s.admit.queue, s.admit.wait = o.Concurrency, o.Queue, o.QueueWait
	return s
}

// Invoke runs one invocation to its end. A function that fails is a Result; the
// error is for calls that no function has answered, and is a [lambent.Error].
// When the caller goes away before an instance is found, nothing runs; later the
// invocation is run to its end all the same, as on AWS.
func (s *Service) Invoke(ctx context.Context, inv *lambent.Invocation) (res *lambent.Result, err error) {
	led := inv.TraceID != "" // by another call, perhaps
	call := s.o.Traces.Begin(inv)
	defer func() { call.End(res, err) }()
	s.complete(inv)
	v, err := s.resolve(ctx, inv)
	if err == nil {
		err = refuseApp(v)
	}
	if err == nil && led {
		err = s.turn(inv, v)
	}
	if err != nil {
		return nil, s.refused(err)
	}
	if s.o.Observer != nil {
		began := s.o.Observer.Begin(v)
		defer func() { s.o.Observer.End(v, began, outcome(res, err)) }()
	}
	p, err := s.enter(ctx, v, inv.NoQueue)
	if err != nil {
		return nil, s.refused(err)
	}
	lasts := false // beyond the answer; then conclude leaves
	defer func() {
		if !lasts {
			s.leave(p)
		}
	}()

	call.Asked(inv, v)
	for attempt := 1; ; attempt++ {
		lease, err := s.o.Pool.AcquireNear(ctx, v, inv.Affinity)
		if err != nil {
			return nil, s.refused(err)
		}
		note(call, lease)
		rec := begin(lease, v, inv)
		rec.place = p
		res, err := s.run(ctx, rec, inv)
		if err == nil {
			lasts = rec.lasts
			return res, nil
		}
		// The instance died before it saw the event: another one may have it.
		if attempt == maxAttempts {
			return nil, s.refused(lambent.Errorf(lambent.CodeUnavailable, "hand event to %s: %w", v.Function, err))
		}
	}
}

// maxAttempts bounds how many dead instances one call may meet.
const maxAttempts = 3

// run sends the invocation to the leased instance and records its result.
func (s *Service) run(ctx context.Context, rec *record, inv *lambent.Invocation) (res *lambent.Result, err error) {
	lease, v := rec.lease, rec.version
	deadline := rec.began.Add(rec.limit)
	// One place lets go of the instance and its log, whatever became of the call.
	defer func() {
		if err != nil {
			lease.Log().End()
		}
		lease.Release(deadline)
	}()

	var answer sandbox.Answer
	if failure := lease.Failed(); failure != nil {
		answer.Failure = failure
	} else {
		callCtx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		if inv.Stop != nil {
			defer context.AfterFunc(inv.Stop, cancel)()
		}
		ev := s.event(v, inv, deadline)
		if ev.Stream != nil {
			ev.Left = ctx.Done()
		}
		answer, err = lease.Invoke(callCtx, ev)
		cancel()
		if err != nil {
			return nil, err
		}
	}
	res = finish(inv, v, &answer)
	rec.describe(&res.Report)
	if answer.Rest != nil {
		res.LogTail = s.outlast(rec, *res, answer.Rest)
		return res, nil
	}
	res.LogTail = rec.end(res, &answer)
	s.o.Metrics.Invoked(v, res)
	return res, nil
}

// enter admits a call of v within the limits that hold for it now, and counts one
// that they refuse. Its place is left when it is over.
func (s *Service) enter(ctx context.Context, v *lambent.Version, hurry bool) (p place, err error) {
	entry, err := s.o.Catalog.Get(v.Namespace, v.Function, "")
	if err == nil {
		p, err = s.admit.enter(ctx, v, entry.Function.Reserved, hurry)
	}
	switch {
	case err == nil:
		s.o.Metrics.Running(+1)
	case lambent.CodeOf(err) == lambent.CodeThrottled:
		s.o.Metrics.Throttled(v.Namespace, v.Function)
	}
	return p, err
}

// leave ends what enter has begun.
func (s *Service) leave(p place) {
	s.o.Metrics.Running(-1)
	p.leave()
}

// event is the invocation as the runtime sees it.
func (s *Service) event(v *lambent.Version, inv *lambent.Invocation, deadline time.Time) sandbox.Event {
	arn := v.ARN(s.o.Region)
	if inv.Qualifier != "" {
		arn += ":" + inv.Qualifier
	}
	return sandbox.Event{
		RequestID:     inv.RequestID,
		Payload:       inv.Payload,
		FunctionARN:   arn,
		Deadline:      deadline,
		TraceID:       inv.TraceID,
		ClientContext: inv.ClientContext,
		Stream:        paced(inv.Stream, s.o.StreamRate),
		Progress:      inv.Progress,
	}
}

// activeWait is how long a call waits for a version that is being made ready. It looks
// soon, and then less and less often: there may be many such calls.
const (
	activeWait = 5 * time.Second
	firstLook  = 2 * time.Millisecond
	lastLook   = 50 * time.Millisecond
)

// resolve finds the version; one that is not ready yet is waited for briefly,
// because it will be within milliseconds.
func (s *Service) resolve(ctx context.Context, inv *lambent.Invocation) (*lambent.Version, error) {
	qualifier := inv.Qualifier
	if inv.Version != "" {
		qualifier = inv.Version
	}
	until := time.Now().Add(activeWait)
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		v, err := s.o.Catalog.Resolve(inv.Namespace, inv.Function, qualifier)
		if err != nil {
			return nil, err
		}
		if v.State == lambent.StateActive {
			return v, nil
		}
		if v.State != lambent.StatePending || time.Now().After(until) {
			return nil, lambent.Errorf(lambent.CodeConflict,
				"The operation cannot be performed at this time. The function is currently in the following state: %s", v.State)
		}
		select {
		case <-ctx.Done():
			return nil, lambent.Errorf(lambent.CodeCanceled, "wait for %s: %w", inv.Function, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// complete fills what the door left open.
func (s *Service) complete(inv *lambent.Invocation) {
	if inv.RequestID == "" {
		inv.RequestID = s.o.NewID()
	}
	if inv.TraceID == "" {
		inv.TraceID = newTraceID(time.Now(), s.o.NewID())
	}
}

// refused counts an invocation that no function answered.
func (s *Service) refused(err error) error {
	s.o.Metrics.Refused(lambent.CodeOf(err))
	var coded *lambent.Error
	if errors.As(err, &coded) {
		return err
	}
	return &lambent.Error{Code: lambent.CodeInternal, Message: err.Error(), Cause: err}
}
