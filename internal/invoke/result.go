package invoke

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// unhandled is the only value of X-Amz-Function-Error that AWS still sends.
const unhandled = "Unhandled"

// finish turns an instance's answer into the invocation's result.
func finish(inv *lambent.Invocation, v *lambent.Version, a *sandbox.Answer) *lambent.Result {
	res := &lambent.Result{
		ExecutedVersion: v.Number,
		Payload:         a.Payload,
		ContentType:     a.ContentType,
		CallerGone:      a.CallerGone,
		Report: lambent.Report{
			Duration: a.Took, Billed: roundUp(a.Took), MemoryMB: v.MemoryMB,
			Streamed: a.Streamed, FirstByte: a.FirstByte,
		},
	}
	switch {
	case a.Failure != nil:
		res.FunctionError, res.ErrorType = unhandled, a.Failure.Type
		res.Payload = failurePayload(inv.RequestID, a.Failure)
		res.ContentType = "application/json"
	case a.FunctionError:
		res.FunctionError, res.ErrorType = unhandled, a.ErrorType
	}
	return res
}

// describe adds what the instance knows to the report of an invocation. Billing
// starts at the function's own initialisation, which the first invocation pays
// for unless provisioned concurrency has.
func (r *record) describe(rep *lambent.Report) {
	rep.MaxMemoryMB = r.lease.MaxMemoryMB(rep.Duration)
	rep.Thaw = r.lease.Thaw()
	init, provisioned := r.lease.Init()
	rep.Init = init
	if init > 0 && !provisioned {
		r.billedInit = init
		rep.Billed = roundUp(init + rep.Duration)
	}
	cold, waited := r.lease.Cold()
	rep.Instance = cold.Stream
	if waited {
		rep.Cold, rep.Origin, rep.Stages = true, cold.Origin, cold.Stages
	}
}

// failurePayload is the error object that AWS returns when the platform, not the
// function, ended the invocation.
func failurePayload(requestID string, f *sandbox.Failure) []byte {
	if f.Payload != nil {
		return f.Payload
	}
	if f.Raw {
		return mustJSON(struct {
			Message string `json:"errorMessage"`
			Type    string `json:"errorType"`
		}{f.Message, f.Type})
	}
	return mustJSON(struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}{f.Type, "RequestId: " + requestID + " Error: " + f.Message})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("error object: " + err.Error()) // two strings always encode
	}
	return b
}

// roundUp gives whole milliseconds, the unit of billing, and never none.
func roundUp(d time.Duration) time.Duration {
	return max((d + time.Millisecond - 1).Truncate(time.Millisecond), time.Millisecond)
}

// newTraceID makes a root trace header that asks for no sampling (AWS X-Ray
// developer guide, "Tracing header"). id is a UUID, the source of its randomness.
func newTraceID(now time.Time, id string) string {
	hex := strings.ReplaceAll(id, "-", "")
	return "Root=1-" + strconv.FormatInt(now.Unix(), 16) + "-" + hex[:24] + ";Parent=" + hex[16:32] + ";Sampled=0"
}

// outcome is what an observer is told.
func outcome(res *lambent.Result, err error) lambent.Outcome {
	switch lambent.CodeOf(err) {
	case "":
	case lambent.CodeThrottled, lambent.CodeCanceled:
		return lambent.CallRefused
	default:
		return lambent.CallFailed
	}
	if res != nil && res.FunctionError != "" {
		return lambent.CallFailed
	}
	return lambent.CallAnswered
}
