package runtimeapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

const long = 10 * time.Second

func TestEventAndAnswer(t *testing.T) {
	r := newRig(t)
	deadline := time.Now().Add(long)
	out := r.invoke(sandbox.Event{
		RequestID:     "req-1",
		Payload:       []byte(`{"a":1}`),
		FunctionARN:   "arn:aws:lambda:us-east-1:000000000000:function:f:live",
		Deadline:      deadline,
		TraceID:       "Root=1-5;Sampled=0\r\nEvil: 1",
		ClientContext: []byte("{\n \"custom\": {\"k\": \"ä𝄞\"}}"),
	}, 0)
	ev := r.next()
	for name, want := range map[string]string{
		headerRequestID:     "req-1",
		headerDeadline:      fmt.Sprint(deadline.UnixMilli()),
		headerFunctionARN:   "arn:aws:lambda:us-east-1:000000000000:function:f:live",
		headerTraceID:       "Root=1-5;Sampled=0Evil: 1",
		headerClientContext: `{"custom":{"k":"\u00e4\ud834\udd1e"}}`,
		"Content-Type":      "application/json",
		"Evil":              "",
	} {
		if got := ev.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if string(ev.body) != `{"a":1}` || ev.invocation() == "" {
		t.Errorf("event %s, invocation id %q", ev.body, ev.invocation())
	}
	if got := r.respond("req-1", `"ok"`, "Content-Type", "text/x", headerInvocationID, ev.invocation()); got.status != 202 || strings.TrimSpace(string(got.body)) != `{"status":"OK"}` {
		t.Errorf("response: %d %s", got.status, got.body)
	}
	got := <-out
	if got.err != nil || string(got.answer.Payload) != `"ok"` || got.answer.ContentType != "text/x" || got.answer.FunctionError || got.answer.Took <= 0 {
		t.Errorf("answer %+v", got)
	}
}

func TestEmptyHeadersAreLeftOut(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", ""), long)
	ev := r.next()
	for _, name := range []string{headerTraceID, headerClientContext, headerFunctionARN, "Lambda-Runtime-Cognito-Identity"} {
		if _, has := ev.header[name]; has {
			t.Errorf("%s was sent", name)
		}
	}
	r.respond("r", "")
	if got := <-out; got.err != nil || len(got.answer.Payload) != 0 {
		t.Errorf("answer %+v", got)
	}
}

func TestReadyFollowsTheInvocation(t *testing.T) {
	r := newRig(t)
	if isClosed(r.s.Ready()) {
		t.Error("ready before the runtime spoke")
	}
	first := make(chan said, 1)
	go func() { first <- r.next() }()
	waitClosed(t, "ready after init", r.s.Ready())
	out := r.invoke(event("a", "1"), long)
	<-first
	r.respond("a", "2")
	<-out
	after := r.s.Ready()
	if isClosed(after) {
		t.Error("ready before /next")
	}
	go func() { first <- r.next() }()
	waitClosed(t, "ready after /next", after)
	out = r.invoke(event("b", "1"), long)
	<-first
	r.respond("b", "2")
	<-out
}

func TestFunctionError(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"", "Runtime.Unknown"}, {"Unhandled", "Runtime.Unknown"}, {"Function.KeyError", "Function.KeyError"},
		{"Function.x y", "Function.Unknown"}, {"Runtime.MarshalError", "Runtime.MarshalError"},
		{"Function." + strings.Repeat("A", 300), "Function.Unknown"},
	} {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		r.next()
		body := `{"errorMessage":"boom","errorType":"E","extra":1}`
		if got := r.post(baseInvoke+"r/error", body, headerErrorType, c.header); got.status != 202 {
			t.Fatalf("error: %d %s", got.status, got.body)
		}
		a := (<-out).answer
		if !a.FunctionError || a.ErrorType != c.want || string(a.Payload) != body || a.Failure != nil {
			t.Errorf("%q: %+v", c.header, a)
		}
	}
}

func TestErrorWithCauseInside(t *testing.T) {
	for body, want := range map[string]string{
		`{"errorMessage":"m","errorType":"T","stackTrace":["a"],"errorCause":{"message":"x"}}`: `{"errorMessage":"m","errorType":"T","stackTrace":["a"]}`,
		`nonsense`: `"Invalid error body"`,
	} {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		r.next()
		r.post(baseInvoke+"r/error", body, "Content-Type", typeErrorCause)
		if a := (<-out).answer; string(a.Payload) != want || !a.FunctionError {
			t.Errorf("%s: %s", body, a.Payload)
		}
	}
}

