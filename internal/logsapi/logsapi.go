// Package logsapi is the front door that speaks the CloudWatch Logs API
// (awsJson 1.1): what tools send to list log groups and streams, to read, filter,
// follow and put events, and to set retention. It owns the dialect only, and leaves
// who the caller is to the auth room. Its neighbour below is the log room.
package logsapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/logs"
)

// Groups changes log groups, and takes events that were not written by functions. The
// log room's store is one.
type Groups interface {
	CreateGroup(ctx context.Context, namespace, name string, tags map[string]string) error
	DeleteGroup(ctx context.Context, namespace, name string) error
	SetRetention(ctx context.Context, namespace, name string, days int) error
	Tag(ctx context.Context, namespace, name string, add map[string]string, remove []string) error
	CreateStream(ctx context.Context, namespace, group, name string) error
	Put(ctx context.Context, namespace, group, stream string, events []logs.PutEvent) (logs.Kept, error)
}

// Options configure [New].
type Options struct {
	Reader logs.Reader
	Groups Groups
	Region string // of the ARNs
	// Stopping, if set, is closed when the server begins to stop: what follows the log
	// ends then.
	Stopping <-chan struct{}
	Log      *slog.Logger
}

// maxRequest bounds a request; the longest that tools make names a hundred
// streams of 512 bytes. maxPutRequest is for events, as JSON.
const (
	maxRequest    = 1 << 20
	maxPutRequest = 6 << 20
)

// target is what X-Amz-Target has before the operation.
const target = "Logs_20140328."

// door answers requests.
type door struct {
	o   Options
	ops map[string]operation
}

// operation turns a request's body into an answer's.
type operation func(ctx context.Context, c caller, body []byte) (any, error)

// caller is on whose behalf an operation runs.
type caller struct{ namespace, region string }

// New makes the door. The middleware of the auth room goes around it.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &door{o: o}
	d.ops = map[string]operation{
		"CreateLogGroup":        d.createLogGroup,
		"CreateLogStream":       d.createLogStream,
		"DeleteLogGroup":        d.deleteLogGroup,
		"DeleteRetentionPolicy": d.deleteRetentionPolicy,
		"DescribeLogGroups":     d.describeLogGroups,
		"DescribeLogStreams":    d.describeLogStreams,
		"FilterLogEvents":       d.filterLogEvents,
		"GetLogEvents":          d.getLogEvents,
		"ListTagsForResource":   d.listTags,
		"ListTagsLogGroup":      d.listTags,
		"PutLogEvents":          d.putLogEvents,
		"PutRetentionPolicy":    d.putRetentionPolicy,
		"StartLiveTail":         d.startLiveTail,
		"TagLogGroup":           d.tag,
		"TagResource":           d.tag,
		"UntagLogGroup":         d.untag,
		"UntagResource":         d.untag,
	}
	return d
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := uuid.NewString()
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	out, err := d.serve(r)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	if t, ok := out.(*liveTail); ok {
		t.serve(r.Context(), w)
		return
	}
	text, err := json.Marshal(out)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	_, _ = w.Write(text) // a client that has gone needs no answer
}

func (d *door) serve(r *http.Request) (any, error) {
	who, ok := auth.From(r.Context())
	if !ok {
		return nil, failure(lambent.CodeDenied, "MissingAuthenticationTokenException", "Request is missing Authentication Token")
	}
	name, known := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	op := d.ops[name]
	if !known || op == nil || r.Method != http.MethodPost {
		return nil, lambent.Errorf(lambent.CodeUnsupported, "%.100s is not implemented by lambent yet", name).WithReason("UnknownOperationException")
	}
	most := int64(maxRequest)
	if name == "PutLogEvents" {
		most = maxPutRequest
	}
	body, err := auth.BodyUpTo(r, most)
	if lambent.CodeOf(err) == lambent.CodeTooLarge {
		return nil, failure(lambent.CodeTooLarge, "InvalidParameterException", "The request is too large.")
	}
	if err != nil {
		return nil, err
	}
	return op(r.Context(), caller{who.AccountID, d.o.Region}, body)
}

// decode reads a request; an empty one is {}.
func decode(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		e := failure(lambent.CodeInvalid, "SerializationException", "The request could not be parsed as JSON.")
		e.Cause = err
		return e
	}
	return nil
}

func failure(code lambent.Code, reason, message string) *lambent.Error {
	return &lambent.Error{Code: code, Reason: reason, Message: message}
}

func invalid(message string) error {
	return failure(lambent.CodeInvalid, "InvalidParameterException", message)
}

// exceptions names the exception for a code where the error does not itself.
var exceptions = map[lambent.Code]string{
	lambent.CodeInvalid:     "InvalidParameterException",
	lambent.CodeNotFound:    "ResourceNotFoundException",
	lambent.CodeConflict:    "ResourceAlreadyExistsException",
	lambent.CodeTooLarge:    "InvalidParameterException",
	lambent.CodeThrottled:   "ThrottlingException",
	lambent.CodeDenied:      "AccessDeniedException",
	lambent.CodeUnsupported: "UnknownOperationException",
	lambent.CodeUnavailable: "ServiceUnavailableException",
	lambent.CodeTimeout:     "ServiceUnavailableException",
}

// fail answers with an error: the one place where they get their names.
func (d *door) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	var e *lambent.Error
	if !errors.As(err, &e) || exceptions[e.Code] == "" {
		d.o.Log.ErrorContext(r.Context(), "log request failed", "op", r.Header.Get("X-Amz-Target"), "err", err)
		e = failure(lambent.CodeInternal, "InternalFailure", "The request failed because of an internal error.")
	}
	reason := e.Reason
	if reason == "" {
		reason = exceptions[e.Code]
	}
	status := http.StatusBadRequest
	switch e.Code {
	case lambent.CodeInternal:
		status = http.StatusInternalServerError
	case lambent.CodeUnavailable, lambent.CodeTimeout:
		status = http.StatusServiceUnavailable
	}
	text, err := json.Marshal(map[string]string{"__type": reason, "message": e.Message})
	if err != nil { // strings always marshal
		text = []byte("{}")
	}
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
