package lambdaapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
	"lambent.dev/lambent/internal/telemetry"
)

// Invoke has its own way through the door, because it is what most requests
// are: the same checks as for other operations, without the tables where a look
// at the bytes tells that they would find nothing.

const (
	invokePrefix = "/2015-03-31/functions/"
	invokeSuffix = "/invocations"
)

// call is an Invoke request on its way.
type call struct {
	requestID string
	namespace string
	name      string // FunctionName as in the path
	qualifier string
}

// IsInvoke tells whether a request with this method and target is most likely an
// Invoke, for who sorts requests before they are read. It looks at no more than it
// must.
func IsInvoke(method string, target []byte) bool {
	path, _, _ := bytes.Cut(target, []byte("?"))
	return method == http.MethodPost && bytes.HasPrefix(path, []byte(invokePrefix)) && bytes.HasSuffix(path, []byte(invokeSuffix))
}

// invokeTarget tells whether r is an Invoke, and of which function.
func invokeTarget(r *http.Request) (string, bool) {
	if r.Method != http.MethodPost {
		return "", false
	}
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	}
	name, ok := strings.CutPrefix(path, invokePrefix)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(strings.TrimSuffix(name, "/"), invokeSuffix)
	if !ok || name == "" || strings.Contains(name, "/") {
		return "", false
	}
	if r.URL.RawPath != "" {
		var err error
		if name, err = url.PathUnescape(name); err != nil {
			return "", false
		}
	}
	return name, true
}

func (h *handler) invoke(w http.ResponseWriter, r *http.Request, c call) {
	inv, kind, err := h.invocation(r, c)
	if err == nil {
		switch kind {
		case "", "RequestResponse":
			err = h.run(w, r, inv)
		case "DryRun":
			err = h.dryRun(w, inv)
		case "Event":
			err = h.event(w, r, inv)
		}
	}
	if err != nil {
		h.fail(w, r, c.requestID, h.namingVersion(err, inv))
	}
}

// namingVersion adds the version to the text about a function that does not
// exist, as AWS does for Invoke alone.
func (h *handler) namingVersion(err error, inv *lambent.Invocation) error {
	if inv == nil || inv.Qualifier != "" || lambent.CodeOf(err) != lambent.CodeNotFound || !strings.HasPrefix(err.Error(), functionNotFound) {
		return err
	}
	return notFound(functionNotFound + lambent.FunctionARN(h.Region, inv.Namespace, inv.Function, lambent.Latest))
}

// invocation reads and checks the request. kind is the invocation type.
func (h *handler) invocation(r *http.Request, c call) (inv *lambent.Invocation, kind string, err error) {
	if r.URL.RawQuery != "" {
		c.qualifier = r.URL.Query().Get("Qualifier")
	}
	kind = r.Header.Get("X-Amz-Invocation-Type")
	logType := r.Header.Get("X-Amz-Log-Type")
	if err := checkInvoke(c, kind, logType); err != nil {
		return nil, "", err
	}
	t, err := h.target(caller{namespace: c.namespace}, c.name, some(c.qualifier))
	if err != nil {
		return nil, "", err
	}
	if err := unsupportedCall(r.Header); err != nil {
		return nil, "", err
	}
	inv = &lambent.Invocation{
		RequestID: c.requestID, Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier,
		TraceID: telemetry.Caller(r.Header), Source: "lambda", WantTail: logType == "Tail", Arrived: h.Now(),
	}
	if inv.Qualifier != "" && h.Catalog != nil {
		inv.Version = h.Catalog.Steer(inv.Namespace, inv.Function, inv.Qualifier, r.Header)
	}
	if inv.ClientContext, err = clientContext(r.Header.Get("X-Amz-Client-Context")); err != nil {
		return nil, "", err
	}
	inv.Payload, err = payload(r)
	return inv, kind, err
}

// checkInvoke is the model's check of what a request names. A plain name and
// the usual types need no table.
func checkInvoke(c call, kind, logType string) error {
	if lambent.ValidName(c.name) && len(c.name) <= lambent.MaxFunctionName && c.qualifier == "" &&
		(kind == "" || kind == "RequestResponse") && (logType == "" || logType == "Tail" || logType == "None") {
		return nil
	}
	return wire.Validate(&wire.InvocationRequest{
		FunctionName: &c.name, InvocationType: some(kind), LogType: some(logType), Qualifier: some(c.qualifier),
	})
}

