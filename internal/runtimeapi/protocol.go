package runtimeapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// reply is what a request of the runtime is answered with: an event, or a status
// and a JSON body.
type reply struct {
	status int
	body   []byte
	event  *exchange
	named  [2]string // a header and its value, if there is one
	// cut ends the connection, although more of the request may come.
	cut bool
}

// accepted is the reply to a POST that was taken.
var accepted = reply{status: http.StatusAccepted, body: []byte("{\"status\":\"OK\"}\n")}

// refuse is a reply in AWS's shape of errors.
func refuse(status int, typ, message string) reply {
	return reply{status: status, body: append(errorObject(message, typ), '\n')}
}

// Refusals that do not depend on the state, in AWS's words.
func refuseID() reply {
	return refuse(http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
}

func refuseLate() reply {
	return refuse(http.StatusGone, "InvokeTimeout", "Invoke timeout")
}

func refuseMode() reply {
	return refuse(http.StatusBadRequest, "InvalidFunctionResponseMode", "Invalid function response mode")
}

func refuseTruncated() reply {
	return refuse(http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated")
}

func refuseSize(limit int) reply {
	return refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
		fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", limit))
}

func (s *Session) refuseStep(at state, t step) reply {
	s.opts.Log.Debug("runtime out of order", "state", at.String(), "to", targets[t].String())
	return refuse(http.StatusForbidden, "InvalidStateTransition", at.refusal(t))
}

// next answers GET /runtime/invocation/next, at once if there is an event or it is
// refused. Else now is false, and w gets the answer when there is one, unless the
// session forgets it. A second call takes the place of one that is blocked, as
// the older one's connection is most likely dead.
func (s *Session) next(w *waiter) (r reply, now bool) {
	r, now, todo := s.takeOrWait(w)
	if todo.older != nil {
		todo.older.answer(s.refuseStep(ready, stepNext))
	}
	if todo.whenReady != nil {
		todo.whenReady()
	}
	return r, now
}

// unlocked is what a /next leaves to be done without the lock.
type unlocked struct {
	older     *waiter // has been replaced
	whenReady func()  // was waited for: most calls are told here, without another goroutine
}

// takeOrWait takes the step to /next.
func (s *Session) takeOrWait(w *waiter) (r reply, now bool, todo unlocked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.state
	to, ok := from.after(stepNext)
	if !ok {
		return s.refuseStep(from, stepNext), true, todo
	}
	s.state = to
	if to == running {
		return reply{status: http.StatusOK, event: s.current}, true, todo
	}
	if to == ready {
		if from == starting {
			s.noteInit("platform.initRuntimeDone", nil, 0)
		}
		todo.whenReady = s.maybeReady()
		if s.current != nil && !s.current.settled {
			s.handOver(s.current)
			return reply{status: http.StatusOK, event: s.current}, true, todo
		}
	}
	todo.older, s.waiter = s.waiter, w
	return reply{}, false, todo
}

// forget makes w wait no longer; it is false when w has been taken, and will be
// answered. An event that goes to a connection which broke meanwhile is not lost:
// a /next while running gets it again.
func (s *Session) forget(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiter != w {
		return s.forgetExtension(w)
	}
	s.waiter = nil
	return true
}

// answer takes POST /runtime/invocation/{id}/response and /error. The state moves
// before the body is read, so that one runtime never has two bodies in memory.
func (s *Session) answer(t step, id string, p *post) reply {
	x, refused := s.admit(t, id, p)
	if refused.status != 0 {
		return refused
	}
	if t == stepResponse && !p.knownMode() {
		f := &sandbox.Failure{Type: "Runtime.InvalidResponseModeHeader", Message: "The runtime named an unknown response mode"}
		return s.finish(x, p, sandbox.Answer{Failure: f}, refuseMode())
	}
	if t == stepResponse && x.event.Stream != nil && p.streams() {
		return s.stream(x, p)
	}
	body, err := receive(p, lambent.MaxPayload)
	switch {
	case errors.Is(err, errTooLarge):
		return s.finish(x, p, sandbox.Answer{Failure: sandbox.TooLarge(lambent.MaxPayload)}, refuseSize(lambent.MaxPayload))
	case err != nil:
		s.opts.Log.Debug("runtime broke off its answer", "inv", x.event.RequestID, "error", err)
		return s.finish(x, p, sandbox.Answer{Failure: s.brokenOff()}, refuseTruncated())
	case t == stepError:
		return s.finish(x, p, failure(p, body), accepted)
	}
	return s.finish(x, p, success(p, body), accepted)
}

// admit checks that an answer is for the event that the runtime has, and takes
// the step. Which of several faults is reported follows AWS: the ids come first.
func (s *Session) admit(t step, id string, p *post) (*exchange, reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.current
	if p.invocation != "" && (x == nil || p.invocation != x.id || s.state == expired) {
		return nil, refuseLate()
	}
	if x == nil || id != x.event.RequestID || s.state == expired {
		return nil, refuseID()
	}
	to, ok := s.state.after(t)
	if !ok {
		return nil, s.refuseStep(s.state, t)
	}
	s.state = to
	return x, reply{}
}

// brokenOff is the failure for an answer that stopped midway: the end of the
// process where that is already known.
func (s *Session) brokenOff() *sandbox.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		return s.gone
	}
	return truncated()
}

