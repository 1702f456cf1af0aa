package runtimeapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

func (r *rig) dial() net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(long)) // a TCP connection always takes one
	return c
}

const nextRequest = "GET " + pathNext + " HTTP/1.1\r\nHost: x\r\n\r\n"

// What a runtime sends behind a /next is answered behind it.
func TestAnswersKeepTheirOrder(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	fmt.Fprint(c, nextRequest, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", nextRequest, "nonsense\r\n\r\n")
	waitClosed(t, "ready", r.s.Ready())
	time.Sleep(20 * time.Millisecond) // the ping has been read by then
	out := r.invoke(event("r", "{}"), long)
	in := bufio.NewReader(c)
	for i, want := range []string{"200 r {}", "200  pong", "200 r {}", "400  "} {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode >= 400 {
			body = nil
		}
		if got := fmt.Sprint(res.StatusCode, " ", res.Header.Get(headerRequestID), " ", string(body)); got != want {
			t.Errorf("answer %d: %s, want %s", i, got, want)
		}
	}
	r.respond("r", "1")
	if a := (<-out).answer; string(a.Payload) != "1" {
		t.Errorf("%+v", a)
	}
}

// A runtime that asks and does not read holds up nobody but itself.
func TestRuntimeThatDoesNotRead(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	fmt.Fprint(c, nextRequest)
	waitClosed(t, "ready", r.s.Ready())
	begin := time.Now()
	got := <-r.invoke(sandbox.Event{RequestID: "r", Payload: make([]byte, 30<<20)}, 100*time.Millisecond)
	if got.answer.Failure == nil || got.answer.Failure.Type != "Sandbox.Timedout" || time.Since(begin) > long/2 {
		t.Errorf("%+v after %v", got, time.Since(begin))
	}
}

// A large event, which the socket does not take at once, arrives whole.
func TestLargeEvent(t *testing.T) {
	for _, size := range []int{15 << 10, 17 << 10, 6 << 20} {
		r := newRig(t)
		asked := make(chan said, 1)
		go func() { asked <- r.next() }()
		waitClosed(t, "ready", r.s.Ready())
		payload := `"` + strings.Repeat("x", size) + `"`
		out := r.invoke(event("r", payload), long)
		if ev := <-asked; string(ev.body) != payload {
			t.Errorf("%d bytes of %d", len(ev.body), len(payload))
		}
		r.respond("r", "1")
		if a := (<-out).answer; string(a.Payload) != "1" {
			t.Errorf("%+v", a)
		}
	}
}

// A runtime that closes its connection while it waits is no longer waited for.
func TestWaiterThatGoesAway(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	fmt.Fprint(c, nextRequest)
	waitClosed(t, "ready", r.s.Ready())
	c.Close()
	for begin := time.Now(); time.Since(begin) < long; time.Sleep(time.Millisecond) {
		r.s.mu.Lock()
		waits := r.s.waiter != nil
		r.s.mu.Unlock()
		if !waits {
			return
		}
	}
	t.Error("its /next still waits")
}

// A /next that ends its connection is answered all the same.
func TestNextThatCloses(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	fmt.Fprint(c, strings.Replace(nextRequest, "Host", "Connection: close\r\nHost", 1))
	waitClosed(t, "ready", r.s.Ready())
	out := r.invoke(event("r", "{}"), long)
	if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(got), "\r\n\r\n{}") || !strings.Contains(string(got), "Connection: close") {
		t.Errorf("%q, %v", got, err)
	}
	r.respond("r", "1")
	<-out
}

// A runtime that leaves TCP_NODELAY off, as lambda_runtime does, waits with the second
// part of a streamed answer until the first is acknowledged. An ACK that is delayed comes
// after 40 ms or more.
func TestPartsAreAcknowledgedAtOnce(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	if err := c.(*net.TCPConn).SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	said := func() { // reads an answer to its end
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
	}
	const warm, tries = 20, 10 // the kernel delays nothing at first
	best := long
	for n := range warm + tries {
		fmt.Fprint(c, nextRequest)
		to := &sink{parts: make(chan string, 3)}
		out := r.invoke(streamed("r", to), long)
		said()
		fmt.Fprint(c, "POST ", baseInvoke, "r/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
			headerResponseMode, ": streaming\r\n\r\n1\r\na\r\n")
		r.take(to.parts)
		began := time.Now()
		fmt.Fprint(c, "1\r\nb\r\n")
		time.Sleep(time.Millisecond)
		fmt.Fprint(c, "1\r\nc\r\n0\r\n\r\n")
		said()
		<-out
		if n >= warm {
			best = min(best, time.Since(began))
		}
	}
	if best > 30*time.Millisecond {
		t.Errorf("the rest of a streamed answer came after %v at best", best)
	}
}
