package runtimeapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent/internal/sandbox"
)

// Paths of the Extensions, Telemetry and Logs APIs (AWS Lambda developer guide,
// "Using the Lambda Extensions API", "Telemetry API").
const (
	extensionPath = "/2020-01-01/extension/"
	telemetryPath = "/2022-07-01/telemetry"
	logsPath      = "/2020-08-15/logs"
)

// Names of their headers.
const (
	headerExtensionName   = "Lambda-Extension-Name"
	headerExtensionID     = "Lambda-Extension-Identifier"
	headerExtensionEvent  = "Lambda-Extension-Event-Identifier"
	headerExtensionError  = "Lambda-Extension-Function-Error-Type"
	headerExtensionAccept = "Lambda-Extension-Accept-Feature"
)

// Limits of the Extensions API: AWS's number, and our bounds of what it leaves
// open, in bytes.
const (
	maxExtensions    = 10
	maxExtensionName = 128
	maxRegistration  = 64 << 10
)

// extension is one that has registered: an external one, which is a program of its
// own that the driver has named, or an internal one, which lives in the runtime's
// process. Guarded by Session.mu.
type extension struct {
	name   string
	id     string
	invoke bool      // it is told of every invocation
	end    bool      // and of the end
	came   bool      // it has asked for an event: its initialisation is over
	busy   bool      // it has been told of the current invocation and has not come back
	next   *exchange // what it is to be told when it asks
	waiter *waiter   // its /event/next that is blocked, if one is
}

// extensionRoute finds the operations beside the Runtime API.
func extensionRoute(method, path string) operation {
	switch path {
	case telemetryPath, telemetryPath + "/": // AWS's guide has both
		return only(http.MethodPut, method, opTelemetry)
	case logsPath, logsPath + "/":
		return only(http.MethodPut, method, opLogs)
	}
	verb, ok := strings.CutPrefix(path, extensionPath)
	if !ok {
		if slices.ContainsFunc(ours, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
			return opUnknown
		}
		return opCall
	}
	switch verb {
	case "register":
		return only(http.MethodPost, method, opRegister)
	case "event/next":
		return only(http.MethodGet, method, opExtensionNext)
	case "init/error", "exit/error":
		return only(http.MethodPost, method, opExtensionError)
	}
	return opUnknown
}

func only(want, method string, op operation) operation {
	if method != want {
		return opWrongMethod
	}
	return op
}

// extended does what a request of an extension asks for; now is false when its
// answer will be delivered to w.
func (s *Session) extended(op operation, w *waiter, h extensionHead, p *post) (r reply, now bool) {
	switch op {
	case opRegister:
		return s.register(h, p), true
	case opExtensionNext:
		return s.extensionNext(w, h.id)
	}
	return s.extensionError(h), true
}

// extensionHead are the headers of a request of an extension.
type extensionHead struct{ name, id, errorType, accept string }

func refuseExtension(typ, message string) reply {
	return refuse(http.StatusForbidden, "Extension."+typ, message)
}

