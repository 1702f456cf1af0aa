package wasm

import (
	"encoding/json"
	"strconv"

	"lambent.dev/lambent/internal/sandbox"
)

// aboutOf is what lambent.context tells of an event: nothing if there is none.
func aboutOf(ev *sandbox.Event) []byte {
	if ev == nil {
		return nil
	}
	about := struct {
		RequestID     string          `json:"requestId"`
		FunctionARN   string          `json:"invokedFunctionArn"`
		DeadlineMS    int64           `json:"deadlineMs"`
		TraceID       string          `json:"traceId,omitempty"`
		ClientContext json.RawMessage `json:"clientContext,omitempty"`
	}{RequestID: ev.RequestID, FunctionARN: ev.FunctionARN, TraceID: ev.TraceID}
	if !ev.Deadline.IsZero() {
		about.DeadlineMS = ev.Deadline.UnixMilli()
	}
	if json.Valid(ev.ClientContext) {
		about.ClientContext = ev.ClientContext
	}
	b, _ := json.Marshal(about) // strings, a number and checked JSON always marshal
	return b
}

// environmentOf is the same for a command.
func environmentOf(ev *sandbox.Event) []string {
	env := []string{"LAMBENT_REQUEST_ID=" + ev.RequestID, "LAMBENT_FUNCTION_ARN=" + ev.FunctionARN}
	if !ev.Deadline.IsZero() {
		env = append(env, "LAMBENT_DEADLINE_MS="+strconv.FormatInt(ev.Deadline.UnixMilli(), 10))
	}
	if ev.TraceID != "" {
		env = append(env, "_X_AMZN_TRACE_ID="+ev.TraceID)
	}
	if len(ev.ClientContext) > 0 {
		env = append(env, "LAMBENT_CLIENT_CONTEXT="+string(ev.ClientContext))
	}
	return env
}

// object is a reported error as AWS's runtimes send it.
func (r *reported) object() []byte {
	b, _ := json.Marshal(struct { // two strings always marshal
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}{r.message, r.kind})
	return b
}

func (r *reported) answer() sandbox.Answer {
	return sandbox.Answer{Payload: r.object(), ContentType: "application/json",
		FunctionError: true, ErrorType: sandbox.ErrorType(r.kind)}
}
