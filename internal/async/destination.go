package async

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
)

// Conditions of the end of a call, as records name them.
const (
	Success          = "Success"
	RetriesExhausted = "RetriesExhausted"
	EventAgeExceeded = "EventAgeExceeded"
	// ZeroReservedConcurrency is that of a function that is stopped: its events are not
	// tried at all ("Configuring reserved concurrency", AWS Lambda developer guide).
	ZeroReservedConcurrency = "ZeroReservedConcurrency"
)

// finish is how a job ended.
type finish struct {
	condition string
	errorType string
	inv       *lambent.Invocation // nil when it was not tried this time
	res       *lambent.Result     // nil when no function has answered
}

// record is what a destination gets, in AWS's shape ("Capturing records of
// asynchronous invocations", AWS Lambda developer guide).
type record struct {
	Version         string           `json:"version"`
	Timestamp       string           `json:"timestamp"`
	RequestContext  requestContext   `json:"requestContext"`
	RequestPayload  json.RawMessage  `json:"requestPayload"`
	ResponseContext *responseContext `json:"responseContext,omitempty"`
	ResponsePayload json.RawMessage  `json:"responsePayload,omitempty"`
}

type requestContext struct {
	RequestID   string `json:"requestId"`
	FunctionARN string `json:"functionArn"`
	Condition   string `json:"condition"`
	Count       int    `json:"approximateInvokeCount"`
}

type responseContext struct {
	StatusCode    int    `json:"statusCode"`
	Version       string `json:"executedVersion"`
	FunctionError string `json:"functionError,omitempty"`
}

// recordTime is how records write times.
const recordTime = "2006-01-02T15:04:05.000Z"

// conclude ends a job and has its destinations told. The records are durable
// before the job has ended: a server that is killed in between runs the job again,
// and finds that they are there. The caller holds mu.
func (s *Service) conclude(h *held, status store.JobStatus, f finish) ending {
	h.state.Condition = f.condition
	push := s.records(h, f)
	var result []byte
	if f.res != nil {
		result = resultOf(f.res, maxResult)
	}
	e := s.ended(h, status, f.errorType, result)
	e.push = push
	return e
}

// records are the jobs that bring the record of h's end to its destinations.
func (s *Service) records(h *held, f finish) []store.Job {
	if h.head.To != nil { // the end of a record's own job is told to nobody
		return nil
	}
	var push []store.Job
	if c := s.config(h); c != nil {
		to := c.OnSuccess
		if f.condition != Success {
			to = c.OnFailure
		}
		if to.ARN != "" {
			push = append(push, s.send(h, f, to, nil))
		}
	}
	if to := s.deadLetter(h); to.ARN != "" && f.condition != Success {
		_, message := "", ""
		if f.res != nil {
			_, message = errorOf(f.res)
		}
		push = append(push, s.send(h, f, to, map[string]string{
			"RequestID": h.job.ID, "ErrorCode": "200", "ErrorMessage": cut(message, maxMessage),
		}))
	}
	return push
}

// deadLetter is the dead-letter queue or topic of the version that h was for.
func (s *Service) deadLetter(h *held) lambent.Destination {
	namespace, function := ownerOf(h.job.Lane)
	entry, err := s.o.Catalog.Get(namespace, function, h.head.Qualifier)
	if err != nil {
		return lambent.Destination{}
	}
	return entry.Version.DeadLetter()
}

