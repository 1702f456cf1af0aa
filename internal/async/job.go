package async

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Kinds of jobs.
const (
	KindEvent       = "event"       // an asynchronous call
	KindDestination = "destination" // the record of one, on its way
	KindCall        = "call"        // a call whose caller has waited: a record only
)

// A job's Body and Result are a line of JSON, the head, and the payload after it,
// as it came. Its State is JSON.

// head is what an event is besides its payload.
type head struct {
	Qualifier string `json:"qualifier,omitempty"`
	Version   string `json:"version,omitempty"` // that a rule of the alias has chosen
	Context   []byte `json:"context,omitempty"` // the client's
	Omitted   int    `json:"omitted,omitempty"` // bytes of a payload that was too large to keep
	Trace     string `json:"trace,omitempty"`
	Source    string `json:"source,omitempty"`
	// After is when the event is old enough to be run; its age counts from then.
	After   time.Time `json:"after,omitzero"`
	RetryOf string    `json:"retryOf,omitempty"`
	// Cause is the version that has made the call from within.
	Cause lambent.Cause `json:"cause,omitzero"`
	// Of a record for a destination: the job that it tells of, and where it goes.
	For        string               `json:"for,omitempty"`
	Condition  string               `json:"condition,omitempty"`
	To         *lambent.Destination `json:"to,omitempty"` // nil leads to the lane's function
	Attributes map[string]string    `json:"attributes,omitempty"`
}

// Attempt is one try of a job.
type Attempt struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Version  string    `json:"version,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Error    string    `json:"error,omitempty"` // its type; "" is success
	Message  string    `json:"message,omitempty"`
	// Figures of the call, in nanoseconds.
	Duration time.Duration `json:"durationNs,omitempty"`
	Init     time.Duration `json:"initNs,omitempty"`
	Cold     bool          `json:"cold,omitempty"`
	Stages   []Stage       `json:"stages,omitempty"`
	// Next is when the next try was to come; zero if there was to be none.
	Next time.Time `json:"next,omitzero"`
}

// Stage is one part of a cold start.
type Stage struct {
	Name string        `json:"name"`
	Took time.Duration `json:"tookNs"`
}

// Sent is a destination that a call's end was told to.
type Sent struct {
	To        string `json:"to"`
	Condition string `json:"condition"`
	Job       string `json:"job"` // the id of the record's own job
	// Note says why nothing was sent; "" when the job tells.
	Note string `json:"note,omitempty"`
}

// state is what is noted about a job while it lives.
type state struct {
	Retries   int             `json:"retries,omitempty"` // used up
	Refused   int             `json:"refused,omitempty"` // tries that found no room
	Attempts  []Attempt       `json:"attempts,omitempty"`
	Dropped   int             `json:"dropped,omitempty"` // attempts that are not kept
	Progress  json.RawMessage `json:"progress,omitempty"`
	Sent      []Sent          `json:"sent,omitempty"`
	Condition string          `json:"condition,omitempty"` // of the end
}

// Attempts beyond maxAttempts are dropped, but for the first and the last ones.
const (
	maxAttempts   = 20
	firstAttempts = 5
	maxMessage    = 1 << 10 // bytes of an attempt's message
)

// add notes a try. What a function says of its error may have as many bytes as its
// answer, and is cut.
func (st *state) add(a Attempt) {
	a.Error = word(a.Error)
	if message := cut(a.Message, maxMessage); len(message) < len(a.Message) {
		a.Message = message + "..."
	}
	st.Attempts = append(st.Attempts, a)
	if len(st.Attempts) > maxAttempts {
		st.Attempts = append(st.Attempts[:firstAttempts], st.Attempts[firstAttempts+1:]...)
		st.Dropped++
	}
}

// outcome is what a call has answered.
type outcome struct {
	Version       string        `json:"version,omitempty"`
	ContentType   string        `json:"contentType,omitempty"`
	FunctionError string        `json:"functionError,omitempty"`
	ErrorType     string        `json:"errorType,omitempty"`
	Truncated     int           `json:"truncated,omitempty"` // bytes that the payload had, if not all are kept
	Duration      time.Duration `json:"durationNs,omitempty"`
	Billed        time.Duration `json:"billedNs,omitempty"`
	MemoryMB      int           `json:"memoryMB,omitempty"`
	MaxMemoryMB   int           `json:"maxMemoryMB,omitempty"`
	LogTail       string        `json:"logTail,omitempty"`
}

// maxResult bounds what is kept of the answer to an event, in bytes.
const maxResult = 1 << 20

// resultOf is what is kept of an answer: of its payload at most so many bytes.
func resultOf(r *lambent.Result, most int) []byte {
	o := outcome{
		Version: r.ExecutedVersion, ContentType: r.ContentType, FunctionError: r.FunctionError, ErrorType: r.ErrorType,
		Duration: r.Report.Duration, Billed: r.Report.Billed, MemoryMB: r.Report.MemoryMB, MaxMemoryMB: r.Report.MaxMemoryMB,
	}
	if r.FunctionError != "" {
		o.LogTail = string(r.LogTail)
	}
	payload := r.Payload
	if len(payload) > most {
		o.Truncated, payload = len(payload), payload[:most]
	}
	return join(o, payload)
}

// join makes a head and a payload one.
func join(head any, payload []byte) []byte {
	line := mustJSON(head)
	b := make([]byte, 0, len(line)+1+len(payload))
	return append(append(append(b, line...), '\n'), payload...)
}

// split is join's inverse. What is not joined has an empty head.
func split(b []byte, head any) (payload []byte) {
	line, payload, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || json.Unmarshal(line, head) != nil {
		return nil
	}
	return payload
}

func readState(b []byte) (st state) {
	if len(b) > 0 {
		_ = json.Unmarshal(b, &st) // ours; one that is not readable tells nothing
	}
	return st
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("write job: " + err.Error()) // the room's own types always encode
	}
	return b
}

// laneOf is the lane of a function's events, and sendLane that of the records of
// their ends: an endpoint that hangs does not delay events.
func laneOf(namespace, function string) string { return namespace + "/" + function }

func sendLane(namespace, function string) string { return namespace + "/" + function + "/sent" }

func isSendLane(name string) bool { return strings.Count(name, "/") == 2 }

// ownerOf is the function that a lane belongs to.
func ownerOf(lane string) (namespace, function string) {
	namespace, function, _ = strings.Cut(lane, "/")
	function, _, _ = strings.Cut(function, "/")
	return namespace, function
}

// held is a job that is leased to this server.
type held struct {
	job     store.Job
	head    head
	payload []byte
	lane    *lane           // the dispatcher's
	ctx     context.Context // of the call; it ends when the job shall
	cancel  context.CancelFunc

	// Guarded by Service.mu.
	state     state
	started   time.Time // of the try that runs; zero before
	progress  bool      // there is progress that is not in the store
	cancelled bool
	lost      bool // it is another server's by now
	ending    bool // its end is on its way to the store
}

func newHeld(calls context.Context, j store.Job, l *lane) *held {
	h := &held{job: j, lane: l, state: readState(j.State)}
	h.ctx, h.cancel = context.WithCancel(calls)
	h.payload = split(j.Body, &h.head)
	return h
}