func TestTrailersCountInBufferedMode(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	object := `{"errorMessage":"late","errorType":"E"}`
	req, _ := http.NewRequest(http.MethodPost, r.url+baseInvoke+"r/response", io.MultiReader(strings.NewReader("part")))
	req.Trailer = http.Header{
		headerErrorType:                      {"Function.Late"},
		"Lambda-Runtime-Function-Error-Body": {base64.StdEncoding.EncodeToString([]byte(object))},
	}
	res, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if a := (<-out).answer; !a.FunctionError || a.ErrorType != "Function.Late" || string(a.Payload) != object {
		t.Errorf("answer %+v (%s)", a, a.Payload)
	}
}

func TestStreamingModeIsBuffered(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	r.respond("r", "abc", headerResponseMode, "streaming", "Content-Type", "application/vnd.awslambda.http-integration-response")
	if a := (<-out).answer; string(a.Payload) != "abc" || a.ContentType != "application/vnd.awslambda.http-integration-response" {
		t.Errorf("answer %+v", a)
	}
}

func TestUnknownResponseMode(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	if got := r.respond("r", "abc", headerResponseMode, "magic"); got.status != 400 || got.errorType() != "InvalidFunctionResponseMode" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if a := (<-out).answer; a.Failure == nil || a.Failure.Type != "Runtime.InvalidResponseModeHeader" {
		t.Errorf("answer %+v", a)
	}
}

func TestResponseSizeLimit(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		r := newRig(t)
		for i, size := range []int{lambent.MaxPayload, lambent.MaxPayload + 1, lambent.MaxPayload + 5<<20} {
			id := fmt.Sprint("r", i)
			out := r.invoke(event(id, "{}"), long)
			r.next()
			var body io.Reader = bytes.NewReader(make([]byte, size))
			if chunked {
				body = io.MultiReader(body)
			}
			got := r.do("POST", baseInvoke+id+"/response", nil, body)
			a := (<-out).answer
			if size <= lambent.MaxPayload {
				if got.status != 202 || len(a.Payload) != size {
					t.Errorf("chunked %v, %d: status %d, %d bytes, %+v", chunked, size, got.status, len(a.Payload), a.Failure)
				}
				continue
			}
			if got.status != 413 || got.errorType() != "RequestEntityTooLarge" {
				t.Errorf("chunked %v, %d: %d %s", chunked, size, got.status, got.body)
			}
			if a.Failure == nil || a.Failure.Type != "Function.ResponseSizeTooLarge" || !a.Failure.Raw ||
				a.Failure.Message != "Response payload size exceeded maximum allowed payload size (6291556 bytes)." {
				t.Errorf("chunked %v, %d: %+v", chunked, size, a)
			}
		}
	}
}

