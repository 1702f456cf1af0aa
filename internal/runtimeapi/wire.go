package runtimeapi

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/runtimeapi/relay"
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

// cutPatience is how long a connection that is cut is still read: were it closed
// with data in it, the client might lose the answer.
const cutPatience = 250 * time.Millisecond

// soonAnswer is how long the beginning of an answer is looked for before the server
// sleeps: longer than a handler in Go takes that does next to nothing, or one in
// Python. soonRest is the same for what belongs to it, from then on.
const (
	soonAnswer = 250 * time.Microsecond
	soonRest   = 100 * time.Microsecond
)

// limits are for a peer that is a tenant's process. The X-Ray cause of an error
// comes as a header, up to 1 MiB of it.
var limits = httpwire.Limits{Header: 1<<20 + 64<<10, Line: 1 << 20}

// callLimits are for connections beyond those that a runtime needs.
var callLimits = httpwire.Limits{Header: 64 << 10, Line: 64 << 10}

// line is one connection of the runtime.
//
// While its /next is blocked, whoever has the event writes it to the connection,
// which spares a switch of goroutines for every invocation; the connection's own
// goroutine waits for the request that comes after it.
type line struct {
	s    *Session
	c    net.Conn
	now  *httpwire.Now // writes to c
	r    *httpwire.Reader
	head []byte // of the answer that is being written
	keep bool   // the connection stays open after the current answer
	post post
	// waiter is registered with the session while a /next is blocked. answered
	// then gets, once, whether its answer was written.
	waiter   waiter
	answered chan bool
	// event went to the runtime last. first looks for the beginning of its answer, in
	// place of the connection's goroutine, and rest, until then, for what follows. event
	// and first are Invoke's, of which there is one at a time.
	event       *exchange
	first, rest *httpwire.Soon
	until       time.Time
}

func newLine(s *Session, c net.Conn, most httpwire.Limits) *line {
	c = httpwire.Quick(c)
	l := &line{s: s, c: c, now: httpwire.NewNow(c), head: make([]byte, 0, 1<<10), answered: make(chan bool, 1)}
	l.first = httpwire.NewSoon(c, func() bool { return len(l.event.done) > 0 })
	l.rest = httpwire.NewSoon(c, nil)
	l.r = httpwire.NewReader(l, c, most, headerErrorType, trailerErrorBody)
	l.post.trailer, l.post.halt, l.post.ready = l.r.Trailer, l.halt, l.r.Ready
	l.waiter.answer = l.deliver
	return l
}

// converse answers the requests of one connection, one after the other. call tells
// that it has come to one for somebody else, which is as it was sent.
func (l *line) converse() (call bool) {
	for parked := false; ; {
		wrong, err := l.next()
		if parked && !l.unpark(err != nil) || err != nil {
			return false
		}
		if wrong != nil {
			l.keep = false
			_ = l.write(refuse(wrong.Status, "InvalidRequest", wrong.Reason)) // the last word
			return false
		}
		l.keep = l.r.Head.KeepAlive
		op, id := l.operation()
		if (op == opCall || l.s.opts.CallsOnly) && l.s.opts.Calls != nil {
			return true
		}
		out, now := l.respond(op, id)
		if parked = !now && l.keep && l.r.Ended(); parked {
			continue
		}
		if !now {
			if !l.unpark(false) {
				return false
			}
		} else {
			l.keep = l.keep && !out.cut && (l.r.Ended() || !l.r.Head.Expect)
			if l.write(out) != nil {
				return false
			}
			if out.cut { // it goes on for as long as it takes the client to see the answer
				_ = l.c.SetReadDeadline(time.Now().Add(cutPatience))
			}
		}
		// What is left of a refused body is read after the refusal is out: a
		// client reads the one or sends the other first, as it likes.
		if !l.r.Skip(maxDrain) || !l.keep {
			return false
		}
	}
}

// next reads the head of the next request. wrong is why it cannot be understood,
// err that the connection has ended.
func (l *line) next() (wrong *httpwire.Error, err error) {
	switch err := l.r.Next(); {
	case errors.As(err, &wrong):
		return wrong, nil
	case err != nil:
		return nil, err
	case l.r.Head.Target[0] != '/':
		return &httpwire.Error{Status: http.StatusBadRequest, Reason: "malformed request target"}, nil
	}
	return nil, nil
}

// operation is what the request asks for.
func (l *line) operation() (op operation, id string) {
	target, _, _ := bytes.Cut(l.r.Head.Target, []byte("?"))
	path := pathNext
	if string(target) != pathNext { // most often it is that one
		path = string(target)
	}
	return route(l.r.Head.Method, path)
}

