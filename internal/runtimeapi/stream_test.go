package runtimeapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var errLeft = errors.New("connection reset")

// sink is a caller. Each part that it takes goes to parts, if that is set; hold
// makes its Write wait until it is closed or interrupted; at room bytes it leaves.
type sink struct {
	parts       chan string
	hold        chan struct{}
	room        int // 0 is without end
	refuseBegin bool

	mu          sync.Mutex // guards the rest
	began       []string   // content types
	got         int
	interrupted int
	over        bool // Invoke has returned
	misused     bool // and a call came after it
}

func (s *sink) Begin(contentType string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = append(s.began, contentType)
	s.misused = s.misused || s.over
	if s.refuseBegin {
		return errLeft
	}
	return nil
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.misused = s.misused || s.over || len(s.began) == 0
	left := s.room > 0 && s.got+len(p) > s.room
	if !left {
		s.got += len(p)
	}
	s.mu.Unlock()
	if left {
		return 0, errLeft
	}
	if s.parts != nil {
		s.parts <- string(p)
	}
	if s.hold != nil {
		<-s.hold
	}
	return len(p), nil
}

func (s *sink) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.interrupted++; s.hold != nil && s.interrupted == 1 {
		close(s.hold)
	}
}

func (s *sink) end() (began []string, got, interrupted int, misused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return s.began, s.got, s.interrupted, s.misused
}

// streamed is an event whose answer goes to to.
func streamed(id string, to lambent.Stream) sandbox.Event {
	ev := event(id, "{}")
	ev.Stream = to
	return ev
}

// upload is a streaming answer that the test writes by and by.
type upload struct {
	*io.PipeWriter
	req  *http.Request
	done chan error // after the answer, or why there is none
	said *http.Response
}

func (r *rig) upload(id string, header ...string) *upload {
	r.Helper()
	body, w := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, r.url+baseInvoke+id+"/response", body)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set(headerResponseMode, modeStreaming)
	req.Header.Set("Content-Type", "text/event-stream")
	req.Trailer = http.Header{headerErrorType: nil, trailerErrorBody: nil}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	u := &upload{PipeWriter: w, req: req, done: make(chan error, 1)}
	go func() {
		var err error
		if u.said, err = r.http.Do(req); err == nil {
			_, err = io.Copy(io.Discard, u.said.Body)
			u.said.Body.Close()
		}
		u.done <- err
	}()
	r.Cleanup(func() { w.Close() })
	return u
}

func (u *upload) status(t *testing.T) int {
	t.Helper()
	select {
	case err := <-u.done:
		if err != nil {
			t.Fatalf("response: %v", err)
		}
		return u.said.StatusCode
	case <-time.After(long):
		t.Fatal("the response was never answered")
		return 0
	}
}

func (r *rig) take(parts <-chan string) string {
	r.Helper()
	select {
	case p := <-parts:
		return p
	case <-time.After(long):
		r.Fatal("no part came")
		return ""
	}
}

// Every part is with the caller before the next one is made.
func TestStreamedParts(t *testing.T) {
	r := newRig(t)
	to := &sink{parts: make(chan string)}
	out := r.invoke(streamed("r", to), long)
	r.next()
	u := r.upload("r")
	for _, part := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(u, part); err != nil {
			t.Fatal(err)
		}
		if got := r.take(to.parts); got != part {
			t.Errorf("part %q, want %q", got, part)
		}
		time.Sleep(time.Millisecond)
	}
	if !r.s.busy() {
		t.Error("settled before the end")
	}
	u.Close()
	if got := u.status(t); got != http.StatusAccepted {
		t.Errorf("status %d", got)
	}
	a := (<-out).answer
	if a.Streamed != 11 || len(a.Payload) != 0 || a.FunctionError || a.Failure != nil || a.CallerGone ||
		a.ContentType != "text/event-stream" || a.FirstByte <= 0 || a.FirstByte >= a.Took {
		t.Errorf("answer %+v", a)
	}
	if began, _, _, misused := to.end(); misused || len(began) != 1 || began[0] != "text/event-stream" {
		t.Errorf("began %q, misused %t", began, misused)
	}
	r.noneLeft("s")
}

