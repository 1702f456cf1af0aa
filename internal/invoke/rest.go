package invoke

import (
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// outlast has an invocation with extensions, whose caller has res now, end when those
// are through, and gives the tail of its log for the caller: what there is to report
// so far.
func (s *Service) outlast(rec *record, res lambent.Result, rest func() sandbox.Rest) []byte {
	now := time.Now()
	rec.lasts = true
	rec.done(now, &res)
	res.Payload = nil // it may be large
	rec.lease.After(func() { s.conclude(rec, res, rest()) })
	return rec.soFar(now, &res)
}

// conclude records what has become of an invocation that has outlasted its answer.
// Nothing that happens then changes the answer; the report tells of it.
func (s *Service) conclude(rec *record, res lambent.Result, rest sandbox.Rest) {
	defer s.leave(rec.place)
	res.Report.Duration, res.Report.Extensions = rest.Took, rest.Extensions
	res.Report.Billed = roundUp(rec.billedInit + rest.Took)
	res.Report.MaxMemoryMB = rec.lease.MaxMemoryMB(rest.Took)
	now := time.Now()
	if f := rest.Failure; f != nil {
		res.FunctionError, res.ErrorType = unhandled, f.Type
		rec.timedOut(now, &res)
	}
	rec.report(now, &res, rest.Failure)
	rec.stream.End()
	s.o.Metrics.Invoked(rec.version, &res)
}