// unsupportedCall refuses headers that are for functions of kinds that lambent does
// not have: an event must not reach what was started for another tenant, and a
// second call with the same execution name must not run again (AWS Lambda
// developer guide, "Troubleshooting tenant isolation").
func unsupportedCall(h http.Header) error {
	switch {
	case len(h["X-Amz-Tenant-Id"]) > 0:
		return invalid("The function does not have tenant isolation. Call it without a tenant ID.")
	case len(h["X-Amz-Durable-Execution-Name"]) > 0:
		return invalid("The function is not a durable function. Call it without an execution name.")
	}
	return nil
}

var noPayload = []byte("{}")

// payload reads the event, which must be JSON of at most lambent.MaxPayload
// bytes; none at all is an empty object.
func payload(r *http.Request) ([]byte, error) {
	body, err := auth.BodyUpTo(r, lambent.MaxPayload)
	switch {
	case lambent.CodeOf(err) == lambent.CodeTooLarge:
		return nil, &lambent.Error{
			Code: lambent.CodeTooLarge, Reason: "RequestTooLargeException",
			Message: fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", lambent.MaxPayload),
		}
	case err != nil:
		return nil, err
	}
	return checkEvent(body)
}

// checkEvent checks what a function is called with: JSON, in UTF-8 (RFC 8259, section
// 8.1). Nothing at all is an empty object.
func checkEvent(body []byte) ([]byte, error) {
	switch {
	case len(body) == 0:
		return noPayload, nil
	case !json.Valid(body):
		return nil, notJSON(body)
	case !utf8.Valid(body):
		return nil, refusedPayload("it is not UTF-8")
	}
	return body, nil
}

func notJSON(body []byte) error {
	var v json.RawMessage
	detail := "it is not JSON"
	if err := json.Unmarshal(body, &v); err != nil {
		detail = err.Error()
	}
	return refusedPayload(detail)
}

func refusedPayload(detail string) error {
	return &lambent.Error{
		Code: lambent.CodeInvalid, Reason: "InvalidRequestContentException",
		Message: "Could not parse request body into json: Could not parse payload into json: " + detail,
	}
}

// clientContext decodes X-Amz-Client-Context: JSON in base64, of at most
// lambent.MaxClientContext bytes as sent (AWS Lambda API reference, Invoke).
func clientContext(header string) ([]byte, error) {
	if header == "" {
		return nil, nil
	}
	refuse := func(message string) error {
		return &lambent.Error{Code: lambent.CodeInvalid, Reason: "InvalidRequestContentException", Message: message}
	}
	if len(header) > lambent.MaxClientContext {
		return nil, refuse(fmt.Sprintf("Client context must be at most %d bytes long", lambent.MaxClientContext))
	}
	raw, err := base64.StdEncoding.DecodeString(header)
	if err != nil || !json.Valid(raw) || !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return nil, refuse("Client context must be a valid Base64-encoded JSON object.")
	}
	return raw, nil
}

// dryRun tells whether an Invoke would find its function.
func (h *handler) dryRun(w http.ResponseWriter, inv *lambent.Invocation) error {
	if _, err := h.Catalog.Resolve(inv.Namespace, inv.Function, inv.Qualifier); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *handler) run(w http.ResponseWriter, r *http.Request, inv *lambent.Invocation) error {
	res, err := h.Invoker.Invoke(r.Context(), inv)
	if err != nil {
		return err
	}
	header := w.Header()
	header["Content-Type"] = jsonType
	header["Content-Length"] = []string{strconv.Itoa(len(res.Payload))}
	header["X-Amz-Executed-Version"] = []string{res.ExecutedVersion}
	if inv.TraceID != "" {
		header["X-Amzn-Trace-Id"] = []string{inv.TraceID}
	}
	if res.FunctionError != "" {
		header["X-Amz-Function-Error"] = []string{res.FunctionError}
	}
	if inv.WantTail {
		header["X-Amz-Log-Result"] = []string{base64.StdEncoding.EncodeToString(res.LogTail)}
	}
	w.WriteHeader(http.StatusOK)
	_ = httpwire.WriteBody(w, res.Payload, partTimeout) // the caller may be gone
	return nil
}
