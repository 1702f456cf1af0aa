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
	stream  logs.Stream
	format  logs.Format
	teller  sandbox.Teller // nil is nobody
	events  logs.Format    // of what those programs get
	request string
	limit   time.Duration // the call's time
	began   time.Time
	line    []byte // reused from line to line
}

// begin turns the stream to the invocation and writes START.
func begin(lease *pool.Lease, v *lambent.Version, inv *lambent.Invocation) *record {
	r := &record{stream: lease.Log(), format: logs.FormatOf(v.Logging), teller: lease.Teller(), request: inv.RequestID,
		limit: cmp.Or(inv.Timeout, v.Timeout), began: time.Now(), line: make([]byte, 0, 256)}
	r.stream.Begin(inv.RequestID, inv.WantTail)
	if r.teller != nil {
		r.events = logs.Format{JSON: true, Level: "DEBUG", Trace: inv.TraceID}
		r.teller.Tell(r.events.Start(nil, r.began, r.request, v.Number))
	}
	r.write(r.began, r.format.Start(r.line, r.began, r.request, v.Number))
	return r
}

// end writes what became of the invocation and returns the tail of its log. The
// REPORT line names the platform's reason where the caller is told another: AWS
// answers an exit, and reports that memory ran out.
func (r *record) end(res *lambent.Result, a *sandbox.Answer) []byte {
	now := time.Now()
	if res.ErrorType == "Sandbox.Timedout" {
		r.write(now, r.format.TimedOut(r.line, now, r.request, r.limit))
	}
	r.write(now, r.format.End(r.line, now, r.request, res))
	reported := res
	if a.Failure != nil && a.Failure.ReportType != "" {
		other := *res
		other.ErrorType = a.Failure.ReportType
		reported = &other
	}
	r.write(now, r.format.Report(r.line, now, r.request, reported))
	if r.teller != nil {
		r.teller.Tell(r.events.End(nil, now, r.request, res))
		r.teller.Tell(r.events.Report(nil, now, r.request, reported))
	}
	return r.stream.End()
}

// write keeps the line's memory for the next one. An empty line is one that the
// configured level leaves out.
func (r *record) write(at time.Time, line []byte) {
	if len(line) > 0 {
		r.stream.WriteLine(at, line)
	}
	r.line = line[:0]
}
