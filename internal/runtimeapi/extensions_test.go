package runtimeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// register registers an extension and returns its identifier.
func (r *rig) register(name, body string) string {
	r.Helper()
	got := r.post(extensionPath+"register", body, headerExtensionName, name)
	if got.status != http.StatusOK {
		r.Fatalf("register: %d %s", got.status, got.body)
	}
	return got.header.Get(headerExtensionID)
}

// asks asks for something that may never come, and does not wait for it: the
// answer is the zero one if the session ends first.
func (r *rig) asks(path string, header ...string) <-chan said {
	out := make(chan said, 1)
	req, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	if err != nil {
		r.Fatal(err)
	}
	for n := 0; n < len(header); n += 2 {
		req.Header.Set(header[n], header[n+1])
	}
	go func() {
		defer close(out)
		res, err := r.http.Do(req)
		if err != nil {
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(res.Body) // what is missing is seen where it is used
		out <- said{status: res.StatusCode, header: res.Header, body: body}
	}()
	time.Sleep(20 * time.Millisecond) // it has been asked
	return out
}

func (r *rig) extensionNext(id string) <-chan said {
	return r.asks(extensionPath+"event/next", headerExtensionID, id)
}

func (r *rig) runtimeNext() <-chan said { return r.asks(pathNext) }

func TestExtensionIsToldOfInvocations(t *testing.T) {
	r := newRig(t)
	got := r.post(extensionPath+"register", `{"events":["INVOKE"]}`, headerExtensionName, "probe", headerExtensionAccept, "accountId")
	id := got.header.Get(headerExtensionID)
	if want := `{"functionName":"fn","functionVersion":"7","handler":"h.h","accountId":"000000000000"}`; got.status != 200 || strings.TrimSpace(string(got.body)) != want || len(id) != 36 {
		t.Fatalf("register: %d %s, identifier %q; want %s", got.status, got.body, id, want)
	}
	first := r.runtimeNext()
	// The initialisation is not over before the extension has come.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.s.Init(ctx); err == nil || isClosed(r.s.Ready()) {
		t.Error("the initialisation is over although the extension has not asked for an event")
	}
	told := r.extensionNext(id)
	if _, err := r.s.Init(t.Context()); err != nil || !isClosed(r.s.Ready()) {
		t.Errorf("the initialisation is not over: %v", err)
	}

	ev := event("r-1", "{}")
	ev.TraceID, ev.FunctionARN = "Root=1-2-3", "arn:x"
	out := r.invoke(ev, long)
	<-first
	said := <-told
	var in map[string]any
	if err := json.Unmarshal(said.body, &in); err != nil {
		t.Fatalf("%s: %v", said.body, err)
	}
	for name, want := range map[string]any{
		"eventType": "INVOKE", "requestId": "r-1", "invokedFunctionArn": "arn:x",
	} {
		if in[name] != want {
			t.Errorf("%s is %v, want %v", name, in[name], want)
		}
	}
	if at, _ := in["deadlineMs"].(float64); at < float64(time.Now().UnixMilli()) {
		t.Errorf("deadline %v", in["deadlineMs"])
	}
	if fmt.Sprint(in["tracing"]) != "map[type:X-Amzn-Trace-Id value:Root=1-2-3]" || said.header.Get(headerExtensionEvent) == "" {
		t.Errorf("told %s, %v", said.body, said.header)
	}
	r.respond("r-1", `"ok"`)
	if a := <-out; a.err != nil || string(a.answer.Payload) != `"ok"` {
		t.Errorf("answer %+v", a)
	}
	// The caller has its answer; the instance is not free before both have come back.
	first = r.runtimeNext()
	after := r.s.Ready()
	if isClosed(after) {
		t.Error("ready although the extension is at work")
	}
	told = r.extensionNext(id)
	waitClosed(t, "ready when the extension has come back", after)

	// An event goes to an extension that comes late.
	out = r.invoke(event("r-2", "{}"), long)
	<-first
	<-told
	r.respond("r-2", "1")
	<-out
	first = r.runtimeNext()
	waitNot(t, "ready", r.s.Ready())
	told = r.extensionNext(id)
	waitClosed(t, "ready again", r.s.Ready())
	if !r.s.Registered() {
		t.Error("the session does not know of its extension")
	}
	_, _ = told, first
}

