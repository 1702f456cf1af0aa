// Package lambdaapi is the front door that speaks the AWS Lambda API: it routes
// and checks requests by AWS's own model (see internal/wire), turns them into
// calls of the catalog or into invocations, and answers with AWS's shapes, codes
// and texts. It holds no state and decides nothing about functions; who calls is
// settled before it, by package auth. Operations of the model that lambent does
// not have yet answer that they are not implemented, never with silence.
package lambdaapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// Invoker runs invocations. A function that fails is a Result; an error is a
// [lambent.Error].
type Invoker interface {
	Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error)
}

// Blobs gives the code as it was uploaded, and its size in bytes.
type Blobs interface {
	Blob(d lambent.Digest) (io.ReadSeekCloser, int64, error)
}

// Provisioner tells how far provisioned concurrency has come.
type Provisioner interface {
	// Allocation is false for what has not been begun yet.
	Allocation(p *lambent.Provisioned) (lambent.Allocation, bool)
}

// Optimizer tells for a published version with SnapStart whether its starts are
// optimised by now.
type Optimizer interface {
	Optimized(v *lambent.Version) bool
}

// Options are what the door is made of. Catalog, Invoker, Blobs and Region are
// required.
type Options struct {
	Catalog *catalog.Catalog
	Invoker Invoker
	Blobs   Blobs
	Region  string
	Log     *slog.Logger     // discarded when nil
	Now     func() time.Time // time.Now when nil
	// BaseURL is where the caller of r reaches this server, for links in answers;
	// when nil it is taken from r itself.
	BaseURL func(r *http.Request) string
	// FunctionURL is the address of the function URL with an id; when nil it is on
	// the gateway's usual port of this host.
	FunctionURL func(urlID string) string
	// Concurrency is the account's limit; lambent.DefaultConcurrency when zero.
	Concurrency int
	// Provisioner, if set, is asked about provisioned concurrency, which else
	// stays in progress; Optimizer about SnapStart, which else stays off.
	Provisioner Provisioner
	Optimizer   Optimizer
	// Events keeps asynchronous calls; they are not implemented without it.
	Events Events
}

type handler struct {
	Options
	operations map[string]operation
	linkKey    []byte // signs links to code; they end with the process
}

// New makes the door. It serves requests that carry an [auth.Identity], and
// links under [CodePath], which carry a token of their own.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BaseURL == nil {
		o.BaseURL = baseURL
	}
	if o.FunctionURL == nil {
		o.FunctionURL = func(urlID string) string { return "http://" + urlID + ".lambda-url." + o.Region + ".localhost:8080/" }
	}
	if o.Concurrency == 0 {
		o.Concurrency = lambent.DefaultConcurrency
	}
	h := &handler{Options: o, linkKey: make([]byte, 32)}
	_, _ = rand.Read(h.linkKey) // never fails (crypto/rand)
	h.operations = h.table()
	return h
}

func baseURL(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// caller is who makes a request, and what an operation may need of it beside
// its members.
type caller struct {
	namespace string
	base      func() string // URL of this server as the caller sees it
}

// operation serves a decoded request and returns the answer's body, or nil for
// none.
type operation func(ctx context.Context, c caller, in any) (any, error)

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, CodePath) {
		h.serveCode(w, r)
		return
	}
	requestID := uuid.NewString()
	w.Header()["X-Amzn-Requestid"] = []string{requestID}
	id, ok := auth.From(r.Context())
	if !ok {
		h.fail(w, r, requestID, &lambent.Error{
			Code: lambent.CodeDenied, Reason: "MissingAuthenticationTokenException", Message: "Missing Authentication Token",
		})
		return
	}
	if name, ok := invokeTarget(r); ok {
		h.invoke(w, r, call{requestID: requestID, namespace: id.AccountID, name: name})
		return
	}
	if err := h.serve(w, r, id.AccountID); err != nil {
		h.fail(w, r, requestID, err)
	}
}

// Operation names what a request asks for, for messages about requests that do
// not get as far as the handler; "" when the API has no such path.
func Operation(r *http.Request) string {
	op, _ := wire.Match(r.Method, r.URL.EscapedPath(), r.URL.Query())
	if op == nil {
		return ""
	}
	return op.Name
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, namespace string) error {
	query := r.URL.Query()
	op, params := wire.Match(r.Method, r.URL.EscapedPath(), query)
	if op == nil {
		return &lambent.Error{
			Code: lambent.CodeNotFound, Reason: "UnknownOperationException",
			Message: "No operation of the AWS Lambda API has the method and path " + r.Method + " " + r.URL.EscapedPath(),
		}
	}
	in, err := decoded(r, op, params, query)
	if err != nil {
		return err
	}
	c := caller{namespace: namespace, base: func() string { return h.BaseURL(r) }}
	if in, ok := in.(*wire.InvokeWithResponseStreamRequest); ok {
		return h.invokeStream(w, r, c, in)
	}
	run, ok := h.operations[op.Name]
	if !ok {
		if name := params["FunctionName"]; name != "" {
			if _, err := h.target(c, name, nil); err != nil {
				return err
			}
		}
		return notImplemented(op.Name)
	}
	out, err := run(r.Context(), c, in)
	if err != nil {
		return err
	}
	return writeJSON(w, op.Status, out)
}

// bodyLimit is the most bytes that a request may have: code comes with three
// operations, the others are small.
func bodyLimit(operation string) int64 {
	switch operation {
	case "CreateFunction", "UpdateFunctionCode", "PublishLayerVersion":
		return lambent.MaxRequestBody
	}
	return lambent.MaxPayload
}

// decoded is a request as the operation that was matched reads it. Whoever asked before
// whether the caller may do that has had it decoded already.
func decoded(r *http.Request, op *wire.Op, params map[string]string, query url.Values) (any, error) {
	limit := bodyLimit(op.Name)
	_, err := auth.BodyUpTo(r, limit)
	if lambent.CodeOf(err) == lambent.CodeTooLarge {
		return nil, &lambent.Error{
			Code: lambent.CodeTooLarge, Reason: "RequestEntityTooLargeException",
			Message: fmt.Sprintf("Request must be smaller than %d bytes for the %s operation", limit, op.Name),
		}
	}
	if err != nil {
		return nil, err
	}
	return auth.Decoded(r, func(body []byte) (any, error) {
		return op.Decode(wire.Request{Params: params, Query: query, Header: r.Header, Body: body})
	})
}

func writeJSON(w http.ResponseWriter, status int, out any) error {
	if out == nil || status == http.StatusNoContent {
		w.WriteHeader(status)
		return nil
	}
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	w.Header()["Content-Type"] = jsonType
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
	return nil
}

var jsonType = []string{"application/json"}

func notImplemented(what string) error {
	return &lambent.Error{Code: lambent.CodeUnsupported, Message: what + " is not implemented by lambent yet"}
}

// fail answers with an error. What is ours to mend is logged here, where it ends.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, requestID string, err error) {
	a := answerTo(err, requestID)
	code := lambent.CodeOf(err)
	if a.Status >= http.StatusInternalServerError && code != lambent.CodeUnsupported && code != lambent.CodeCanceled {
		h.Log.Error("request failed", "request", requestID, "method", r.Method, "path", r.URL.Path, "code", code, "error", causes(err))
	}
	a.write(w)
}