func TestTruncatedResponse(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST %sr/response HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", baseInvoke)
	c.Close()
	if a := (<-out).answer; a.Failure == nil || a.Failure.Type != "Runtime.TruncatedResponse" {
		t.Errorf("answer %+v", a)
	}
	out = r.invoke(event("s", "{}"), long)
	r.next()
	r.respond("s", "1")
	if a := (<-out).answer; string(a.Payload) != "1" {
		t.Errorf("next answer %+v", a)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	wrong := func(what string, got said, status int, typ string) {
		t.Helper()
		if got.status != status || got.errorType() != typ {
			t.Errorf("%s: %d %s, want %d %s", what, got.status, got.body, status, typ)
		}
	}
	wrong("answer before any event", r.respond("r", ""), 400, "InvalidRequestID")
	out := r.invoke(event("r", "{}"), long)
	for !r.s.busy() {
		time.Sleep(time.Millisecond)
	}
	wrong("answer before /next", r.respond("r", ""), 403, "InvalidStateTransition")
	ev := r.next()
	wrong("init error while running", r.post(base+"/runtime/init/error", "{}"), 403, "InvalidStateTransition")
	wrong("other id", r.respond("x", ""), 400, "InvalidRequestID")
	wrong("other id as error", r.post(baseInvoke+"x/error", ""), 400, "InvalidRequestID")
	wrong("other invocation", r.respond("r", "", headerInvocationID, "stale"), 410, "InvokeTimeout")
	if again := r.next(); again.invocation() != ev.invocation() || string(again.body) != "{}" {
		t.Errorf("/next while running: %+v", again)
	}
	wrong("answer", r.respond("r", "1"), 202, "")
	wrong("second answer", r.respond("r", "2"), 403, "InvalidStateTransition")
	wrong("error after answer", r.post(baseInvoke+"r/error", "2"), 403, "InvalidStateTransition")
	if got := <-out; string(got.answer.Payload) != "1" {
		t.Errorf("answer %+v", got)
	}
}

func TestRoutes(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		method, path string
		status       int
		typ          string
	}{
		{"GET", "/2018-06-01/ping", 200, ""},
		{"GET", "/", 404, "NotFound"},
		{"GET", "/2018-06-01/runtime/restore/next", 404, "NotFound"},
		{"POST", "/2018-06-01/runtime/invocation/a/b", 404, "NotFound"},
		{"POST", "/2018-06-01/runtime/invocation//response", 404, "NotFound"},
		{"POST", "/2018-06-01/runtime/invocation/" + strings.Repeat("a", 200) + "/response", 404, "NotFound"},
		{"POST", "/2018-06-01/runtime/invocation/next", 405, "InvalidMethod"},
		{"GET", "/2018-06-01/runtime/invocation/a/response", 405, "InvalidMethod"},
		{"POST", "/2020-01-01/extension/register", 403, "Extension.InvalidExtensionName"},
		{"GET", "/2020-01-01/extension/register", 405, "InvalidMethod"},
		{"GET", "/2020-01-01/extension/x", 404, "NotFound"},
		{"PUT", "/2022-07-01/telemetry", 202, "Telemetry.NotSupported"},
		{"PUT", "/2020-08-15/logs", 202, "Logs.NotSupported"},
		{"GET", "/2020-08-15/logs", 405, "InvalidMethod"},
	} {
		if got := r.do(c.method, c.path, nil, nil); got.status != c.status || got.errorType() != c.typ {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, got.status, got.body, c.status, c.typ)
		}
	}
}

func TestInit(t *testing.T) {
	t.Run("ready", func(t *testing.T) {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		r.next()
		res, err := r.s.Init(context.Background())
		if err != nil || res.Failure != nil || res.Took <= 0 {
			t.Errorf("%+v, %v", res, err)
		}
		r.respond("r", "")
		<-out
	})
	t.Run("error", func(t *testing.T) {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		for !r.s.busy() {
			time.Sleep(time.Millisecond)
		}
		body := `{"errorMessage":"no module","errorType":"ImportError","stackTrace":[]}`
		if got := r.post(base+"/runtime/init/error", body, headerErrorType, "Runtime.ImportModuleError"); got.status != 202 {
			t.Errorf("init error: %d %s", got.status, got.body)
		}
		res, err := r.s.Init(context.Background())
		if err != nil || res.Failure == nil || res.Failure.Type != "Runtime.ImportModuleError" || string(res.Failure.Payload) != body {
			t.Errorf("%+v, %v", res, err)
		}
		if got := <-out; got.err == nil {
			t.Errorf("an event reached a runtime that never came up: %+v", got)
		}
		if got := r.do("GET", baseInvoke+"next", nil, nil); got.status != 403 {
			t.Errorf("next after init error: %d", got.status)
		}
		waitClosed(t, "ready", r.s.Ready())
	})
	t.Run("no object", func(t *testing.T) {
		for _, body := range []string{"", "null", `"text"`, "[]", "{"} {
			r := newRig(t)
			r.post(base+"/runtime/init/error", body)
			if res, _ := r.s.Init(context.Background()); res.Failure == nil || res.Failure.Payload != nil || res.Failure.Message == "" {
				t.Errorf("%q: %+v", body, res.Failure)
			}
		}
	})
	t.Run("too large an error", func(t *testing.T) {
		r := newRig(t)
		if got := r.post(base+"/runtime/init/error", strings.Repeat("x", maxInitError+1)); got.status != 413 {
			t.Errorf("init error: %d %s", got.status, got.body)
		}
		if res, _ := r.s.Init(context.Background()); res.Failure == nil || res.Failure.Type != "Runtime.Unknown" {
			t.Errorf("%+v", res)
		}
	})
	t.Run("exit", func(t *testing.T) {
		r := newRig(t)
		r.s.Exited(sandbox.Failure{Type: "Runtime.ExitError", Message: "m"})
		if res, err := r.s.Init(context.Background()); err != nil || res.Failure == nil || res.Failure.Type != "Runtime.ExitError" {
			t.Errorf("%+v, %v", res, err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := r.s.Init(ctx); lambent.CodeOf(err) != lambent.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestTimeout(t *testing.T) {
	for name, take := range map[string]bool{"taken": true, "not taken": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			out := r.invoke(event("r", "{}"), 200*time.Millisecond)
			var ev said
			if take {
				ev = r.next()
			}
			got := <-out
			if f := got.answer.Failure; got.err != nil || f == nil || f.Type != "Sandbox.Timedout" || f.Message != "Task timed out after 0.20 seconds" {
				t.Fatalf("%+v %+v", got, f)
			}
			waitClosed(t, "ready", r.s.Ready())
			if take {
				if late := r.respond("r", "1", headerInvocationID, ev.invocation()); late.status != 410 || late.errorType() != "InvokeTimeout" {
					t.Errorf("late answer: %d %s", late.status, late.body)
				}
				if late := r.respond("r", "1"); late.status != 400 || late.errorType() != "InvalidRequestID" {
					t.Errorf("late answer without an invocation id: %d %s", late.status, late.body)
				}
			}
			if again := <-r.invoke(event("s", "{}"), long); lambent.CodeOf(again.err) != lambent.CodeUnavailable {
				t.Errorf("event after a time-out: %+v", again)
			}
		})
	}
}

// The longest time-out there is, on a clock that does not take as long.
func TestLongestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Options{})
		defer s.Close()
		go func() { _, _ = s.next(nil) }()
		ctx, cancel := context.WithTimeout(t.Context(), lambent.MaxTimeout)
		defer cancel()
		a, err := s.Invoke(ctx, event("r", "{}"))
		if err != nil || a.Failure == nil || a.Failure.Message != "Task timed out after 900.00 seconds" || a.Took != lambent.MaxTimeout {
			t.Errorf("%+v %+v, %v", a, a.Failure, err)
		}
	})
}

