package client

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// Statuses of a kept invocation.
const (
	CallWaiting   = "waiting"
	CallRunning   = "running"
	CallSucceeded = "succeeded"
	CallFailed    = "failed"
	CallCancelled = "cancelled"
	CallExpired   = "expired"
)

// Call is an invocation that the server keeps: an asynchronous one from its
// acceptance on, the record of its end on the way to a destination, or one whose
// caller has waited.
type Call struct {
	ID        string            `json:"id"`
	Kind      string            `json:"kind"` // event, destination or call
	Function  string            `json:"function"`
	Qualifier string            `json:"qualifier,omitempty"`
	Status    string            `json:"status"`
	Error     string            `json:"error,omitempty"` // class of the last error
	Source    string            `json:"source,omitempty"`
	Priority  int               `json:"priority,omitempty"`
	Key       string            `json:"key,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Created   time.Time         `json:"created"`
	Due       time.Time         `json:"due,omitzero"`     // of the next try
	Started   time.Time         `json:"started,omitzero"` // of the try that runs
	Ended     time.Time         `json:"ended,omitzero"`
	Attempts  []CallAttempt     `json:"attempts,omitempty"`
	Dropped   int               `json:"droppedAttempts,omitempty"`
	Retries   int               `json:"retries,omitempty"` // used up
	Refused   int               `json:"refused,omitempty"` // tries that found no room
	Progress  json.RawMessage   `json:"progress,omitempty"`
	Condition string            `json:"condition,omitempty"` // of the end, as destinations are told
	// Destinations were told of the end, by jobs of their own.
	Destinations []CallDestination `json:"destinations,omitempty"`
	RetryOf      string            `json:"retryOf,omitempty"`
	For          string            `json:"for,omitempty"` // of a record: the call that it tells of
	To           string            `json:"to,omitempty"`  // of a record: where it goes
	TraceID      string            `json:"traceId,omitempty"`
	// Payload and Answer are of one call that is asked for, not of lists.
	Payload json.RawMessage `json:"payload,omitempty"`
	Answer  *CallAnswer     `json:"answer,omitempty"`
}

// Ended tells whether nothing becomes of the call any more.
func (c *Call) HasEnded() bool { return c.Status != CallWaiting && c.Status != CallRunning }

// CallAttempt is one try.
type CallAttempt struct {
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Version    string    `json:"version,omitempty"`
	Instance   string    `json:"instance,omitempty"`
	Error      string    `json:"error,omitempty"`
	Message    string    `json:"message,omitempty"`
	DurationMS float64   `json:"durationMs,omitempty"`
	InitMS     float64   `json:"initMs,omitempty"`
	Cold       bool      `json:"cold,omitempty"`
	Stages     []Timing  `json:"stages,omitempty"`
	Next       time.Time `json:"next,omitzero"` // when another try was to come
}

// CallDestination is a destination that was told of a call's end.
type CallDestination struct {
	To        string `json:"to"`
	Condition string `json:"condition"`
	Job       string `json:"job"`            // the call that the record is on its way as
	Note      string `json:"note,omitempty"` // why nothing was sent
}

// CallAnswer is what the function has answered.
type CallAnswer struct {
	Version       string          `json:"version,omitempty"`
	ContentType   string          `json:"contentType,omitempty"`
	FunctionError string          `json:"functionError,omitempty"`
	Payload       json.RawMessage `json:"payload,omitempty"`
	Truncated     int             `json:"truncatedFrom,omitempty"` // bytes that the payload had
	DurationMS    float64         `json:"durationMs,omitempty"`
	BilledMS      float64         `json:"billedMs,omitempty"`
	MemoryMB      int             `json:"memoryMB,omitempty"`
	MaxMemoryMB   int             `json:"maxMemoryMB,omitempty"`
	LogTail       string          `json:"logTail,omitempty"`
}

// CallList is one page; Next, when not empty, asks for the one after it.
type CallList struct {
	Invocations []Call `json:"invocations"`
	Next        string `json:"next,omitempty"`
}

// CallRequest asks for a call to be made later.
type CallRequest struct {
	Function       string            `json:"function"`
	Qualifier      string            `json:"qualifier,omitempty"`
	Payload        json.RawMessage   `json:"payload,omitempty"`
	At             time.Time         `json:"at,omitzero"`
	InSeconds      float64           `json:"inSeconds,omitempty"`
	Priority       int               `json:"priority,omitempty"`
	Key            string            `json:"key,omitempty"` // calls with one key run one at a time, in order
	IdempotencyKey string            `json:"idempotencyKey,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
}

// CallAccepted is the answer to a CallRequest or a retry: the call is kept.
type CallAccepted struct {
	ID    string `json:"id"`
	Again bool   `json:"again,omitempty"` // the idempotency key had brought it before
}

