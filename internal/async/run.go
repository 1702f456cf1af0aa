package async

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/store"
)

// verdict is what the dispatcher learns of a call.
type verdict struct {
	ran   bool          // a warm instance was reached, and the call took
	took  time.Duration // so long, with the wait for the instance
	busy  bool          // there was no room
	again bool          // the job goes back to the front of its lane
}

// perform runs a held job once and sees to what comes of it.
func (s *Service) perform(calls context.Context, h *held, now time.Time) {
	e, v := s.try(h, now)
	if !v.again {
		s.leaves(h)
		select {
		case s.ends <- e:
		case <-calls.Done():
		}
	}
	s.box.tell(func(d *dispatcher) { d.performed(h, v) })
}

// leaves notes that the end of a job is on its way to the store.
func (s *Service) leaves(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.ending = true
}

// try runs a held job once.
func (s *Service) try(h *held, now time.Time) (ending, verdict) {
	if e, over := s.before(h, now); over {
		return e, verdict{}
	}
	if h.head.To != nil {
		s.begin(h, now)
		return s.deliver(h, now), verdict{}
	}
	f := s.function(h)
	if f.Settings.HoldEvents {
		return ending{}, verdict{busy: true, again: true}
	}
	s.begin(h, now)
	if f.Reserved != nil && *f.Reserved == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.conclude(h, store.JobFailed, finish{condition: ZeroReservedConcurrency, errorType: ZeroReservedConcurrency}), verdict{}
	}
	inv := s.invocation(h)
	inv.Timeout = f.Settings.AsyncTimeout
	res, err := s.o.Invoker.Invoke(lambent.WithCause(h.ctx, h.head.Cause), inv)
	return s.judge(h, inv, attemptOf(res, err, now, s.o.Now()), res, err)
}

// before ends a job that is not to be run any more.
func (s *Service) before(h *held, now time.Time) (ending, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case h.lost:
		return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Uncounted: true, Error: h.job.Error}}, true
	case h.cancelled:
		return s.ended(h, store.JobCancelled, "Cancelled", nil), true
	case s.tooOld(h, now):
		return s.conclude(h, store.JobExpired, finish{condition: EventAgeExceeded, errorType: "EventAgeExceeded"}), true
	}
	return ending{}, false
}

// begin notes that a job runs now.
func (s *Service) begin(h *held, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.started = now
	s.changed(h.job.ID)
	if len(h.state.Attempts) == 0 && h.state.Refused == 0 {
		s.o.Metrics.EventStarted(now.Sub(later(h.job.Created, h.head.After)))
	}
}

// function is what is chosen for a job's function; nothing when it is gone, which the
// call will tell.
func (s *Service) function(h *held) (f lambent.Function) {
	namespace, function := ownerOf(h.job.Lane)
	if entry, err := s.o.Catalog.Get(namespace, function, ""); err == nil {
		f = *entry.Function
	}
	return f
}

// invocation is the call that a job stands for.
func (s *Service) invocation(h *held) *lambent.Invocation {
	namespace, function := ownerOf(h.job.Lane)
	return &lambent.Invocation{
		RequestID: h.job.ID, Namespace: namespace, Function: function, Qualifier: h.head.Qualifier, Version: h.head.Version,
		Payload: h.payload, ClientContext: h.head.Context, TraceID: h.head.Trace, Source: h.head.Source,
		WantTail: true, Arrived: s.o.Now(), NoQueue: true, Stop: h.ctx,
		Progress: func(report []byte) { s.progress(h, report) },
	}
}

// progress keeps what a function tells of how far it is.
func (s *Service) progress(h *held, report []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.state.Progress = append(json.RawMessage(nil), report...)
	h.progress = true
	s.changed(h.job.ID)
}

func attemptOf(res *lambent.Result, err error, start, end time.Time) Attempt {
	a := Attempt{Start: start, End: end}
	if err != nil {
		a.Error, a.Message = classOf(err), err.Error()
		return a
	}
	a.Version, a.Instance = res.ExecutedVersion, res.Report.Instance
	a.Duration, a.Init, a.Cold = res.Report.Duration, res.Report.Init, res.Report.Cold
	for _, st := range res.Report.Stages {
		a.Stages = append(a.Stages, Stage{Name: st.Name, Took: st.Took})
	}
	if res.FunctionError != "" {
		a.Error, a.Message = errorOf(res)
	}
	return a
}