// waitNot gives what must not happen a moment to happen.
func waitNot(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
		t.Errorf("%s too early", what)
	case <-time.After(20 * time.Millisecond):
	}
}

// One without events, as clients register that want to be told of the end, holds
// nothing up.
func TestExtensionWithoutEvents(t *testing.T) {
	r := newRig(t)
	id := r.register("GoSIGTERM", `{"events":[]}`)
	told := r.extensionNext(id)
	for n := range 3 {
		first := r.runtimeNext()
		waitClosed(t, "ready", r.s.Ready())
		out := r.invoke(event(fmt.Sprint("r", n), "{}"), long)
		<-first
		r.respond(fmt.Sprint("r", n), "1")
		<-out
		select {
		case got := <-told:
			t.Fatalf("it was told %d %s", got.status, got.body)
		default:
		}
		_ = r.s.Ready()
	}
}

func TestExtensionRefusals(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ name, body, typ string }{
		{"", `{"events":[]}`, "Extension.InvalidExtensionName"},
		{strings.Repeat("a", 200), `{"events":[]}`, "Extension.InvalidExtensionName"},
		{"a", `{"events":`, "InvalidRequestFormat"},
		{"a", strings.Repeat(" ", 70<<10), "InvalidRequestFormat"},
		{"a", `{"events":["INVOKE"],"configurationKeys":[]}`, "InvalidRequestFormat"},
		{"a", `{"events":["SHUTDOWN"]}`, "Extension.ShutdownEventNotSupportedForInternalExtension"},
		{"a", `{"events":["BIRTHDAY"]}`, "Extension.InvalidEventType"},
	} {
		if got := r.post(extensionPath+"register", c.body, headerExtensionName, c.name); got.status != 403 || got.errorType() != c.typ {
			t.Errorf("register %q %.60s: %d %s, want %s", c.name, c.body, got.status, got.body, c.typ)
		}
	}
	if r.s.Registered() {
		t.Error("one of the refused is registered")
	}
	if got := <-r.extensionNext(""); got.status != 403 || got.errorType() != "Extension.MissingExtensionIdentifier" {
		t.Errorf("next without an identifier: %d %s", got.status, got.body)
	}
	if got := <-r.extensionNext("nobody"); got.status != 403 || got.errorType() != "Extension.UnknownExtensionIdentifier" {
		t.Errorf("next of a stranger: %d %s", got.status, got.body)
	}
	id := r.register("a", `{"events":["INVOKE"]}`)
	for n := range maxExtensions - 1 {
		r.register(fmt.Sprint("more", n), `{"events":[]}`)
	}
	if got := r.post(extensionPath+"register", `{"events":[]}`, headerExtensionName, "b"); got.errorType() != "Extension.TooManyExtensions" {
		t.Errorf("an eleventh: %d %s", got.status, got.body)
	}
	if got := r.post(extensionPath+"exit/error", `{}`, headerExtensionID, id); got.errorType() != "Extension.MissingHeader" {
		t.Errorf("an error without a type: %d %s", got.status, got.body)
	}
	if got := r.post(extensionPath+"exit/error", `{}`, headerExtensionID, id, headerExtensionError, "Extension.Boom"); got.status != 202 {
		t.Errorf("an error: %d %s", got.status, got.body)
	}
	r.runtimeNext()
	if got := r.post(extensionPath+"register", `{"events":[]}`, headerExtensionName, "late"); got.errorType() != "Extension.RegistrationClosed" {
		t.Errorf("one that comes late: %d %s", got.status, got.body)
	}
}

