package telemetry

import (
	"time"

	"lambent.dev/lambent"
)

// Call gathers what is to be told of an invocation in a trace. It belongs to the
// goroutine that runs the invocation, up to End. A nil *Call is of one that is not
// recorded.
type Call struct {
	traces   *Traces
	context  traceContext
	span     [8]byte
	version  *lambent.Version // nil until it is found
	request  string
	source   string
	arrived  time.Time
	asked    time.Time // for an instance
	got      time.Time // the instance
	ended    time.Time
	instance Instance
	kind     string // of the error; "" for none
	run      time.Duration
}

// Instance is what an invocation runs on.
type Instance struct {
	Stream string // its log stream
	// Cold is the start that the call has waited for; nil if it has for none.
	Cold *Start
	Thaw time.Duration // that the call has waited for
	// Failed tells that the start has failed, so that nothing runs.
	Failed bool
}

// Begin decides whether an invocation is recorded. If so, the trace that the
// function sees is the one that is sent, below the invocation's span: inv's
// TraceID is changed to say so. The caller's word on sampling holds; where there
// is none, the configured share does.
func (t *Traces) Begin(inv *lambent.Invocation) *Call {
	if t == nil {
		return nil
	}
	now := time.Now()
	c, known := parseTraceID(inv.TraceID)
	if !known {
		c = traceContext{trace: newTrace(now)}
	}
	if c.choice == unsampled || c.choice == undecided && !within(c.trace, t.o.Sample) {
		return nil
	}
	c.choice = sampled
	call := &Call{traces: t, context: c, span: newSpan(), request: inv.RequestID, source: inv.Source, arrived: inv.Arrived}
	if call.arrived.IsZero() {
		call.arrived = now
	}
	sent := inv.TraceID
	if !known {
		sent = ""
	}
	inv.TraceID = c.header(call.span, sent)
	return call
}

// Asked notes that the call wants an instance of v from now on.
func (c *Call) Asked(inv *lambent.Invocation, v *lambent.Version) {
	if c != nil && c.asked.IsZero() {
		c.request, c.version, c.asked = inv.RequestID, v, time.Now()
	}
}

// Got notes that the call has an instance. What was noted of an earlier one, which
// was dead, is dropped.
func (c *Call) Got(i Instance) {
	if c != nil {
		c.instance, c.got = i, time.Now()
	}
}

// End tells how the invocation ended and hands it over to the sender. A call of
// what does not exist is no invocation, and is not recorded. res is nil for a
// request that was passed to an application.
func (c *Call) End(res *lambent.Result, err error) {
	if c == nil || c.version == nil {
		return
	}
	c.ended = time.Now()
	switch {
	case err != nil:
		c.kind = string(lambent.CodeOf(err))
	case res != nil && res.FunctionError != "":
		c.kind = res.ErrorType
		if c.kind == "" {
			c.kind = res.FunctionError
		}
	}
	switch {
	case c.got.IsZero() || c.instance.Failed:
	case res != nil:
		c.run = res.Report.Duration
	default:
		c.run = c.ended.Sub(c.got)
	}
	c.traces.enqueue(c)
}