// noneLeft runs one more invocation, on a runtime that must be able to take it.
func (r *rig) noneLeft(id string) {
	r.Helper()
	to := &sink{}
	out := r.invoke(streamed(id, to), long)
	r.next()
	r.respond(id, "whole")
	if a := (<-out).answer; string(a.Payload) != "whole" || a.Streamed != 0 || len(to.began) != 0 {
		r.Errorf("the next invocation, which does not stream: %+v, began %q", a, to.began)
	}
}

func TestStreamedNothing(t *testing.T) {
	r := newRig(t)
	to := &sink{}
	out := r.invoke(streamed("r", to), long)
	r.next()
	u := r.upload("r")
	u.Close()
	if got := u.status(t); got != http.StatusAccepted {
		t.Errorf("status %d", got)
	}
	if a := (<-out).answer; a.Streamed != 0 || a.FunctionError || a.Failure != nil {
		t.Errorf("answer %+v", a)
	}
	if began, _, _, _ := to.end(); len(began) != 1 {
		t.Errorf("begun %d times", len(began))
	}
}

func TestStreamedWithoutStream(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	if got := r.respond("r", "all of it", headerResponseMode, modeStreaming); got.status != http.StatusAccepted {
		t.Errorf("status %d", got.status)
	}
	if a := (<-out).answer; string(a.Payload) != "all of it" || a.Streamed != 0 {
		t.Errorf("answer %+v", a)
	}
}

// aws-lambda-go names no mode: what it sends in chunks is a stream unless it is
// JSON. The mode's own word counts for more, in any case.
func TestWhatStreams(t *testing.T) {
	for _, c := range []struct {
		mode, contentType string
		length            int64
		want              bool
	}{
		{"streaming", "application/json", 5, true},
		{"Streaming", "text/plain", -1, true},
		{"Buffered", "text/plain", -1, false},
		{"", "application/octet-stream", -1, true},
		{"", "application/vnd.awslambda.http-integration-response", -1, true},
		{"", "application/json; charset=utf-8", -1, false},
		{"", "application/octet-stream", 5, false},
	} {
		p := post{mode: c.mode, contentType: c.contentType, length: c.length}
		if !p.knownMode() || p.streams() != c.want {
			t.Errorf("%+v: known %t, streams %t", c, p.knownMode(), p.streams())
		}
	}
	if (&post{mode: "chunky"}).knownMode() {
		t.Error("any mode is known")
	}
}

func TestStreamedError(t *testing.T) {
	for _, before := range []string{"", "some of it"} {
		r := newRig(t)
		to := &sink{}
		out := r.invoke(streamed("r", to), long)
		r.next()
		u := r.upload("r")
		io.WriteString(u, before)
		object := `{"errorMessage":"boom","errorType":"E"}`
		u.req.Trailer.Set(headerErrorType, "Function.Boom")
		u.req.Trailer.Set(trailerErrorBody, base64.StdEncoding.EncodeToString([]byte(object)))
		u.Close()
		if got := u.status(t); got != http.StatusAccepted {
			t.Errorf("status %d", got)
		}
		a := (<-out).answer
		if !a.FunctionError || a.ErrorType != "Function.Boom" || string(a.Payload) != object || a.Streamed != int64(len(before)) {
			t.Errorf("after %q: %+v", before, a)
		}
		if began, _, _, _ := to.end(); len(began) != len(before)/len("some of it") {
			t.Errorf("after %q: begun %d times", before, len(began))
		}
	}
}

// An error that the runtime meets before its answer has begun is no stream.
func TestErrorInsteadOfStream(t *testing.T) {
	r := newRig(t)
	to := &sink{}
	out := r.invoke(streamed("r", to), long)
	r.next()
	r.post(baseInvoke+"r/error", `{"errorMessage":"boom"}`, headerErrorType, "Function.Boom", headerResponseMode, modeStreaming)
	if a := (<-out).answer; !a.FunctionError || a.ErrorType != "Function.Boom" {
		t.Errorf("%+v", a)
	}
	if began, _, _, _ := to.end(); len(began) != 0 {
		t.Error("an error was streamed")
	}
}