// register takes POST /extension/register, which internal extensions can do until
// the runtime asks for its first event, and each external one once.
func (s *Session) register(h extensionHead, p *post) reply {
	if h.name == "" || len(h.name) > maxExtensionName {
		return refuseExtension("InvalidExtensionName", "Extension name can't be empty")
	}
	body, err := receive(p, maxRegistration)
	if err != nil {
		return refuse(http.StatusForbidden, "InvalidRequestFormat", "The body of the request cannot be read")
	}
	var in struct {
		Events            []string        `json:"events"`
		ConfigurationKeys json.RawMessage `json:"configurationKeys"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.ConfigurationKeys != nil {
		return refuse(http.StatusForbidden, "InvalidRequestFormat", "Invalid request format")
	}
	e := &extension{name: h.name, id: uuid.NewString()}
	external := slices.Contains(s.opts.Extensions, h.name)
	for _, event := range in.Events {
		switch event {
		case "INVOKE":
			e.invoke = true
		case "SHUTDOWN":
			if e.end = external; external {
				continue
			}
			return refuseExtension("ShutdownEventNotSupportedForInternalExtension", "Shutdown event is not supported for internal Extensions")
		default:
			return refuseExtension("InvalidEventType", "Invalid event type: "+event)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case external && s.named(h.name) != nil:
		return refuseExtension("InvalidExtensionState", "The extension has registered already")
	case s.state != starting && !external:
		return refuseExtension("RegistrationClosed", "Extension registration closed already")
	case len(s.extensions) >= maxExtensions:
		return refuseExtension("TooManyExtensions", "Extension limit (10) reached")
	}
	s.extensions = append(s.extensions, e)
	if external && !slices.ContainsFunc(s.opts.Extensions, func(name string) bool { return s.named(name) == nil }) {
		close(s.registered) // each registers once
	}
	s.openRelay()
	return reply{status: http.StatusOK, body: s.aboutFunction(h.accept), named: [2]string{headerExtensionID, e.id}}
}

// aboutFunction is what an extension learns when it registers.
func (s *Session) aboutFunction(accept string) []byte {
	out := struct {
		Function string `json:"functionName"`
		Version  string `json:"functionVersion"`
		Handler  string `json:"handler"`
		Account  string `json:"accountId,omitempty"`
	}{Function: s.opts.FunctionName, Version: s.opts.FunctionVersion, Handler: s.opts.Handler}
	if strings.Contains(accept, "accountId") {
		out.Account = s.opts.AccountID
	}
	return encode(out)
}

// extensionNext takes GET /extension/event/next. It also says that the extension
// is through with its initialisation, or with the invocation before.
func (s *Session) extensionNext(w *waiter, id string) (r reply, now bool) {
	s.mu.Lock()
	e := s.extension(id)
	if e == nil {
		s.mu.Unlock()
		return refuseUnregistered(id), true
	}
	if !e.came {
		s.noteExtension(e, "Ready", "")
	}
	e.came, e.busy = true, false
	if out := s.last; out != nil && e.end {
		s.mu.Unlock()
		return *out, true
	}
	if e.next != nil {
		x := e.next
		e.next, e.busy = nil, true
		s.mu.Unlock()
		return e.event(x), true
	}
	older := e.waiter
	e.waiter = w
	s.tellSoon(s.maybeReady())
	s.mu.Unlock()
	if older != nil { // its connection is most likely dead
		older.answer(refuseExtension("InvalidExtensionState", "Another request of this extension took its place"))
	}
	return reply{}, false
}

func refuseUnregistered(id string) reply {
	if id == "" {
		return refuseExtension("MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
	}
	return refuseExtension("UnknownExtensionIdentifier", "Unknown Extension Identifier")
}

// extensionError takes what an extension says before it gives up. The driver ends the
// instance then, as AWS does; what the extension leaves undone holds nothing up.
func (s *Session) extensionError(h extensionHead) reply {
	if h.errorType == "" {
		return refuseExtension("MissingHeader", "Lambda-Extension-Function-Error-Type not found")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.extension(h.id)
	if e == nil {
		return refuseUnregistered(h.id)
	}
	s.opts.Log.Debug("extension failed", "type", h.errorType)
	state := "InitError"
	if e.came {
		state = "ExitError"
	}
	s.noteExtension(e, state, h.errorType)
	e.came, e.busy, e.invoke, e.next = true, false, false, nil
	if s.opts.GiveUp != nil {
		f := sandbox.Failure{Type: "Extension." + state, Message: fmt.Sprintf("Extension %s failed: %.128s", e.name, h.errorType)}
		s.tellSoon(func() { s.opts.GiveUp(f) })
		return accepted
	}
	s.tellSoon(s.maybeReady())
	return accepted
}

// named finds one by its name. The caller holds mu.
func (s *Session) named(name string) *extension {
	for _, e := range s.extensions {
		if e.name == name {
			return e
		}
	}
	return nil
}

// extension finds one by its identifier. The caller holds mu.
func (s *Session) extension(id string) *extension {
	for _, e := range s.extensions {
		if e.id == id {
			return e
		}
	}
	return nil
}

// tell tells the extensions of an event that goes to the runtime. The caller holds
// mu.
func (s *Session) tell(x *exchange) {
	for _, e := range s.extensions {
		if !e.invoke {
			continue
		}
		w := e.waiter
		if w == nil {
			e.next = x
			continue
		}
		e.waiter, e.busy = nil, true
		s.serving.Go(func() { w.answer(e.event(x)) })
	}
}

// event is what an extension is told of an invocation.
func (e *extension) event(x *exchange) reply {
	type tracing struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	return reply{status: http.StatusOK, named: [2]string{headerExtensionEvent, x.id}, body: encode(struct {
		Type     string  `json:"eventType"`
		Deadline int64   `json:"deadlineMs"`
		Request  string  `json:"requestId"`
		Function string  `json:"invokedFunctionArn"`
		Tracing  tracing `json:"tracing"`
	}{"INVOKE", x.event.Deadline.UnixMilli(), x.event.RequestID, x.event.FunctionARN, tracing{"X-Amzn-Trace-Id", x.event.TraceID}})}
}

// encode never fails: what it is given are strings and numbers.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("answer to an extension: " + err.Error())
	}
	return b
}

// maybeReady ends the initialisation or the invocation once the runtime and all
// extensions have asked for the next event, and gives who is to be called then. The
// caller holds mu.
func (s *Session) maybeReady() (tell func()) {
	if s.state != ready {
		return nil
	}
	if len(s.extensions) > 0 && !s.allThrough() {
		return nil
	}
	select {
	case <-s.registered:
	default:
		return nil
	}
	s.endInit(nil)
	return s.signalReady()
}

// allThrough tells whether no extension is at work any more, now that the runtime is
// not, and notes the time. The caller holds mu.
func (s *Session) allThrough() bool {
	x := s.current
	answered := x != nil && x.settled
	if answered && x.back == 0 {
		x.back = x.since()
	}
	for _, e := range s.extensions {
		if !e.came || e.busy || e.next != nil {
			return false
		}
	}
	if answered && x.through == 0 {
		x.through = x.since()
	}
	return true
}

// attended tells whether there is an extension that is told of invocations. The caller
// holds mu.
func (s *Session) attended() bool {
	return slices.ContainsFunc(s.extensions, func(e *extension) bool { return e.invoke })
}

// rest is what has followed the answer of x.
func (s *Session) rest(x *exchange) sandbox.Rest {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := sandbox.Rest{Took: x.since()}
	switch {
	case x.through > 0:
		r.Took = x.through
	case s.gone != nil:
		r.Failure = s.gone
	case x.overdue():
		r.Took = x.event.Deadline.Sub(x.handed)
		r.Failure = sandbox.TimedOut(x.event.Deadline.Sub(x.offered))
	}
	if x.back > 0 {
		r.Extensions = max(0, r.Took-x.back)
	}
	return r
}

// Shutdown tells the extensions that want to know of the end of the instance, and
// how long they have. Those that are at work learn of it when they come back. It
// returns the names of all of them.
func (s *Session) Shutdown(reason string, deadline time.Time) (told []string) {
	out := reply{status: http.StatusOK, named: [2]string{headerExtensionEvent, s.opts.NewID()}, body: encode(struct {
		Type     string `json:"eventType"`
		Reason   string `json:"shutdownReason"`
		Deadline int64  `json:"deadlineMs"`
	}{"SHUTDOWN", reason, deadline.UnixMilli()})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = &out
	for _, e := range s.extensions {
		if !e.end {
			continue
		}
		told = append(told, e.name)
		if w := e.waiter; w != nil {
			e.waiter = nil
			s.serving.Go(func() { w.answer(out) })
		}
	}
	return told
}

// Overdue tells whether the runtime or an extension still is at work on an event whose
// time is up.
func (s *Session) Overdue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
		return false
	default:
		return s.current != nil && s.current.overdue()
	}
}

// overdue tells whether the event's time is up.
func (x *exchange) overdue() bool {
	return !x.event.Deadline.IsZero() && !time.Now().Before(x.event.Deadline)
}

// forgetExtension is forget for one that an extension waits with. The caller holds
// mu.
func (s *Session) forgetExtension(w *waiter) bool {
	for _, e := range s.extensions {
		if e.waiter == w {
			e.waiter = nil
			return true
		}
	}
	return false
}

// AllRegistered is closed when each of [Options.Extensions] has registered.
func (s *Session) AllRegistered() <-chan struct{} { return s.registered }

// Registered tells whether an extension has registered: the runtime is told of its
// end then, and has a moment (AWS Lambda developer guide, "Lambda execution
// environment", "Shutdown phase"). Without one AWS ends it at once.
func (s *Session) Registered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.extensions) > 0
}
