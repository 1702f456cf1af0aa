package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/event"
)

// preludeEnd ends the prelude of a streamed answer.
var preludeEnd = make([]byte, 8)

// writeTimeout is how long a caller may take to read a part of an answer; half of
// it is enough for a part that comes soon after another, and spares its deadline.
const writeTimeout = time.Minute

func cutPrelude(p []byte) (head, body []byte, ok bool) { return bytes.Cut(p, preludeEnd) }

var errPrelude = errors.New("a streamed answer has no valid prelude")

// stream sends an answer to the caller while it is being made. It implements
// [lambent.Stream].
type stream struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	version *lambent.Version
	prelude []byte // what came of it, nil when none is expected any more
	begun   bool   // the function streams
	sent    bool   // the head is out
	stopped atomic.Bool
	until   time.Time // the deadline of writing
}

var _ lambent.Interrupter = (*stream)(nil)

func newStream(w http.ResponseWriter, r *http.Request, v *lambent.Version) *stream {
	return &stream{w: w, r: r, control: http.NewResponseController(w), version: v}
}

// Begin implements lambent.Stream.
func (s *stream) Begin(contentType string) error {
	s.begun = true
	if contentType == lambent.PreludeType {
		s.prelude = make([]byte, 0, 512)
		return nil
	}
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	s.head(event.Answer{Status: http.StatusOK, Header: []event.Field{{Name: "Content-Type", Value: contentType}}})
	return s.control.Flush()
}

func (s *stream) head(a event.Answer) {
	setHead(s.w.Header(), a.Header)
	s.sent = true
	s.w.WriteHeader(a.Status)
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	body := p
	if s.prelude != nil {
		var err error
		if body, err = s.cut(p); err != nil {
			return 0, err
		}
		if s.prelude != nil {
			return len(p), nil
		}
	}
	if now := time.Now(); s.until.Sub(now) < writeTimeout/2 {
		s.until = now.Add(writeTimeout)
		_ = s.control.SetWriteDeadline(s.until) // only a connection has one
	}
	if s.stopped.Load() { // looked at last, so that Interrupt's deadline is the later one
		return 0, lambent.Errorf(lambent.CodeCanceled, "send answer: it was broken off")
	}
	if len(body) > 0 {
		if _, err := s.w.Write(body); err != nil {
			return 0, lambent.Errorf(lambent.CodeCanceled, "send answer: %w", err)
		}
	}
	if err := s.control.Flush(); err != nil {
		return 0, lambent.Errorf(lambent.CodeCanceled, "send answer: %w", err)
	}
	return len(p), nil
}

// Interrupt implements lambent.Interrupter: the Write that waits for the caller
// fails, and all that come.
func (s *stream) Interrupt() {
	s.stopped.Store(true)
	_ = s.control.SetWriteDeadline(time.Unix(1, 0)) // only a connection has one
}

// cut collects the prelude. When it is complete the head is sent, and what comes
// after it is returned.
func (s *stream) cut(p []byte) (body []byte, err error) {
	s.prelude = append(s.prelude, p...)
	head, body, ok := cutPrelude(s.prelude)
	switch {
	case !ok && len(s.prelude) <= lambent.MaxPrelude:
		return nil, nil
	case ok:
		a, err := event.ParsePrelude(head)
		if err == nil {
			s.prelude = nil
			s.head(a)
			return body, nil
		}
	}
	return nil, errPrelude
}

// end finishes an answer that was streamed. One that broke off ends the
// connection, so that the caller does not take it for whole.
func (s *stream) end(err error, res *lambent.Result) {
	_ = s.control.SetWriteDeadline(time.Time{}) // the connection keeps it else
	switch {
	case !s.sent && res != nil && res.FunctionError != "":
		send(s.w, s.r, res, s.version, nil)
	case !s.sent:
		fail(s.w, errPrelude.Error())
	case err != nil || res.FunctionError != "":
		panic(http.ErrAbortHandler)
	}
}