// classOf is what jobs are found by that have failed with an error of the platform.
func classOf(err error) string { return cmp.Or(lambent.ReasonOf(err), string(lambent.CodeOf(err))) }

// errorOf is the type and the message of a function's error.
func errorOf(res *lambent.Result) (typ, message string) {
	var object struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	_ = json.Unmarshal(res.Payload, &object) // what is no error object leaves the platform's type
	switch {
	case object.Type != "":
		return object.Type, object.Message
	case res.ErrorType != "":
		return res.ErrorType, object.Message
	}
	return res.FunctionError, object.Message
}

// judge decides what becomes of a job after a try.
func (s *Service) judge(h *held, inv *lambent.Invocation, a Attempt, res *lambent.Result, err error) (ending, verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.started = time.Time{}
	v := verdict{ran: err == nil && !res.Report.Cold, took: a.End.Sub(a.Start)}
	f := finish{inv: inv, res: res, errorType: a.Error}
	switch {
	case h.lost:
		return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Uncounted: true, Error: h.job.Error}}, v
	case h.cancelled && (err != nil || res.FunctionError != ""):
		a.Error, a.Message = "Cancelled", "The invocation was cancelled"
		h.state.add(a)
		return s.ended(h, store.JobCancelled, "Cancelled", nil), v
	case h.ctx.Err() != nil && (err != nil || res.ErrorType == sandbox.ByPlatform): // the server stops
		return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Uncounted: true, Error: h.job.Error}}, v
	case err == nil && res.FunctionError == "":
		f.condition, f.errorType = Success, ""
		h.state.add(a)
		return s.conclude(h, store.JobSucceeded, f), v
	case err == nil && res.ErrorType != sandbox.ByPlatform: // which is no fault of the function's
		return s.failed(h, a, f), v
	case err == nil:
		v.ran = false
	case final(lambent.CodeOf(err)):
		f.condition = RetriesExhausted
		h.state.add(a)
		return s.conclude(h, store.JobFailed, f), v
	}
	v.busy = true
	return s.refused(h, a, &v), v
}

// final tells whether trying again cannot help.
func final(code lambent.Code) bool {
	switch code {
	case lambent.CodeNotFound, lambent.CodeInvalid, lambent.CodeTooLarge, lambent.CodeDenied, lambent.CodeUnsupported:
		return true
	}
	return false
}

// failed tries a job again after an error of its function, or ends it. The caller
// holds mu.
func (s *Service) failed(h *held, a Attempt, f finish) ending {
	wait, again := s.retry(h, a.Error)
	if !again {
		f.condition = RetriesExhausted
		h.state.add(a)
		return s.conclude(h, store.JobFailed, f)
	}
	h.state.Retries++
	a.Next = a.End.Add(wait)
	if s.tooOld(h, a.Next) { // it would only wait to be too old
		a.Next = time.Time{}
		h.state.add(a)
		f.condition = EventAgeExceeded
		return s.conclude(h, store.JobFailed, f)
	}
	h.state.add(a)
	namespace, function := ownerOf(h.job.Lane)
	s.o.Metrics.EventRetried(namespace, function, "error")
	return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Due: a.Next, Error: word(a.Error), State: mustJSON(h.state)}}
}

// refused has a job tried again that found no room or met a fault of the platform,
// without using up a retry: at once when the lane has rested, later when the rest grows
// long. The caller holds mu.
func (s *Service) refused(h *held, a Attempt, v *verdict) ending {
	h.state.Refused++
	wait := s.roomDelay(h.state.Refused)
	if wait < longPause && h.ctx.Err() == nil {
		v.again = true
		return ending{}
	}
	a.Next = a.End.Add(wait)
	if n := len(h.state.Attempts); n > 0 && h.state.Attempts[n-1].Error == a.Error { // one entry tells of them all
		a.Start = h.state.Attempts[n-1].Start
		h.state.Attempts = h.state.Attempts[:n-1]
	}
	h.state.add(a)
	namespace, function := ownerOf(h.job.Lane)
	s.o.Metrics.EventRetried(namespace, function, "no_room")
	return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Due: a.Next, Uncounted: true, Error: word(a.Error), State: mustJSON(h.state)}}
}

// ended is the last change of a job. The caller holds mu.
func (s *Service) ended(h *held, status store.JobStatus, errorType string, result []byte) ending {
	return ending{h: h, change: store.Change{
		ID: h.job.ID, Status: status, Ended: s.o.Now(), Error: word(errorType), State: mustJSON(h.state), Result: result,
	}}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