// A caller that takes nothing holds the function up: no more is in the platform
// than the two buffers on the way.
func TestSlowCaller(t *testing.T) {
	l := newPipeListener()
	s := NewSession(Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := l.dial()
	if err != nil {
		t.Fatal(err)
	}
	to := &sink{parts: make(chan string), hold: make(chan struct{})}
	r := &rig{T: t, s: s}
	go fmt.Fprint(c, nextRequest)
	waitClosed(t, "ready", s.Ready())
	out := r.invoke(streamed("r", to), long)
	readEvent(t, c)

	const part = 16 << 10
	fmt.Fprintf(c, "POST %sr/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s: streaming\r\n\r\n", baseInvoke, headerResponseMode)
	sent := 0
	go func() { <-to.parts }()
	for {
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := fmt.Fprintf(c, "%x\r\n%s\r\n", part, strings.Repeat("x", part))
		sent += n
		if err != nil {
			break
		}
		if sent > 4*streamBuffer {
			t.Fatal("the platform keeps taking")
		}
	}
	go func() {
		for range to.parts {
		}
	}()
	to.Interrupt() // the caller reads again
	c.Close()
	if a := (<-out).answer; a.Failure == nil || a.Failure.Type != "Runtime.TruncatedResponse" {
		t.Errorf("answer %+v", a)
	}
	s.Close()
	close(to.parts)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// readEvent reads the event off a pipe.
func readEvent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(long))
	var got []byte
	for buf := make([]byte, 1<<10); !bytes.HasSuffix(got, []byte("\r\n\r\n{}")); {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
}

// The function learns from its next write that the caller has gone, and the
// runtime lives on.
func TestCallerLeaves(t *testing.T) {
	for _, to := range []*sink{{room: 8}, {refuseBegin: true}} {
		r := newRig(t)
		out := r.invoke(streamed("r", to), long)
		ev := r.next()
		u := r.upload("r", headerInvocationID, ev.invocation())
		var err error
		for until := time.Now().Add(long); err == nil && time.Now().Before(until); time.Sleep(time.Millisecond) {
			_, err = u.Write([]byte("data: x\n"))
		}
		if err == nil {
			t.Error("the function was not told")
		}
		if got := u.status(t); got != http.StatusAccepted || !u.said.Close {
			t.Errorf("status %d, close %t", got, u.said.Close)
		}
		a := (<-out).answer
		if !a.CallerGone || a.Streamed != int64(to.room) || a.Failure != nil || a.FunctionError {
			t.Errorf("answer %+v", a)
		}
		r.noneLeft("s")
	}
}

// A function that is silent when its caller leaves is told at once; an answer
// that is whole already is not spoilt by it.
func TestCallerLeavesInSilence(t *testing.T) {
	r := newRig(t)
	left := make(chan struct{})
	to := &sink{parts: make(chan string, 1)}
	ev := streamed("r", to)
	ev.Left = left
	out := r.invoke(ev, long)
	r.next()
	u := r.upload("r")
	io.WriteString(u, "data")
	r.take(to.parts)
	close(left)
	if a := (<-out).answer; !a.CallerGone || a.Streamed != 4 || a.Failure != nil {
		t.Errorf("answer %+v", a)
	}
	if got := u.status(t); got != http.StatusAccepted {
		t.Errorf("status %d", got)
	}
	r.noneLeft("s")
}

// A caller that leaves before the answer begins gets none of it, and one that
// leaves behind its end changes nothing for the connection.
func TestCallerLeavesAround(t *testing.T) {
	r := newRig(t)
	left := make(chan struct{})
	to := &sink{}
	ev := streamed("r", to)
	ev.Left = left
	out := r.invoke(ev, long)
	r.next()
	close(left)
	for r.s.stays() {
		time.Sleep(time.Millisecond)
	}
	if got := r.respond("r", "data", headerResponseMode, modeStreaming); got.status != http.StatusAccepted {
		t.Errorf("status %d", got.status)
	}
	if a := (<-out).answer; !a.CallerGone || a.Streamed != 0 {
		t.Errorf("answer %+v", a)
	}
	r.noneLeft("s")

	left = make(chan struct{})
	ev = streamed("t", &sink{})
	ev.Left = left
	out = r.invoke(ev, long)
	r.next()
	if got := r.respond("t", "data", headerResponseMode, modeStreaming); got.status != http.StatusAccepted {
		t.Errorf("status %d", got.status)
	}
	<-out
	close(left)
	r.noneLeft("u")
}

// stays tells whether the current event's caller has not left.
func (s *Session) stays() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.current.left
}