// Replay is what became of an event when it was run again, against another version.
type Replay struct {
	Was  Call       `json:"was"`
	Now  Invocation `json:"now"`
	Same bool       `json:"same"`
	// Differences of the answers, by JSON path; Was or Now is absent where only the
	// other has something.
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is one place in which two answers differ.
type Difference struct {
	Path string          `json:"path"`
	Was  json.RawMessage `json:"was,omitempty"`
	Now  json.RawMessage `json:"now,omitempty"`
}

// EventSettings say what becomes of asynchronous calls of a version or an alias.
type EventSettings struct {
	Qualifier     string            `json:"qualifier,omitempty"`
	MaxRetries    *int              `json:"maxRetries,omitempty"`
	MaxAgeSeconds *float64          `json:"maxAgeSeconds,omitempty"`
	OnSuccess     *EventDestination `json:"onSuccess,omitempty"`
	OnFailure     *EventDestination `json:"onFailure,omitempty"`
	Rules         *[]RetryRule      `json:"rules,omitempty"`
	// DeadLetter is the ARN of where the events of calls that failed go; "" is none.
	// It belongs to the version: only $LATEST's can be changed.
	DeadLetter *string `json:"deadLetter,omitempty"`
}

// EventQueue is what there is of a function's asynchronous calls. OldestSeconds is how
// long the one has waited that has waited longest.
type EventQueue struct {
	Waiting       int     `json:"waiting"`
	Running       int     `json:"running"`
	OldestSeconds float64 `json:"oldestSeconds"`
}

// EventDestination is an ARN, or the URL of an HTTP endpoint. The secret that its
// records are signed with is made when none is given.
type EventDestination struct {
	ARN    string `json:"arn,omitempty"`
	URL    string `json:"url,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// RetryRule says how calls are tried again after errors whose type fits a pattern.
type RetryRule struct {
	Error           string  `json:"error,omitempty"` // * is any text
	MaxRetries      int     `json:"maxRetries"`
	DelaySeconds    float64 `json:"delaySeconds,omitempty"`
	Factor          float64 `json:"factor,omitempty"`
	MaxDelaySeconds float64 `json:"maxDelaySeconds,omitempty"`
	Jitter          float64 `json:"jitter,omitempty"`
}

// CallOptions select calls. Zero members select all.
type CallOptions struct {
	Function, Status, Kind, Error string
	Labels                        map[string]string
	From, To                      time.Time
	Limit                         int
	After                         string // Next of the page before
}

// Calls asks for a page of calls, last accepted first.
func (c *Client) Calls(ctx context.Context, o CallOptions) (CallList, error) {
	q := url.Values{}
	for name, value := range map[string]string{"function": o.Function, "status": o.Status, "kind": o.Kind, "error": o.Error, "after": o.After} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, value := range o.Labels {
		q.Add("label", name+"="+value)
	}
	for name, at := range map[string]time.Time{"from": o.From, "to": o.To} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	var out CallList
	return out, c.call(ctx, request{method: "GET", path: "/v1/invocations", query: q}, &out)
}

// Accept asks for a call to be made later, and returns when it is durable.
func (c *Client) Accept(ctx context.Context, r CallRequest) (CallAccepted, error) {
	var out CallAccepted
	body, err := json.Marshal(r)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, request{method: "POST", path: "/v1/invocations", body: body, contentType: "application/json"}, &out)
}

// Call asks for one call, and with a wait for its end so long.
func (c *Client) Call(ctx context.Context, id string, wait time.Duration) (Call, error) {
	var out Call
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	return out, c.call(ctx, request{method: "GET", path: callPath(id), query: q}, &out)
}

// Cancel ends a call that waits or runs.
func (c *Client) Cancel(ctx context.Context, id string) (Call, error) {
	var out Call
	return out, c.call(ctx, request{method: "POST", path: callPath(id) + "/cancel"}, &out)
}

// Retry makes the same call again.
func (c *Client) Retry(ctx context.Context, id string) (CallAccepted, error) {
	var out CallAccepted
	return out, c.call(ctx, request{method: "POST", path: callPath(id) + "/retry"}, &out)
}

// Replay runs a call's event against another version or alias and compares.
func (c *Client) Replay(ctx context.Context, id, qualifier string) (Replay, error) {
	var out Replay
	return out, c.call(ctx, request{method: "POST", path: callPath(id) + "/replay", query: values("qualifier", qualifier)}, &out)
}

// EventSettings asks for what becomes of asynchronous calls of a qualifier.
func (c *Client) EventSettings(ctx context.Context, name, qualifier string) (EventSettings, error) {
	var out EventSettings
	return out, c.call(ctx, request{method: "GET", path: eventPath(name, qualifier)}, &out)
}

// EventQueue asks how many asynchronous calls of a function wait.
func (c *Client) EventQueue(ctx context.Context, name string) (EventQueue, error) {
	var out EventQueue
	return out, c.call(ctx, request{method: "GET", path: functionPath(name) + "/events"}, &out)
}

// SetEventSettings changes those members that s has.
func (c *Client) SetEventSettings(ctx context.Context, name, qualifier string, s EventSettings) (EventSettings, error) {
	var out EventSettings
	return out, c.put(ctx, eventPath(name, qualifier), s, &out)
}

// DeleteEventSettings brings back the defaults.
func (c *Client) DeleteEventSettings(ctx context.Context, name, qualifier string) error {
	return c.call(ctx, request{method: "DELETE", path: eventPath(name, qualifier)}, nil)
}

func callPath(id string) string { return "/v1/invocations/" + url.PathEscape(id) }

func eventPath(name, qualifier string) string {
	return functionPath(name) + "/events/" + url.PathEscape(qualifier)
}
