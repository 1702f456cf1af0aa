package runtimeapi

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// FuzzRouter lets a runtime ask for anything in any order, with any ids and
// headers, while events are offered, time out, are canceled and the process
// ends. Each byte of plan is one move. Nothing may panic or wedge, no step may be
// taken that the protocol forbids, and every event has exactly one end.
func FuzzRouter(f *testing.F) {
	f.Add([]byte{0, 1, 2, 1, 0, 2}, "GET", "/2018-06-01/runtime/invocation/next", "", "")
	f.Add([]byte{1, 0, 4, 2, 0, 3, 5}, "POST", "/2018-06-01/runtime/invocation/id/response", "stale", "streaming")
	f.Add([]byte{7, 0, 1}, "POST", "/2018-06-01/runtime/init/error", "", "odd")
	f.Add([]byte{0, 0, 1, 8, 2, 9, 2, 6, 0}, "PUT", "/2022-07-01/telemetry", "", "")
	f.Fuzz(func(t *testing.T, plan []byte, method, path, invocation, mode string) {
		if len(plan) > 64 {
			return
		}
		m := &mover{T: t, s: NewSession(Options{}), method: method, path: path, invocation: invocation, mode: mode}
		for _, b := range plan {
			before := m.s.at()
			m.move(b)
			m.check(before)
		}
		m.finish()
	})
}

// mover plays one plan of FuzzRouter.
type mover struct {
	*testing.T
	s                              *Session
	method, path, invocation, mode string
	open                           []chan invoked
	cancels                        []context.CancelFunc
}

func (m *mover) post(body string) *post {
	return &post{
		contentType: m.mode, invocation: m.invocation, errorType: m.mode, mode: m.mode, length: int64(len(body)),
		body: strings.NewReader(body), trailer: func(string) string { return m.mode },
	}
}

// current is a post that names the event which is out, as an honest runtime does.
func (m *mover) current() (string, *post) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	p := m.post("{}")
	p.mode = ""
	if m.s.current == nil {
		return "none", p
	}
	p.invocation = m.s.current.id
	return m.s.current.event.RequestID, p
}

func (m *mover) move(b byte) {
	switch b % 10 {
	case 0:
		m.next()
	case 1:
		m.invoke()
	case 2:
		id, p := m.current()
		m.status(m.s.answer(stepResponse, id, p))
	case 3:
		id, p := m.current()
		m.status(m.s.answer(stepError, id, p))
	case 4:
		m.status(m.s.answer(stepResponse, "id", m.post("x")))
	case 5:
		id, _ := m.current()
		m.status(m.s.answer(stepError, id, m.post("x")))
	case 6:
		m.s.Exited(sandbox.Failure{Type: "Runtime.ExitError"})
	case 7:
		m.status(m.s.initError(m.post("{}")))
	case 8:
		for _, cancel := range m.cancels {
			cancel()
		}
		m.settleAll()
	case 9:
		m.raw()
	}
}

// raw sends the request of the corpus as it is, unless it would block.
func (m *mover) raw() {
	op, id := route(m.method, m.path)
	switch op {
	case opNext:
		m.next()
	case opResponse:
		m.status(m.s.answer(stepResponse, id, m.post("x")))
	case opError:
		m.status(m.s.answer(stepError, id, m.post("x")))
	case opInitError:
		m.status(m.s.initError(m.post("x")))
	default:
		m.status(m.s.do(op))
	}
}

func (m *mover) status(r reply) {
	if r.status < 200 || r.status > 599 || len(r.body) == 0 {
		m.Errorf("reply %+v", r)
	}
}

// next asks for an event; one that has to wait for it is answered at most once.
func (m *mover) next() {
	var answers atomic.Int64
	if r, now := m.s.next(&waiter{answer: func(r reply) {
		if answers.Add(1) > 1 {
			m.Error("a /next was answered twice")
		}
		m.replied(r)
	}}); now {
		m.replied(r)
	}
}

func (m *mover) replied(r reply) {
	if r.event == nil {
		m.status(r)
	}
}

func (m *mover) invoke() {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan invoked, 1)
	m.s.mu.Lock()
	before := m.s.current
	m.s.mu.Unlock()
	go func() {
		ev := event("id", "{}")
		if m.mode == modeStreaming {
			ev.Stream = &sink{}
		}
		a, err := m.s.Invoke(ctx, ev)
		out <- invoked{a, err}
	}()
	m.open, m.cancels = append(m.open, out), append(m.cancels, cancel)
	for { // until it has been offered or refused
		m.s.mu.Lock()
		offered := m.s.current != before
		m.s.mu.Unlock()
		if offered || len(out) == 1 {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// settleAll waits for the end of every event, each of which was canceled, and
// for that of no event twice.
func (m *mover) settleAll() {
	for _, out := range m.open {
		select {
		case got := <-out:
			if got.err != nil && got.answer.Failure != nil {
				m.Fatalf("both an answer and an error: %+v", got)
			}
		case <-time.After(10 * time.Second):
			m.Fatal("an event never ended")
		}
	}
	m.open, m.cancels = nil, nil
}

// check holds the state against what must be true after any move.
func (m *mover) check(before state) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	s := m.s
	if (before == exited || before == initFailed) && s.state != before && s.state != exited {
		m.Fatalf("%v came back to life as %v", before, s.state)
	}
	if s.state == running && (s.current == nil || s.current.settled) {
		m.Fatal("running without an event")
	}
	if s.waiter != nil && s.state != ready && s.state != expired && s.state != exited {
		m.Fatalf("a /next waits while %v", s.state)
	}
	if s.waiter != nil && s.state == ready && s.current != nil && !s.current.settled {
		m.Fatal("an event and a /next wait for each other")
	}
	if s.gone != nil && !isClosed(s.ready) {
		m.Fatal("gone, but not ready")
	}
}

// finish ends everything; nothing may be left waiting.
func (m *mover) finish() {
	for _, cancel := range m.cancels {
		cancel()
	}
	m.settleAll()
	m.s.Close()
	if _, err := m.s.Invoke(context.Background(), event("id", "")); err == nil {
		m.Fatal("a closed session took an event")
	}
	if _, err := m.s.Init(context.Background()); err != nil && !errors.Is(err, context.Canceled) {
		m.Fatalf("init: %v", err)
	}
}

// FuzzRoute holds the router against what it must never do: take a path for an
// operation with an id that the path does not hold.
func FuzzRoute(f *testing.F) {
	f.Add("POST", "/2018-06-01/runtime/invocation/a/response")
	f.Add("GET", "/2018-06-01/runtime/invocation/next")
	f.Add("POST", "/2018-06-01/runtime/invocation/next/error")
	f.Fuzz(func(t *testing.T, method, path string) {
		op, id := route(method, path)
		want := map[operation]string{
			opNext: "GET " + baseInvoke + "next", opResponse: "POST " + baseInvoke + id + "/response",
			opError: "POST " + baseInvoke + id + "/error", opInitError: "POST " + base + "/runtime/init/error",
		}[op]
		if want != "" && want != method+" "+path {
			t.Fatalf("%s %s taken for %s", method, path, want)
		}
		if len(id) > maxRequestID || strings.Contains(id, "/") {
			t.Fatalf("id %q", id)
		}
	})
}

func FuzzHeaderJSON(f *testing.F) {
	f.Add([]byte("{\"a\": \"\xf0\x9d\x84\x9e\\n\"}\n"))
	f.Add([]byte("no json\r\nEvil: 1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if got := headerJSON(in); !isHeaderText(got) {
			t.Fatalf("%q is no header value", got)
		}
	})
}