func TestStreamedTooMuch(t *testing.T) {
	r := newRig(t)
	to := &sink{}
	out := r.invoke(streamed("r", to), long)
	r.next()
	u := r.upload("r")
	part := make([]byte, 1<<20)
	for range lambent.MaxStreamed / len(part) {
		if _, err := u.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if !r.s.busy() {
		t.Error("settled at the limit")
	}
	u.Write([]byte("x"))
	if got := u.status(t); got != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", got)
	}
	a := (<-out).answer
	if a.Failure == nil || a.Failure.Type != "Function.ResponseSizeTooLarge" || a.Streamed != lambent.MaxStreamed {
		t.Errorf("answer %+v", a)
	}
	if _, got, _, _ := to.end(); got != lambent.MaxStreamed {
		t.Errorf("the caller got %d bytes", got)
	}
	r.noneLeft("s")
}

// The prelude of an HTTP answer does not count: 200 MB of a file are 200 MB.
func TestStreamedPreludeDoesNotCount(t *testing.T) {
	r := newRig(t)
	to := &sink{}
	out := r.invoke(streamed("r", to), long)
	r.next()
	c := r.dial()
	prelude := `{"statusCode":200}` + strings.Repeat("\x00", 8)
	fmt.Fprintf(c, "POST %sr/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s: streaming\r\nContent-Type: %s\r\n\r\n%s",
		baseInvoke, len(prelude)+lambent.MaxStreamed, headerResponseMode, lambent.PreludeType, prelude)
	part := make([]byte, 1<<20)
	for range lambent.MaxStreamed / len(part) {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if a := (<-out).answer; a.Failure != nil || a.Streamed != int64(len(prelude)+lambent.MaxStreamed) {
		t.Errorf("answer %+v", a)
	}
}

func TestStreamedTooLongFromTheStart(t *testing.T) {
	r := newRig(t)
	to := &sink{}
	out := r.invoke(streamed("r", to), long)
	r.next()
	c := r.dial()
	fmt.Fprintf(c, "POST %sr/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s: streaming\r\n\r\n", baseInvoke, lambent.MaxStreamed+1, headerResponseMode)
	if a := (<-out).answer; a.Failure == nil || a.Failure.Type != "Function.ResponseSizeTooLarge" {
		t.Errorf("answer %+v", a)
	}
	if began, _, _, _ := to.end(); len(began) != 0 {
		t.Error("it was begun")
	}
}

// The time is up while the caller takes nothing: Invoke returns, and the Stream
// is left alone from then on.
func TestStreamedTimeout(t *testing.T) {
	for _, blocked := range []bool{true, false} {
		r := newRig(t)
		to := &sink{parts: make(chan string, 2)}
		if blocked {
			to.hold = make(chan struct{})
		}
		out := r.invoke(streamed("r", to), 60*time.Millisecond)
		r.next()
		u := r.upload("r")
		io.WriteString(u, "data")
		r.take(to.parts)
		got := <-out
		_, _, interrupted, _ := to.end()
		if f := got.answer.Failure; f == nil || f.Type != "Sandbox.Timedout" || got.answer.Streamed != 4 {
			t.Errorf("blocked %t: %+v", blocked, got.answer)
		}
		if (interrupted > 0) != blocked {
			t.Errorf("blocked %t: interrupted %d times", blocked, interrupted)
		}
		io.WriteString(u, "late")
		if status := u.status(t); status != http.StatusBadRequest {
			t.Errorf("blocked %t: status %d", blocked, status)
		}
		if _, _, _, misused := to.end(); misused {
			t.Errorf("blocked %t: the stream was used after Invoke", blocked)
		}
	}
}

func TestRuntimeEndsWithinStream(t *testing.T) {
	for _, exits := range []bool{true, false} {
		r := newRig(t)
		to := &sink{parts: make(chan string)}
		out := r.invoke(streamed("r", to), long)
		r.next()
		c := r.dial()
		fmt.Fprintf(c, "POST %sr/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s: streaming\r\n\r\n4\r\ndata\r\n", baseInvoke, headerResponseMode)
		r.take(to.parts)
		want := "Runtime.TruncatedResponse"
		if exits {
			want = "Runtime.ExitError"
			r.s.Exited(sandbox.Failure{Type: want})
		}
		c.Close()
		if a := (<-out).answer; a.Failure == nil || a.Failure.Type != want || a.Streamed != 4 {
			t.Errorf("%+v, want %s", a, want)
		}
	}
}

func TestCloseWithinStream(t *testing.T) {
	r := newRig(t)
	to := &sink{parts: make(chan string), hold: make(chan struct{})}
	out := r.invoke(streamed("r", to), long)
	r.next()
	u := r.upload("r")
	io.WriteString(u, "data")
	r.take(to.parts)
	r.s.Close()
	if a := (<-out).answer; a.Failure == nil || a.Failure.Type != "Sandbox.Failure" || a.Streamed != 4 {
		t.Errorf("answer %+v", a)
	}
	if _, _, interrupted, _ := to.end(); interrupted == 0 {
		t.Error("the caller's part was waited for")
	}
	u.Close()
	<-u.done
}

// FuzzStream streams any body in any parts to a caller that may leave, with any
// trailer. What the caller has is a beginning of the body, is counted, and is all
// of it unless the answer says otherwise.
func FuzzStream(f *testing.F) {
	f.Add([]byte("hello, world"), uint8(3), uint16(0), "", "", false)
	f.Add([]byte("some"), uint8(1), uint16(2), "Function.Boom", "e30=", false)
	f.Add(make([]byte, 300), uint8(200), uint16(250), "x", "not base64", true)
	f.Fuzz(func(t *testing.T, body []byte, step uint8, room uint16, errorType, errorBody string, breaks bool) {
		s := NewSession(Options{})
		to := &sink{room: int(room)}
		s.next(&waiter{answer: func(reply) {}})
		r := &rig{T: t, s: s}
		out := r.invoke(streamed("r", to), long)
		for !s.busy() {
			time.Sleep(10 * time.Microsecond)
		}
		in := &parts{left: slices.Clone(body), step: int(step) + 1, breaks: breaks}
		trailer := func(name string) string {
			return map[string]string{headerErrorType: errorType, trailerErrorBody: errorBody}[name]
		}
		said := s.answer(stepResponse, "r", &post{mode: modeStreaming, length: -1, body: in, trailer: trailer})
		a := (<-out).answer
		_, got, _, misused := to.end()
		whole := got == len(body) && !breaks
		switch {
		case misused || a.Streamed != int64(got) || got > len(body):
			t.Fatalf("misused %t, streamed %d of %d, the caller has %d", misused, a.Streamed, len(body), got)
		case a.CallerGone && (room == 0 || !said.cut):
			t.Fatalf("the caller did not leave: %+v", a)
		case !whole && !a.CallerGone && a.Failure == nil:
			t.Fatalf("%d of %d bytes taken for all: %+v", got, len(body), a)
		case whole && !a.CallerGone && a.FunctionError != (errorType != ""):
			t.Fatalf("error type %q: %+v", errorType, a)
		}
		s.Close()
	})
}

// parts is a body that comes in parts, and may break off.
type parts struct {
	left   []byte
	step   int
	breaks bool
}

func (p *parts) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		if p.breaks {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.step, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}
