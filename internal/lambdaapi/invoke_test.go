package lambdaapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/lambdaapi"
)

// invoked is an Invoker that notes what it is asked and answers as told.
type invoked struct {
	inv *lambent.Invocation
	res *lambent.Result
	err error
}

func (i *invoked) Invoke(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	i.inv = inv
	return i.res, i.err
}

// invokeDoor is a door that needs no rooms but the invoker.
func invokeDoor(i lambdaapi.Invoker) http.Handler {
	door := lambdaapi.New(lambdaapi.Options{Invoker: i, Region: region})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		door.ServeHTTP(w, r.WithContext(auth.With(r.Context(), auth.Identity{AccountID: account})))
	})
}

func invoke(h http.Handler, path string, header map[string]string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestInvokePassesEverything(t *testing.T) {
	i := &invoked{res: &lambent.Result{ExecutedVersion: "3", Payload: []byte(`{"ok":1}`), LogTail: []byte("tail"), FunctionError: "Unhandled"}}
	w := invoke(invokeDoor(i), "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A"+account+"%3Afunction%3Ahello/invocations?Qualifier=live",
		map[string]string{
			"X-Amz-Log-Type": "Tail", "X-Amz-Invocation-Type": "RequestResponse", "X-Amzn-Trace-Id": "Root=1-2-3",
			"X-Amz-Client-Context": base64.StdEncoding.EncodeToString([]byte(`{"custom":{}}`)),
		}, []byte(`[1, 2]`))
	if w.Code != 200 || w.Body.String() != `{"ok":1}` {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"X-Amz-Executed-Version": "3", "X-Amz-Function-Error": "Unhandled", "X-Amzn-Trace-Id": "Root=1-2-3",
		"X-Amz-Log-Result": base64.StdEncoding.EncodeToString([]byte("tail")), "Content-Type": "application/json",
		"X-Amzn-RequestId": i.inv.RequestID,
	} {
		if got := w.Header().Get(name); got != want || want == "" {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	inv := i.inv
	if inv.Function != "hello" || inv.Qualifier != "live" || inv.Namespace != account || string(inv.Payload) != `[1, 2]` ||
		string(inv.ClientContext) != `{"custom":{}}` || !inv.WantTail || inv.Source != "lambda" || inv.Arrived.IsZero() {
		t.Errorf("got %+v", inv)
	}
}

func TestInvokeWithoutPayloadIsAnEmptyObject(t *testing.T) {
	i := &invoked{res: &lambent.Result{ExecutedVersion: lambent.Latest, Payload: []byte("null")}}
	w := invoke(invokeDoor(i), "/2015-03-31/functions/hello/invocations", nil, nil)
	if w.Code != 200 || string(i.inv.Payload) != "{}" || w.Header().Get("X-Amz-Log-Result") != "" {
		t.Errorf("got %d, payload %s, %v", w.Code, i.inv.Payload, w.Header())
	}
}

func TestInvokePayloadLimit(t *testing.T) {
	i := &invoked{res: &lambent.Result{ExecutedVersion: lambent.Latest}}
	h := invokeDoor(i)
	body := []byte(`"` + strings.Repeat("x", lambent.MaxPayload-2) + `"`)
	if w := invoke(h, "/2015-03-31/functions/hello/invocations", nil, body); w.Code != 200 || len(i.inv.Payload) != lambent.MaxPayload {
		t.Errorf("the largest payload: %d %.200s", w.Code, w.Body)
	}
	over := append(body, ' ')
	wantError(t, invoke(h, "/2015-03-31/functions/hello/invocations", nil, over), 413, "RequestTooLargeException",
		"Request must be smaller than 6291556 bytes for the InvokeFunction operation")
	// The same without a length announced.
	r := httptest.NewRequest(http.MethodPost, "/2015-03-31/functions/hello/invocations", struct{ *bytes.Reader }{bytes.NewReader(over)})
	r.ContentLength = -1
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantError(t, w, 413, "RequestTooLargeException", "Request must be smaller than")
}

func TestInvokeRefuses(t *testing.T) {
	const path = "/2015-03-31/functions/hello/invocations"
	long := base64.StdEncoding.EncodeToString([]byte(`{"a":"` + strings.Repeat("x", 2700) + `"}`))
	for _, tt := range []struct {
		path   string
		header map[string]string
		body   string
		status int
		name   string
		text   string
	}{
		{path, nil, `{"a":`, 400, "InvalidRequestContentException", "Could not parse request body into json: "},
		{path, nil, "{}\x00", 400, "InvalidRequestContentException", "Could not parse request body into json: "},
		{path, nil, "\"\xff\"", 400, "InvalidRequestContentException", "Could not parse payload into json: it is not UTF-8"},
		{path, map[string]string{"X-Amz-Tenant-Id": "blue"}, "{}", 400, "InvalidParameterValueException", "The function does not have tenant isolation."},
		{path, map[string]string{"X-Amz-Durable-Execution-Name": "one"}, "{}", 400, "InvalidParameterValueException", "The function is not a durable function."},
		{path, map[string]string{"X-Amz-Client-Context": "%%%"}, "{}", 400, "InvalidRequestContentException", "Client context must be"},
		{path, map[string]string{"X-Amz-Client-Context": "W10="}, "{}", 400, "InvalidRequestContentException", "Client context must be"}, // []
		{path, map[string]string{"X-Amz-Client-Context": long}, "{}", 400, "InvalidRequestContentException", "Client context must be at most 3583"},
		{path, map[string]string{"X-Amz-Invocation-Type": "Later"}, "{}", 400, "ValidationException",
			"1 validation error detected: Value 'Later' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: ["},
		{path, map[string]string{"X-Amz-Invocation-Type": "Event"}, "{}", 501, "ServiceException", "InvocationType Event is not implemented by lambent yet"},
		{"/2015-03-31/functions/a%21b/invocations", nil, "{}", 400, "ValidationException", "1 validation error detected: Value 'a!b' at 'functionName'"},
		{"/2015-03-31/functions/f:1/invocations?Qualifier=2", nil, "{}", 400, "InvalidParameterValueException", "The derived qualifier"},
	} {
		i := &invoked{res: &lambent.Result{}}
		wantError(t, invoke(invokeDoor(i), tt.path, tt.header, []byte(tt.body)), tt.status, tt.name, tt.text)
		if i.inv != nil {
			t.Errorf("%s %v: the function was called", tt.path, tt.header)
		}
	}
}

// TestErrors holds every code against the exception that callers get for it.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		name   string
		text   string
	}{
		{lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason("ReservedFunctionConcurrentInvocationLimitExceeded"), 429, "TooManyRequestsException", "Rate Exceeded."},
		{lambent.Errorf(lambent.CodeNotFound, "Function not found: arn:aws:lambda:us-east-1:111111111111:function:hello"), 404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:111111111111:function:hello:$LATEST"},
		{lambent.Errorf(lambent.CodeConflict, "pending"), 409, "ResourceConflictException", "pending"},
		{lambent.Errorf(lambent.CodeUnavailable, "stopping"), 503, "ServiceException", "stopping"},
		{lambent.Errorf(lambent.CodeDenied, "no"), 403, "AccessDeniedException", "no"},
		{lambent.Errorf(lambent.CodeTimeout, "late"), 500, "ServiceException", "late"},
		{lambent.Errorf(lambent.CodeInternal, "secret detail"), 500, "ServiceException", "An internal error occurred"},
		{bytes.ErrTooLarge, 500, "ServiceException", "An internal error occurred"},
	} {
		w := invoke(invokeDoor(&invoked{err: tt.err}), "/2015-03-31/functions/hello/invocations", nil, nil)
		wantError(t, w, tt.status, tt.name, tt.text)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("an internal error is shown: %s", w.Body)
		}
		if throttled := tt.status == 429; throttled != (w.Header().Get("Retry-After") != "") || throttled != strings.Contains(w.Body.String(), `"Reason"`) {
			t.Errorf("%d: Retry-After %q, %s", tt.status, w.Header().Get("Retry-After"), w.Body)
		}
	}
}

func TestUnknownAndMissing(t *testing.T) {
	h := invokeDoor(&invoked{})
	send := func(h http.Handler, method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	wantError(t, send(h, "GET", "/2015-03-31/nothing"), 404, "UnknownOperationException", "No operation")
	wantError(t, send(h, "PATCH", "/2015-03-31/functions/f"), 404, "UnknownOperationException", "No operation")
	wantError(t, send(h, "GET", "/2025-12-01/durable-execution-callbacks/x/heartbeat"), 404, "UnknownOperationException", "No operation")
	bare := lambdaapi.New(lambdaapi.Options{Region: region})
	wantError(t, send(bare, "GET", "/2015-03-31/functions"), 403, "MissingAuthenticationTokenException", "Missing Authentication Token")
	wantError(t, send(bare, "POST", "/2015-03-31/functions/f/invocations"), 403, "MissingAuthenticationTokenException", "Missing Authentication Token")
}

func wantError(t *testing.T, w *httptest.ResponseRecorder, status int, name, text string) {
	t.Helper()
	if w.Code != status || w.Header().Get("x-amzn-errortype") != name || !strings.Contains(w.Body.String(), text) {
		t.Errorf("got %d %s %.300s, want %d %s %s", w.Code, w.Header().Get("x-amzn-errortype"), w.Body, status, name, text)
	}
	if w.Header().Get("x-amzn-RequestId") == "" {
		t.Errorf("%d %s: no request id", w.Code, name)
	}
}

// BenchmarkInvoke measures what the door adds to a warm call.
func BenchmarkInvoke(b *testing.B) {
	h := lambdaapi.New(lambdaapi.Options{
		Invoker: &invoked{res: &lambent.Result{ExecutedVersion: lambent.Latest, Payload: []byte(`{"statusCode":200}`)}}, Region: region,
	})
	ctx := auth.With(b.Context(), auth.Identity{AccountID: account})
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/2015-03-31/functions/hello/invocations", nil)
	event := []byte(`{"key1":"value1","key2":"value2","key3":"value3"}`)
	body := bytes.NewReader(event)
	r.Body, r.ContentLength = readCloser{body}, int64(len(event))
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(event)
		clear(w.header)
		h.ServeHTTP(w, r)
	}
	if w.status != http.StatusOK {
		b.Fatalf("answered %d", w.status)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
