package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/client"
)

func (a *api) invoke(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	tail := false
	if text := c.URL.Query().Get("tail"); text != "" {
		if tail, err = strconv.ParseBool(text); err != nil {
			return lambent.Errorf(lambent.CodeInvalid, "tail %q: want true or false", clip(text))
		}
	}
	payload, err := auth.Body(c.Request)
	if err != nil {
		return err
	}
	switch {
	case len(payload) > lambent.MaxPayload:
		return lambent.Errorf(lambent.CodeTooLarge, "the payload has %d bytes, more than the %d that are allowed", len(payload), lambent.MaxPayload)
	case len(payload) == 0:
		payload = []byte("{}")
	case !json.Valid(payload):
		return lambent.Errorf(lambent.CodeInvalid, "the payload is not JSON").WithReason("InvalidRequestContent")
	}
	inv := &lambent.Invocation{
		RequestID: c.requestID, Namespace: c.id.AccountID, Function: name,
		Qualifier: c.URL.Query().Get("qualifier"), Payload: payload,
		Source: "v1", WantTail: tail, Arrived: time.Now(),
	}
	inv.Version = a.o.Catalog.Steer(inv.Namespace, inv.Function, inv.Qualifier, c.Header)
	result, err := a.o.Invoker.Invoke(c.Context(), inv)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, invocation(inv.RequestID, result))
}

// invocation is a result in our dialect.
func invocation(requestID string, r *lambent.Result) client.Invocation {
	out := client.Invocation{
		RequestID: requestID, Status: client.StatusOK, Version: r.ExecutedVersion,
		Payload: asJSON(r.Payload), Report: report(r.Report), LogTail: string(r.LogTail),
	}
	if r.FunctionError == "" {
		return out
	}
	out.Status = client.StatusFunctionError
	var object struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	// An error object that is not one leaves the platform's own type.
	_ = json.Unmarshal(r.Payload, &object)
	if object.Type == "" {
		object.Type = r.ErrorType
	}
	out.Error = &client.FunctionError{Type: object.Type, Message: object.Message}
	return out
}

// asJSON is payload itself when it is JSON, else a JSON string of it.
func asJSON(payload []byte) json.RawMessage {
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	if json.Valid(payload) {
		return payload
	}
	text, err := json.Marshal(string(payload))
	if err != nil { // strings always marshal
		panic(err)
	}
	return text
}

func report(r lambent.Report) client.Report {
	return client.Report{
		DurationMS: ms(r.Duration), BilledMS: ms(r.Billed), InitMS: ms(r.Init),
		MemoryMB: r.MemoryMB, MaxMemoryMB: r.MaxMemoryMB, Cold: r.Cold, Origin: string(r.Origin), Stages: stages(r.Stages),
	}
}

func stages(in []lambent.Stage) []client.Timing {
	var out []client.Timing
	for _, s := range in {
		out = append(out, client.Timing{Name: s.Name, MS: ms(s.Took)})
	}
	return out
}

// ms is d in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
