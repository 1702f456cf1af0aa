package runtimeapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// talk sends in over one connection and returns all that comes back until the
// server closes it.
func (r *rig) talk(in string) string {
	r.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(long)) // a TCP connection always takes one
	if _, err := io.WriteString(c, in); err != nil {
		r.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		r.Fatalf("%q: %v after %q", in, err, out)
	}
	return string(out)
}

func TestWire(t *testing.T) {
	const ping = "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	post := func(head string) string {
		return "POST " + baseInvoke + "x/response HTTP/1.1\r\nHost: x\r\n" + head + "\r\n"
	}
	for name, c := range map[string]struct {
		in   string
		want []int // statuses, in order
	}{
		"one request":               {ping, []int{200}},
		"two at once":               {strings.Replace(ping, "Connection: close\r\n", "", 1) + ping, []int{200, 200}},
		"HTTP/1.0 ends":             {"GET /ping HTTP/1.0\r\n\r\n", []int{200}},
		"HTTP/1.0 stays":            {"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + ping, []int{200, 200}},
		"refused body is skipped":   {post("Content-Length: 5\r\n") + "hello" + ping, []int{400, 200}},
		"refused chunks are too":    {post("Transfer-Encoding: chunked\r\n") + "5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n" + ping, []int{400, 200}},
		"refused before continue":   {post("Content-Length: 5\r\nExpect: 100-continue\r\n") + "hello" + ping, []int{400}},
		"absolute target":           {"GET http://x/ping HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"no host":                   {"GET /ping HTTP/1.1\r\n\r\n", []int{400}},
		"two hosts":                 {"GET /ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", []int{400}},
		"HTTP/2":                    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{505}},
		"other version":             {"GET /ping HTTP/1.2\r\nHost: x\r\n\r\n", []int{505}},
		"space before colon":        {"GET /ping HTTP/1.1\r\nHost : x\r\n\r\n", []int{400}},
		"continued line":            {"GET /ping HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", []int{400}},
		"length and chunks":         {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", []int{400}},
		"two lengths":               {post("Content-Length: 5\r\nContent-Length: 6\r\n") + "hello!", []int{400}},
		"signed length":             {post("Content-Length: +5\r\n") + "hello", []int{400}},
		"empty length":              {post("Content-Length:\r\n"), []int{400}},
		"length beyond 63 bits":     {post("Content-Length: 99999999999999999999\r\n"), []int{400}},
		"other coding":              {post("Transfer-Encoding: gzip, chunked\r\n"), []int{501}},
		"other expectation":         {post("Expect: tea\r\n"), []int{417}},
		"header too large":          {"GET /ping HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", limits.Line+10) + "\r\n\r\n", []int{431}},
		"chunk size is no number":   {post("Transfer-Encoding: chunked\r\n") + "-1\r\n", []int{400}},
		"chunk size beyond 60 bits": {post("Transfer-Encoding: chunked\r\n") + "1000000000000000\r\n", []int{400}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			in := bufio.NewReader(strings.NewReader(r.talk(c.in)))
			var got []int
			for {
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, res.Body) // only the status is of interest
				got = append(got, res.StatusCode)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestLargeCauseHeader(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	cause := strings.Repeat("c", 1<<20-1000) // what aws-lambda-go sends at most
	if got := r.post(baseInvoke+"r/error", "{}", "Lambda-Runtime-Function-Xray-Error-Cause", cause); got.status != 202 {
		t.Errorf("%d %s", got.status, got.body)
	}
	<-out
}

func TestExpectContinue(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %sr/response HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", baseInvoke)
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	fmt.Fprint(c, "hello")
	if a := (<-out).answer; string(a.Payload) != "hello" {
		t.Errorf("%+v", a)
	}
}

// A runtime whose connection broke asks again, and gets the event it lost.
func TestNextOnASecondConnection(t *testing.T) {
	r := newRig(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET %snext HTTP/1.1\r\nHost: x\r\n\r\n", baseInvoke)
	waitClosed(t, "ready", r.s.Ready())
	c.Close()
	out := r.invoke(event("r", "{}"), long)
	if ev := r.next(); ev.id() != "r" {
		t.Fatalf("%+v", ev)
	}
	r.respond("r", "1")
	if a := (<-out).answer; string(a.Payload) != "1" {
		t.Errorf("%+v", a)
	}
}

// The newest /next counts; one that it replaces is told so.
func TestTwoNexts(t *testing.T) {
	r := newRig(t)
	older, newer := make(chan said, 1), make(chan said, 1)
	go func() { older <- r.next() }()
	waitClosed(t, "ready", r.s.Ready())
	go func() { newer <- r.next() }()
	if got := <-older; got.status != 403 || got.errorType() != "InvalidStateTransition" {
		t.Errorf("older: %d %s", got.status, got.body)
	}
	out := r.invoke(event("r", "{}"), long)
	if got := <-newer; got.id() != "r" {
		t.Errorf("newer: %+v", got)
	}
	r.respond("r", "1")
	<-out
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t)
	addr := strings.TrimPrefix(r.url, "http://")
	for range maxConns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("one connection too many was served: %d bytes", n)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	r := newRig(t)
	out := r.invoke(event("r", "{}"), long)
	r.next()
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() {
		req, _ := http.NewRequest(http.MethodPost, r.url+baseInvoke+"r/response", pr)
		if res, err := r.http.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	fmt.Fprint(pw, "never ends")
	for r.s.at() != responding {
		time.Sleep(time.Millisecond)
	}
	r.s.Close()
	r.s.Close()
	if got := <-out; got.answer.Failure == nil || got.answer.Failure.Type != "Sandbox.Failure" {
		t.Errorf("%+v", got)
	}
	if got := <-r.invoke(event("s", "{}"), long); got.err == nil {
		t.Errorf("%+v", got)
	}
}

// A runtime that works, a tenant's thread that sends nonsense beside it, and at
// the end an exit in the middle: every event has its own answer.
func TestHammer(t *testing.T) {
	r := newRig(t)
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	var stop atomic.Bool
	var rest sync.WaitGroup
	for range 3 {
		rest.Go(func() {
			for !stop.Load() {
				verb := []string{"/response", "/error"}[rand.IntN(2)]
				res, err := r.http.Post(r.url+baseInvoke+fmt.Sprint("r", rand.IntN(rounds)+rounds)+verb, "text/plain", strings.NewReader("evil"))
				if err == nil {
					res.Body.Close()
					if res.StatusCode == http.StatusAccepted {
						t.Error("an answer for no event was accepted")
					}
				}
			}
		})
	}
	loop := r.loop(func(ev said) said { return r.respond(ev.id(), "for "+ev.id()) })
	for i := range rounds {
		id := fmt.Sprint("r", i)
		ctx, cancel := context.WithTimeout(context.Background(), long)
		a, err := r.s.Invoke(ctx, event(id, "{}"))
		cancel()
		if err != nil || string(a.Payload) != "for "+id {
			t.Fatalf("%s: %+v, %v", id, a, err)
		}
		<-r.s.Ready()
	}
	out := r.invoke(event("last", "{}"), long)
	r.s.Exited(sandbox.Failure{Type: "Runtime.ExitError"})
	<-out
	stop.Store(true)
	rest.Wait()
	r.s.Close()
	<-loop
}