// finish gives the caller of x its answer and returns r, or the refusal of an
// answer that came too late.
func (s *Session) finish(x *exchange, p *post, a sandbox.Answer, r reply) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.settled { // given up while the body came in
		if p.invocation != "" {
			return refuseLate()
		}
		return refuseID()
	}
	a.Took = x.since()
	if s.gone == nil && s.attended() {
		a.Rest = func() sandbox.Rest { return s.rest(x) }
	}
	s.settle(x, outcome{answer: a})
	s.state = answered
	if s.gone != nil {
		s.state = exited
		s.tellSoon(s.signalReady())
	}
	return r
}

// initError takes POST /runtime/init/error.
func (s *Session) initError(p *post) reply {
	s.mu.Lock()
	at := s.state
	to, ok := at.after(stepInitError)
	if ok {
		s.state = to
	}
	s.mu.Unlock()
	if !ok {
		return s.refuseStep(at, stepInitError)
	}
	body, err := receive(p, maxInitError)
	var f *sandbox.Failure
	r := accepted
	switch {
	case errors.Is(err, errTooLarge):
		f, r = initFailure(p, nil), refuseSize(maxInitError)
	case err != nil:
		f, r = initFailure(p, nil), refuseTruncated()
	default:
		f = initFailure(p, body)
	}
	s.mu.Lock()
	s.endFailedInit(*f)
	s.mu.Unlock()
	return r
}

// endFailedInit ends the session with the runtime's own word. An event that
// waits for the runtime will never reach it. The caller holds mu.
func (s *Session) endFailedInit(f sandbox.Failure) {
	s.die(f)
	if x := s.current; x != nil && !x.settled {
		s.settle(x, outcome{err: lambent.Errorf(lambent.CodeUnavailable,
			"hand over the event: the runtime failed to initialise (%s)", f.Type)})
	}
}

// operation is what a request asks for.
type operation uint8

const (
	opUnknown operation = iota
	opNext
	opResponse
	opError
	opInitError
	opPing
	opRegister
	opExtensionNext
	opExtensionError
	opTelemetry
	opLogs
	opProgress
	opCall // of the API that everybody calls
	opWrongMethod
)

const (
	base         = "/2018-06-01"
	baseInvoke   = base + "/runtime/invocation/"
	pathNext     = baseInvoke + "next"
	maxRequestID = 128 // bytes; ours are UUIDs
)

// ours are the beginnings of all paths that are of an instance's own APIs. AWS's
// Lambda API has none of these dates.
var ours = []string{base + "/", extensionPath, telemetryPath, logsPath, "/lambent/"}

// route finds the operation of a request, and the request id in its path. These
// are all the routes there are.
func route(method, path string) (op operation, id string) {
	want := http.MethodPost
	rest, invocation := strings.CutPrefix(path, baseInvoke)
	switch {
	case path == pathNext:
		op, want = opNext, http.MethodGet
	case invocation:
		var verb string
		id, verb, _ = strings.Cut(rest, "/")
		if op = answers(verb); op == opUnknown || id == "" || len(id) > maxRequestID {
			return opUnknown, ""
		}
	case path == base+"/runtime/init/error":
		op = opInitError
	case path == base+"/ping" || path == "/ping":
		op, want = opPing, http.MethodGet
	case strings.HasPrefix(path, progressBase):
		want = http.MethodPut
		op, id = progressRoute(path)
	default:
		return extensionRoute(method, path), ""
	}
	if method != want {
		return opWrongMethod, ""
	}
	return op, id
}

func answers(verb string) operation {
	switch verb {
	case "response":
		return opResponse
	case "error":
		return opError
	}
	return opUnknown
}

// do answers a request whose operation needs neither headers nor waiting.
func (s *Session) do(op operation) reply {
	switch op {
	case opPing:
		return reply{status: http.StatusOK, body: []byte("pong")}
	case opWrongMethod:
		return refuse(http.StatusMethodNotAllowed, "InvalidMethod", "Method not allowed")
	}
	return refuse(http.StatusNotFound, "NotFound", "No such resource")
}