// respond does it; now is false when its answer will be delivered to the waiter.
func (l *line) respond(op operation, id string) (out reply, now bool) {
	switch op {
	case opNext:
		return l.s.next(&l.waiter)
	case opResponse:
		p := l.readPost()
		if strings.EqualFold(p.mode, modeStreaming) { // in parts, of which lambda_runtime's do not follow unacknowledged ones
			httpwire.AckAtOnce(l.c)
		}
		l.until = time.Now().Add(soonRest)
		out = l.s.answer(stepResponse, id, p)
		l.until = time.Time{}
		return out, true
	case opError:
		return l.s.answer(stepError, id, l.readPost()), true
	case opInitError:
		return l.s.initError(l.readPost()), true
	case opRegister, opExtensionNext, opExtensionError:
		return l.s.extended(op, &l.waiter, l.extensionHead(), l.readPost())
	case opTelemetry:
		return l.s.subscribe(relay.Telemetry, l.extensionHead(), l.readPost()), true
	case opLogs:
		return l.s.subscribe(relay.Logs, l.extensionHead(), l.readPost()), true
	case opProgress:
		return l.s.progress(id, l.readPost()), true
	}
	return l.s.do(op), true
}

// Read reads from the connection. Of an answer the head comes first, in a segment of
// its own with aws-lambda-go.
func (l *line) Read(p []byte) (int, error) {
	if !l.until.IsZero() {
		if left := time.Until(l.until); left > 0 {
			l.rest.Look(left)
		} else {
			l.until = time.Time{}
		}
	}
	return l.c.Read(p)
}

// halt ends the Read that waits for the runtime, and those after it, or allows
// them again.
func (l *line) halt(on bool) {
	var at time.Time
	if on {
		at = time.Unix(1, 0)
	}
	_ = l.c.SetReadDeadline(at) // it fails on a connection that has ended
}

// readPost is what the protocol needs of the request; of each header the first
// one that says something counts.
func (l *line) readPost() *post {
	p := &l.post
	*p = post{length: l.r.Head.Length, body: l.r, trailer: p.trailer, halt: p.halt, ready: p.ready}
	for name, value := range l.r.Fields() {
		var into *string
		switch {
		case is(name, "Content-Type"):
			into = &p.contentType
		case is(name, headerInvocationID):
			into = &p.invocation
		case is(name, headerErrorType):
			into = &p.errorType
		case is(name, headerResponseMode):
			into = &p.mode
		default:
			continue
		}
		if *into == "" {
			*into = string(value)
		}
	}
	return p
}

// extensionHead is what the request of an extension says of it.
func (l *line) extensionHead() (h extensionHead) {
	for name, value := range l.r.Fields() {
		switch {
		case is(name, headerExtensionName):
			h.name = string(value)
		case is(name, headerExtensionID):
			h.id = string(value)
		case is(name, headerExtensionError):
			h.errorType = string(value)
		case is(name, headerExtensionAccept):
			h.accept = string(value)
		}
	}
	return h
}

func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// unpark waits until the blocked /next has been answered; it is false when the
// connection is of no more use. broken tells that nobody is there to answer.
func (l *line) unpark(broken bool) bool {
	if !broken {
		select {
		case ok := <-l.answered:
			return ok
		case <-l.s.closed:
		}
	}
	if l.s.forget(&l.waiter) {
		return false
	}
	return <-l.answered
}

// deliver answers the blocked /next. It does not wait for the runtime, beyond the
// moment in which that may answer: what its socket does not take at once is written by a
// goroutine, which unpark waits for.
func (l *line) deliver(out reply) {
	body := out.payload()
	l.head = appendHead(l.head[:0], out, l.keep)
	if len(body) <= httpwire.SmallBody {
		l.head = append(l.head, body...)
		n, err := l.now.Write(l.head)
		if err != nil || n == len(l.head) {
			l.answered <- err == nil
			if out.event != nil { // and not what an extension is told
				l.event = out.event
				l.first.Look(soonAnswer)
			}
			return
		}
		go func() {
			_, err := l.c.Write(l.head[n:])
			l.answered <- err == nil
		}()
		return
	}
	go func() {
		var err error
		l.head, err = httpwire.WriteParts(l.c, l.head, body)
		l.answered <- err == nil
	}()
}

func (l *line) write(out reply) (err error) {
	l.head = appendHead(l.head[:0], out, l.keep)
	l.head, err = httpwire.WriteParts(l.c, l.head, out.payload())
	return err
}

// payload is the body of the reply.
func (out reply) payload() []byte {
	if out.event != nil {
		return out.event.event.Payload
	}
	return out.body
}

// appendHead appends the reply's status line and headers to b.
func appendHead(b []byte, out reply, keep bool) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(out.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(out.status)...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(out.payload())), 10)
	b = append(b, "\r\n"...)
	if x := out.event; x != nil {
		x.each(func(name, value string) {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		})
	}
	if out.named[0] != "" {
		b = append(append(append(append(b, out.named[0]...), ": "...), out.named[1]...), "\r\n"...)
	}
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}
