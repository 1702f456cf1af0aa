package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// statuses is the HTTP status of every error code.
var statuses = map[lambent.Code]int{
	lambent.CodeInvalid:      http.StatusBadRequest,
	lambent.CodeNotFound:     http.StatusNotFound,
	lambent.CodeConflict:     http.StatusConflict,
	lambent.CodePrecondition: http.StatusPreconditionFailed,
	lambent.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	lambent.CodeThrottled:    http.StatusTooManyRequests,
	lambent.CodeDenied:       http.StatusForbidden,
	lambent.CodeUnsupported:  http.StatusNotImplemented,
	lambent.CodeUnavailable:  http.StatusServiceUnavailable,
	lambent.CodeTimeout:      http.StatusGatewayTimeout,
	lambent.CodeCanceled:     499, // nobody reads it; as nginx logs it
	lambent.CodeInternal:     http.StatusInternalServerError,
}

// wireError is err in our dialect. An internal error keeps its text to itself.
func (a *api) wireError(c *call, err error) client.Error {
	var e *lambent.Error
	if !errors.As(err, &e) || e.Code == lambent.CodeInternal {
		a.o.Log.ErrorContext(c.Context(), "request failed", "path", c.URL.Path, "inv", c.requestID, "err", err)
		return client.Error{Code: string(lambent.CodeInternal), Message: "the server failed; its log has the details under this request id", RequestID: c.requestID}
	}
	return client.Error{Code: string(e.Code), Reason: e.Reason, Message: e.Message, RequestID: c.requestID}
}

// refuse answers with an error.
func (a *api) refuse(c *call, err error) {
	e := a.wireError(c, err)
	status, ok := statuses[lambent.Code(e.Code)]
	if !ok {
		status = http.StatusInternalServerError
	}
	writeError(c, status, e)
}

func writeError(c *call, status int, e client.Error) {
	e.RequestID = c.requestID
	_ = c.answer(status, e) // the caller is gone: there is nobody to tell
}

// answer writes v as JSON. Its error is always nil, so that handlers may return
// it: once the head is out, a caller who went away cannot be told anything.
func (c *call) answer(status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return lambent.Errorf(lambent.CodeInternal, "write answer: %w", err)
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
	return nil
}

// marshal writes v as one line of JSON, without the escapes that only HTML needs:
// a function's answer passes as it wrote it.
func marshal(v any) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return line.Bytes(), err
}

// stallLimit is how long a reader of a streamed answer may take none of it.
const stallLimit = 30 * time.Second

// lines is an answer of one JSON value per line.
type lines struct {
	out     http.ResponseWriter
	control *http.ResponseController

	mu     sync.Mutex // guards the writing: progress may come from any goroutine
	failed error
}

// lines begins a streamed answer.
func (c *call) lines() *lines {
	h := c.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	return &lines{out: c.w, control: http.NewResponseController(c.w)}
}

// end lifts the deadline, which would outlive the answer on a kept connection.
func (l *lines) end() { _ = l.control.SetWriteDeadline(time.Time{}) }

// write adds a line. After its first error it does nothing but return it.
func (l *lines) write(v any, flush bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	line, err := marshal(v)
	if err == nil {
		// Not every ResponseWriter has deadlines; one without waits for ever.
		_ = l.control.SetWriteDeadline(time.Now().Add(stallLimit))
		_, err = l.out.Write(line)
	}
	if err == nil && flush {
		err = l.control.Flush()
	}
	l.failed = err
	return err
}

// fail ends the answer with an error line.
func (a *api) fail(c *call, l *lines, err error) {
	e := a.wireError(c, err)
	_ = l.write(struct {
		Error client.Error `json:"error"`
	}{e}, true) // the caller is gone: there is nobody to tell
}
