// Package schedulerapi is the front door that speaks the API of Amazon EventBridge
// Scheduler (restJson1): schedules, their groups and the groups' tags. It owns the
// dialect only; what a schedule may say and when it is due is the trigger room's
// business, and who the caller is the auth room's.
package schedulerapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
)

// Schedules keeps schedules. An empty group is the default one, but for a list, of
// which it is all.
type Schedules interface {
	Create(ctx context.Context, s lambent.Schedule) (*lambent.Schedule, error)
	Update(ctx context.Context, s lambent.Schedule) (*lambent.Schedule, error)
	Delete(ctx context.Context, namespace, group, name string) error
	Schedule(namespace, group, name string) (*lambent.Schedule, error)
	// Schedules is in the order of groups and names.
	Schedules(namespace, group, prefix string) []*lambent.Schedule
}

// Groups keeps their groups.
type Groups interface {
	CreateGroup(ctx context.Context, g lambent.ScheduleGroup) (*lambent.ScheduleGroup, error)
	DeleteGroup(ctx context.Context, namespace, name string) error
	Group(namespace, name string) (*lambent.ScheduleGroup, error)
	// Groups is in the order of names.
	Groups(namespace, prefix string) []*lambent.ScheduleGroup
	Tag(ctx context.Context, namespace, name string, set map[string]string, drop []string) error
}

// Options configure [New]. All but Log are required.
type Options struct {
	Schedules Schedules
	Groups    Groups
	Region    string       // of the ARNs
	Log       *slog.Logger // discarded when nil
}

// maxRequest bounds a request in bytes: the longest input, escaped.
const maxRequest = 2 << 20

// Speaks tells whether a request is one of this API's by its path, which no other one
// has.
func Speaks(r *http.Request) bool {
	for _, prefix := range []string{"/schedules", "/schedule-groups", "/tags"} {
		if rest, ok := strings.CutPrefix(r.URL.Path, prefix); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// door answers requests.
type door struct {
	o   Options
	mux *http.ServeMux
}

// call is one request whose caller is known.
type call struct {
	*http.Request
	namespace string
	query     url.Values
	body      []byte
}

// New makes the door. The middleware of the auth room goes around it.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &door{o: o, mux: http.NewServeMux()}
	d.route("POST /schedules/{name}", d.createSchedule)
	d.route("GET /schedules/{name}", d.getSchedule)
	d.route("PUT /schedules/{name}", d.updateSchedule)
	d.route("DELETE /schedules/{name}", d.deleteSchedule)
	d.route("GET /schedules", d.listSchedules)
	d.route("POST /schedule-groups/{name}", d.createGroup)
	d.route("GET /schedule-groups/{name}", d.getGroup)
	d.route("DELETE /schedule-groups/{name}", d.deleteGroup)
	d.route("GET /schedule-groups", d.listGroups)
	d.route("GET /tags/{arn}", d.listTags)
	d.route("POST /tags/{arn}", d.tag)
	d.route("DELETE /tags/{arn}", d.untag)
	return d
}

// route registers the one operation of a method and a path.
func (d *door) route(pattern string, op func(c *call) (any, error)) {
	d.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		out, err := d.serve(r, op)
		var text []byte
		if err == nil {
			text, err = json.Marshal(out)
		}
		if err != nil {
			d.fail(w, r, err)
			return
		}
		_, _ = w.Write(text) // a client that has gone needs no answer
	})
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	w.Header().Set("Content-Type", "application/json")
	if _, pattern := d.mux.Handler(r); pattern == "" {
		d.fail(w, r, &lambent.Error{Code: lambent.CodeNotFound, Reason: "UnknownOperationException", Message: "No operation has this method and path."})
		return
	}
	d.mux.ServeHTTP(w, r)
}

func (d *door) serve(r *http.Request, op func(c *call) (any, error)) (any, error) {
	who, ok := auth.From(r.Context())
	if !ok {
		return nil, &lambent.Error{Code: lambent.CodeDenied, Reason: "MissingAuthenticationTokenException", Message: "Missing Authentication Token"}
	}
	body, err := auth.BodyUpTo(r, maxRequest)
	if lambent.CodeOf(err) == lambent.CodeTooLarge {
		return nil, invalid("The request is too large.")
	}
	if err != nil {
		return nil, err
	}
	return op(&call{Request: r, namespace: who.AccountID, query: r.URL.Query(), body: body})
}

// read decodes a body; an empty one is {}.
func read(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &lambent.Error{Code: lambent.CodeInvalid, Reason: "SerializationException", Message: "The request could not be read as JSON of this operation.", Cause: err}
	}
	return nil
}

func invalid(message string) error {
	return &lambent.Error{Code: lambent.CodeInvalid, Message: message}
}

// empty is the answer of operations that have none.
type empty struct{}

// maxPage is the most that a list gives at once, and what it gives unasked.
const maxPage = 100

// page takes from a sorted list what the query asks for, and makes the token of what
// follows.
func page[T any](c *call, all []T, name func(T) string) ([]T, string, error) {
	limit := maxPage
	if text := c.query.Get("MaxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return nil, "", invalid("MaxResults is from 1 to 100.")
		}
		limit = n
	}
	if token := c.query.Get("NextToken"); token != "" {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", invalid("Invalid NextToken.")
		}
		for len(all) > 0 && name(all[0]) <= string(after) {
			all = all[1:]
		}
	}
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], base64.RawURLEncoding.EncodeToString([]byte(name(all[limit-1]))), nil
}

// exception is what an error is called, and its status.
type exception struct {
	name   string
	status int
}

var exceptions = map[lambent.Code]exception{
	lambent.CodeInvalid:     {"ValidationException", http.StatusBadRequest},
	lambent.CodeTooLarge:    {"ValidationException", http.StatusBadRequest},
	lambent.CodeUnsupported: {"ValidationException", http.StatusBadRequest},
	lambent.CodeNotFound:    {"ResourceNotFoundException", http.StatusNotFound},
	lambent.CodeConflict:    {"ConflictException", http.StatusConflict},
	lambent.CodeThrottled:   {"ThrottlingException", http.StatusTooManyRequests},
	lambent.CodeDenied:      {"AccessDeniedException", http.StatusForbidden},
	lambent.CodeUnavailable: {"InternalServerException", http.StatusServiceUnavailable},
	lambent.CodeTimeout:     {"InternalServerException", http.StatusServiceUnavailable},
}

// fail answers with an error: the one place where they get their names.
func (d *door) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	var e *lambent.Error
	x, known := exception{}, false
	if errors.As(err, &e) {
		x, known = exceptions[e.Code]
	}
	switch {
	case !known:
		d.o.Log.ErrorContext(r.Context(), "scheduler request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		e, x = &lambent.Error{Message: "The request failed because of an internal error."}, exception{"InternalServerException", http.StatusInternalServerError}
	case e.Reason == "Quota":
		x = exception{"ServiceQuotaExceededException", http.StatusPaymentRequired}
	case strings.HasSuffix(e.Reason, "Exception"):
		x.name = e.Reason
	}
	text, err := json.Marshal(map[string]string{"Message": e.Message})
	if err != nil { // strings always marshal
		text = []byte("{}")
	}
	w.Header().Set("X-Amzn-Errortype", x.name)
	w.WriteHeader(x.status)
	_, _ = w.Write(text)
}
