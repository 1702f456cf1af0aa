package lambdaapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/eventstream"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
	"lambent.dev/lambent/internal/telemetry"
)

// opStream is the operation whose answer is an event stream.
const opStream = "InvokeWithResponseStream"

// invokeStream answers InvokeWithResponseStream: what the function writes goes out
// as it comes, in messages of the type application/vnd.amazon.eventstream. A
// function that answers at once is one chunk.
func (h *handler) invokeStream(w http.ResponseWriter, r *http.Request, c caller, in *wire.InvokeWithResponseStreamRequest) error {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return err
	}
	if err := unsupportedCall(r.Header); err != nil {
		return err
	}
	inv := &lambent.Invocation{
		RequestID: w.Header()["X-Amzn-Requestid"][0], Namespace: c.namespace, Function: t.function, Qualifier: t.qualifier,
		TraceID: telemetry.Caller(r.Header), Source: "lambda", WantTail: deref(in.LogType) == "Tail", Arrived: h.Now(),
	}
	if inv.ClientContext, err = clientContext(deref(in.ClientContext)); err != nil {
		return err
	}
	if inv.Payload, err = checkEvent(in.Payload); err != nil {
		return err
	}
	if deref(in.InvocationType) == "DryRun" {
		return h.namingVersion(h.dryRun(w, inv), inv)
	}
	// The version is in the header, which goes out before the call is over. With an
	// alias that leads to two it is not known by then.
	version := ""
	if e, err := h.Catalog.Get(c.namespace, t.function, t.qualifier); err == nil && (e.Alias == nil || len(e.Alias.Weights) == 0) {
		version = e.Version.Number
	}
	s := &eventStream{w: w, control: http.NewResponseController(w), version: version}
	inv.Stream = s
	res, err := h.Invoker.Invoke(r.Context(), inv)
	switch {
	case err != nil && s.begun:
		panic(http.ErrAbortHandler) // so that the caller does not take it for whole
	case err != nil:
		return h.namingVersion(err, inv)
	}
	s.finish(inv, res)
	return nil
}

// partTimeout is how long a caller may take to read a part of an answer.
const partTimeout = time.Minute

// eventStream sends an answer as messages. It implements [lambent.Stream].
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	version string
	buf     []byte
	begun   bool
	stopped atomic.Bool
}

var _ lambent.Interrupter = (*eventStream)(nil)

// Begin implements lambent.Stream.
func (s *eventStream) Begin(string) error {
	s.begun = true
	h := s.w.Header()
	h["Content-Type"] = []string{eventstream.ContentType}
	if s.version != "" {
		h["X-Amz-Executed-Version"] = []string{s.version}
	}
	s.w.WriteHeader(http.StatusOK)
	return gone(s.control.Flush())
}

// Interrupt implements lambent.Interrupter: the Write that waits for the caller
// fails, and all that come.
func (s *eventStream) Interrupt() {
	s.stopped.Store(true)
	_ = s.control.SetWriteDeadline(time.Unix(1, 0)) // only a connection has one
}

// maxChunk bounds one message, which a client holds in memory, in bytes.
const maxChunk = 128 << 10

// Write implements io.Writer.
func (s *eventStream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+maxChunk)]
		if err := s.send("PayloadChunk", "application/octet-stream", part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func (s *eventStream) send(kind, contentType string, payload []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(partTimeout)) // only a connection has one
	if s.stopped.Load() {                                       // looked at last, so that Interrupt's deadline is the later one
		return gone(http.ErrHandlerTimeout)
	}
	s.buf = eventstream.Append(s.buf[:0], kind, contentType, payload)
	if _, err := s.w.Write(s.buf); err != nil {
		return gone(err)
	}
	return gone(s.control.Flush())
}

// gone is the error of a caller that takes no more.
func gone(err error) error {
	if err == nil {
		return nil
	}
	return lambent.Errorf(lambent.CodeCanceled, "send answer: %w", err)
}

// finish sends what was not streamed, and the last message.
func (s *eventStream) finish(inv *lambent.Invocation, res *lambent.Result) {
	if !s.begun {
		s.version = res.ExecutedVersion
		if s.Begin("") != nil {
			return // nobody is there
		}
	}
	var last struct {
		ErrorCode    string `json:",omitempty"`
		ErrorDetails string `json:",omitempty"`
		LogResult    string `json:",omitempty"`
	}
	if res.FunctionError != "" {
		last.ErrorCode, last.ErrorDetails = res.FunctionError, string(res.Payload)
	} else if _, err := s.Write(res.Payload); err != nil {
		return
	}
	if inv.WantTail {
		last.LogResult = base64.StdEncoding.EncodeToString(res.LogTail)
	}
	body, err := json.Marshal(last)
	if err != nil {
		panic(http.ErrAbortHandler) // strings always marshal
	}
	s.stopped.Store(false)
	_ = s.send("InvokeComplete", "application/json", body) // the caller may be gone
	_ = s.control.SetWriteDeadline(time.Time{})            // the connection keeps it else
}
