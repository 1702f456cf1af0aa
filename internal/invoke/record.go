package invoke

import (
	"cmp"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/sandbox"
)

// record writes the platform's lines about one invocation into its instance's
// log stream, around those of the function. Programs in the instance that want to know
// are told the same, as events.
type record struct {
	lease   *pool.Lease
	version *lambent.Version
	stream  logs.Stream
	format  logs.Format
	teller  sandbox.Teller // nil is nobody
	events  logs.Format    // of what those programs get
	request string
	limit   time.Duration // the call's time
	began   time.Time
	line    []byte // reused from line to line
	// billedInit is what is billed of the instance's initialisation.
	billedInit time.Duration
	// place is left when the invocation is over; lasts tells that it is not when its
	// caller has the answer.
	place place
	lasts bool
}

// begin turns the stream to the invocation and writes START.
func begin(lease *pool.Lease, v *lambent.Version, inv *lambent.Invocation) *record {
	r := &record{lease: lease, version: v, stream: lease.Log(), format: logs.FormatOf(v.Logging), teller: lease.Teller(), request: inv.RequestID,
		limit: cmp.Or(inv.Timeout, v.Timeout), began: time.Now(), line: make([]byte, 0, 256)}
	r.stream.Begin(inv.RequestID, inv.WantTail)
	if r.teller != nil {
		r.events = logs.Format{JSON: true, Level: "DEBUG", Trace: inv.TraceID}
		r.teller.Tell(r.events.Start(nil, r.began, r.request, v.Number))
	}
	r.write(r.began, r.format.Start(r.line, r.began, r.request, v.Number))
	return r
}

// end writes what became of the invocation and returns the tail of its log.
func (r *record) end(res *lambent.Result, a *sandbox.Answer) []byte {
	now := time.Now()
	r.done(now, res)
	r.report(now, res, a.Failure)
	return r.stream.End()
}

// done tells that the runtime has answered. The text of the log does not: its END says
// that all is over.
func (r *record) done(now time.Time, res *lambent.Result) {
	r.timedOut(now, res)
	if r.format.JSON {
		r.write(now, r.format.End(r.line, now, r.request, res))
	}
	if r.teller != nil {
		r.teller.Tell(r.events.End(nil, now, r.request, res))
	}
}

// timedOut says so, if the invocation has.
func (r *record) timedOut(now time.Time, res *lambent.Result) {
	if res.ErrorType == "Sandbox.Timedout" {
		r.write(now, r.format.TimedOut(r.line, now, r.request, r.limit))
	}
}

// report is written last. The REPORT line names the platform's reason where the caller
// is told another: AWS answers an exit, and reports that memory ran out.
func (r *record) report(now time.Time, res *lambent.Result, f *sandbox.Failure) {
	reported := res
	if f != nil && f.ReportType != "" {
		other := *res
		other.ErrorType = f.ReportType
		reported = &other
	}
	if !r.format.JSON {
		r.write(now, r.format.End(r.line, now, r.request, res))
	}
	r.write(now, r.format.Report(r.line, now, r.request, reported))
	if r.teller != nil {
		r.teller.Tell(r.events.Report(nil, now, r.request, reported))
	}
}

// soFar is the tail of the log if the invocation were over now; nil if none is kept.
func (r *record) soFar(now time.Time, res *lambent.Result) []byte {
	tail := r.stream.Tail()
	if tail == nil {
		return nil
	}
	if !r.format.JSON {
		tail = append(r.format.End(tail, now, r.request, res), '\n')
	}
	if report := r.format.Report(nil, now, r.request, res); len(report) > 0 {
		tail = append(append(tail, report...), '\n')
	}
	return tail[max(0, len(tail)-lambent.LogTail):]
}

// write keeps the line's memory for the next one. An empty line is one that the
// configured level leaves out.
func (r *record) write(at time.Time, line []byte) {
	if len(line) > 0 {
		r.stream.WriteLine(at, line)
	}
	r.line = line[:0]
}