func TestExternalExtension(t *testing.T) {
	r := newRig(t, "witness")
	// The runtime may come first: nothing is ready before the extension is there.
	first := r.runtimeNext()
	waitNot(t, "ready", r.s.Ready())
	id := r.register("witness", `{"events":["INVOKE","SHUTDOWN"]}`)
	if got := r.post(extensionPath+"register", `{"events":[]}`, headerExtensionName, "witness"); got.errorType() != "Extension.InvalidExtensionState" {
		t.Errorf("registered twice: %d %s", got.status, got.body)
	}
	waitNot(t, "ready", r.s.Ready())
	told := r.extensionNext(id)
	waitClosed(t, "ready", r.s.Ready())
	out := r.invoke(event("r", "{}"), long)
	<-first
	<-told
	r.respond("r", "1")
	<-out

	// It is at work when the end comes, and is told when it comes back.
	if names := r.s.Shutdown("spindown", time.UnixMilli(1234567)); fmt.Sprint(names) != "[witness]" {
		t.Errorf("told %v", names)
	}
	if got := <-r.extensionNext(id); strings.TrimSpace(string(got.body)) != `{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":1234567}` {
		t.Errorf("told %d %s", got.status, got.body)
	}
}

// TestRestOfAnInvocation: the invocation goes on after its answer until the extensions
// that were told of it are back, which is told with its times.
func TestRestOfAnInvocation(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(r *rig, id string)
		want func(rest sandbox.Rest) bool
	}{
		{"all are back", func(r *rig, id string) {
			r.runtimeNext()
			time.Sleep(30 * time.Millisecond)
			r.extensionNext(id)
		}, func(rest sandbox.Rest) bool {
			return rest.Failure == nil && rest.Extensions >= 40*time.Millisecond && rest.Took >= rest.Extensions
		}},
		{"the runtime comes last", func(r *rig, id string) {
			r.extensionNext(id)
			time.Sleep(30 * time.Millisecond)
			r.runtimeNext()
		}, func(rest sandbox.Rest) bool {
			return rest.Failure == nil && rest.Extensions < rest.Took/2 && rest.Took >= 50*time.Millisecond
		}},
		{"it goes on", func(r *rig, _ string) { r.runtimeNext() }, func(rest sandbox.Rest) bool {
			return rest.Failure == nil && rest.Extensions > 0 && rest.Extensions < rest.Took
		}},
		{"the time is up", func(r *rig, _ string) {
			r.runtimeNext()
			time.Sleep(time.Second)
		}, func(rest sandbox.Rest) bool {
			return rest.Failure != nil && rest.Failure.Type == "Sandbox.Timedout" && rest.Took > 500*time.Millisecond && rest.Took <= time.Second
		}},
		{"an extension crashes", func(r *rig, _ string) {
			r.runtimeNext()
			r.s.Exited(sandbox.Failure{Type: "Extension.Crash"})
		}, func(rest sandbox.Rest) bool {
			return rest.Failure != nil && rest.Failure.Type == "Extension.Crash" && rest.Extensions > 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "witness")
			id := r.register("witness", `{"events":["INVOKE"]}`)
			first, told := r.runtimeNext(), r.extensionNext(id)
			waitClosed(t, "ready", r.s.Ready())
			out := r.invoke(event("r", "{}"), time.Second)
			<-first
			<-told
			r.respond("r", "1")
			a := <-out
			if a.err != nil || a.answer.Rest == nil {
				t.Fatalf("%+v", a)
			}
			c.end(r, id)
			if rest := a.answer.Rest(); !c.want(rest) {
				t.Errorf("%+v, %+v", rest, rest.Failure)
			}
		})
	}
	// One that is told of nothing but the end has nothing to do with it.
	r := newRig(t, "witness")
	id := r.register("witness", `{"events":["SHUTDOWN"]}`)
	first := r.runtimeNext()
	r.extensionNext(id)
	waitClosed(t, "ready", r.s.Ready())
	out := r.invoke(event("r", "{}"), time.Second)
	<-first
	r.respond("r", "1")
	if a := <-out; a.err != nil || a.answer.Rest != nil {
		t.Errorf("%+v", a)
	}
}
