package runtimeapi

import (
	"io"
	"net/http"
	"strconv"
)

// Names of the headers of an event, in Go's canonical form.
const (
	headerRequestID     = "Lambda-Runtime-Aws-Request-Id"
	headerInvocationID  = "Lambda-Runtime-Invocation-Id"
	headerDeadline      = "Lambda-Runtime-Deadline-Ms"
	headerFunctionARN   = "Lambda-Runtime-Invoked-Function-Arn"
	headerTraceID       = "Lambda-Runtime-Trace-Id"
	headerClientContext = "Lambda-Runtime-Client-Context"
	headerErrorType     = "Lambda-Runtime-Function-Error-Type"
	headerResponseMode  = "Lambda-Runtime-Function-Response-Mode"
	trailerErrorBody    = "Lambda-Runtime-Function-Error-Body"
)

// Handler answers the runtime's requests through net/http. Serve speaks HTTP
// itself; this is for a runtime that is reached in another way, and the measure
// that Serve is tested against.
func (s *Session) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

func (s *Session) serveHTTP(w http.ResponseWriter, r *http.Request) {
	op, id := route(r.Method, r.URL.Path)
	var out reply
	switch op {
	case opNext:
		var ok bool
		if out, ok = s.next(r.Context().Done()); !ok {
			panic(http.ErrAbortHandler) // nobody is there to read an answer
		}
	case opResponse:
		out = s.answer(stepResponse, id, postOf(r))
	case opError:
		out = s.answer(stepError, id, postOf(r))
	case opInitError:
		out = s.initError(postOf(r))
	default:
		out = s.do(op)
	}
	if out.status == http.StatusRequestEntityTooLarge {
		// net/http would break the connection before the client has read why. A
		// client that breaks off by itself needs no answer.
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
	}
	writeReply(w, out)
}

// postOf is what the protocol needs of r.
func postOf(r *http.Request) *post {
	return &post{
		contentType: r.Header.Get("Content-Type"),
		invocation:  r.Header.Get(headerInvocationID),
		errorType:   r.Header.Get(headerErrorType),
		mode:        r.Header.Get(headerResponseMode),
		length:      r.ContentLength,
		body:        r.Body,
		trailer:     func(name string) string { return r.Trailer.Get(name) },
	}
}

// writeReply writes out. A failed write is the runtime's loss: it asks again, or
// its process is gone and the driver says so.
func writeReply(w http.ResponseWriter, out reply) {
	h := w.Header()
	h["Date"] = nil // nobody reads it, and it costs a lock
	h["Content-Type"] = jsonType
	body := out.body
	if x := out.event; x != nil {
		body = x.event.Payload
		x.each(func(name, value string) { h[name] = []string{value} })
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(out.status)
	_, _ = w.Write(body)
}

var jsonType = []string{typeJSON}