// send makes the job that brings a record to a destination, and notes it in h's
// state. With attributes it is the event itself that goes there, as a dead letter.
func (s *Service) send(h *held, f finish, to lambent.Destination, attributes map[string]string) store.Job {
	namespace, function := ownerOf(h.job.Lane)
	head := head{
		For: h.job.ID, Condition: f.condition, Source: "destination", Trace: h.head.Trace,
		Qualifier: h.head.Qualifier, To: &to, Attributes: attributes,
	}
	if f.inv != nil && f.inv.TraceID != "" {
		head.Trace = f.inv.TraceID
	}
	body, name := h.payload, []string{h.job.ID, f.condition, to.ARN, "letter"} // a queue may get both
	if attributes == nil {
		body, name = s.record(h, f), name[:3]
	}
	now := s.o.Now()
	j := store.Job{
		ID: derivedID(name...), Lane: sendLane(namespace, function), Kind: KindDestination,
		Status: store.JobWaiting, Created: now,
	}
	sent := Sent{To: to.ARN, Condition: f.condition, Job: j.ID}
	if err := s.address(&j, &head); err != nil {
		sent.Note = err.Error()
		j.Status, j.Ended, j.Error = store.JobFailed, now, word(classOf(err))
	}
	j.Body = join(head, body)
	h.state.Sent = append(h.state.Sent, sent)
	return j
}

// address makes of a record's job, in the lane of the function that it comes from, an
// event of the function that it goes to, if it goes to one. That one is called as the
// role of the version whose call has ended ("Adding a destination", AWS Lambda developer
// guide), which is asked each time: an error says why the record cannot go.
func (s *Service) address(j *store.Job, h *head) error {
	switch service := h.To.Service(); {
	case service != "lambda" && s.o.Deliverers[service] == nil:
		return noDeliverer(h.To)
	case service != "lambda":
		return nil
	}
	namespace, function := ownerOf(j.Lane)
	to, err := lambent.ParseFunctionName(h.To.ARN, s.o.Region)
	if err == nil && to.Account != namespace {
		err = lambent.Errorf(lambent.CodeDenied, "%s belongs to another account", h.To.ARN)
	}
	if err == nil && s.o.May != nil {
		var from catalog.Entry
		if from, err = s.o.Catalog.Get(namespace, function, h.Qualifier); err == nil {
			err = s.o.May(from.Version, h.To.ARN)
		}
	}
	if err != nil {
		return err
	}
	j.Lane, h.Qualifier, h.To = laneOf(namespace, to.Name), to.Qualifier, nil
	return nil
}

// record is what became of h, of at most lambent.MaxAsyncPayload bytes: the payloads
// are left out when it would have more.
func (s *Service) record(h *held, f finish) []byte {
	namespace, function := ownerOf(h.job.Lane)
	qualifier := h.head.Qualifier
	if qualifier == "" {
		qualifier = lambent.Latest
	}
	r := record{
		Version: "1.0", Timestamp: s.o.Now().UTC().Format(recordTime),
		RequestContext: requestContext{
			RequestID: h.job.ID, FunctionARN: lambent.FunctionARN(s.o.Region, namespace, function, qualifier),
			Condition: f.condition, Count: h.tries(),
		},
		RequestPayload: raw(h.payload),
	}
	if f.res != nil {
		r.ResponseContext = &responseContext{StatusCode: 200, Version: f.res.ExecutedVersion, FunctionError: f.res.FunctionError}
		r.ResponsePayload = raw(f.res.Payload)
	}
	b := mustJSON(r)
	if len(b) > lambent.MaxAsyncPayload && r.ResponsePayload != nil {
		r.ResponsePayload = json.RawMessage("null")
		b = mustJSON(r)
	}
	if len(b) > lambent.MaxAsyncPayload {
		r.RequestPayload = json.RawMessage("null")
		b = mustJSON(r)
	}
	return b
}

// tries is how often the function was called.
func (h *held) tries() int {
	n := h.state.Dropped
	for i := range h.state.Attempts {
		if h.state.Attempts[i].Version != "" {
			n++
		}
	}
	return n
}

// raw is payload itself when it is JSON, else a JSON string of it.
func raw(payload []byte) json.RawMessage {
	switch {
	case len(payload) == 0:
		return json.RawMessage("null")
	case json.Valid(payload):
		return payload
	}
	return mustJSON(string(payload))
}

// derivedID is an id that the same parts always make.
func derivedID(parts ...string) string {
	var name []byte
	for _, p := range parts {
		name = append(append(name, p...), 0)
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, name).String()
}

// sendTimeout bounds one try to bring a record to its destination.
const sendTimeout = 15 * time.Second