func TestCancel(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.s.Invoke(ctx, event("r", "{}")); lambent.CodeOf(err) != lambent.CodeCanceled {
		t.Fatalf("canceled before the runtime came: %v", err)
	}
	out := r.invoke(event("s", "{}"), long) // the session is as good as before
	if ev := r.next(); ev.id() != "s" {
		t.Fatalf("event %s", ev.id())
	}
	r.respond("s", "")
	<-out

	ctx, cancel = context.WithCancel(context.Background())
	done := make(chan invoked, 1)
	go func() { a, err := r.s.Invoke(ctx, event("u", "{}")); done <- invoked{a, err} }()
	r.next()
	cancel()
	if got := <-done; got.err != nil || got.answer.Failure == nil || got.answer.Failure.Type != "Sandbox.Failure" {
		t.Errorf("canceled while it ran: %+v", got)
	}
}

func TestExit(t *testing.T) {
	gone := sandbox.Failure{Type: "Runtime.ExitError", Message: "Runtime exited with error: exit status 1"}
	t.Run("with the event", func(t *testing.T) {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		r.next()
		r.s.Exited(gone)
		if got := <-out; got.err != nil || got.answer.Failure == nil || got.answer.Failure.Message != gone.Message {
			t.Errorf("%+v", got)
		}
		waitClosed(t, "ready", r.s.Ready())
	})
	t.Run("before the event", func(t *testing.T) {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		for !r.s.busy() {
			time.Sleep(time.Millisecond)
		}
		r.s.Exited(gone)
		if got := <-out; lambent.CodeOf(got.err) != lambent.CodeUnavailable {
			t.Errorf("%+v", got)
		}
		if got := <-r.invoke(event("s", "{}"), long); lambent.CodeOf(got.err) != lambent.CodeUnavailable {
			t.Errorf("%+v", got)
		}
	})
	t.Run("in the middle of a whole answer", func(t *testing.T) {
		r := newRig(t)
		out := r.invoke(event("r", "{}"), long)
		r.next()
		pr, pw := io.Pipe()
		sent := make(chan said, 1)
		go func() { sent <- r.do("POST", baseInvoke+"r/response", nil, pr) }()
		fmt.Fprint(pw, "he")
		for r.s.at() != responding {
			time.Sleep(time.Millisecond)
		}
		r.s.Exited(gone)
		fmt.Fprint(pw, "llo")
		pw.Close()
		if got := <-out; got.err != nil || string(got.answer.Payload) != "hello" {
			t.Errorf("%+v", got)
		}
		<-sent
		waitClosed(t, "ready", r.s.Ready())
	})
}
