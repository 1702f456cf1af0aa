package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

// dial opens a connection that the test speaks on by itself.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// talk sends raw bytes and gives all that comes back until the connection ends.
func (r *rig) talk(in string) string {
	r.t.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, in); err != nil {
		r.t.Fatal(err)
	}
	out, _ := io.ReadAll(c) // a reset ends it too
	return string(out)
}

// What is no request, or could be read in two ways, reaches no function.
func TestMalformed(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	called := make(chan string, 100)
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		called <- string(inv.Payload)
		return &lambent.Result{Payload: []byte("1")}, nil
	})
	head := "POST / HTTP/1.1\r\nHost: " + host + "\r\n"
	for name, in := range map[string]string{
		"no HTTP":              "hello\r\n\r\n",
		"two lengths":          head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
		"length and chunks":    head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"odd coding":           head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"space before colon":   head + "Content-Length : 5\r\n\r\nabcde",
		"folded header":        head + "X-A: b\r\n c\r\n\r\n",
		"bare CR":              head + "X-A: b\rX-C: d\r\n\r\n",
		"zero byte":            head + "X-A: \x00\r\n\r\n",
		"negative length":      head + "Content-Length: -1\r\n\r\n",
		"bad chunk":            head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
		"two hosts":            "GET / HTTP/1.1\r\nHost: " + host + "\r\nHost: other\r\n\r\n",
		"no host":              "GET / HTTP/1.1\r\n\r\n",
		"header bomb":          head + strings.Repeat("X-Header: "+strings.Repeat("x", 1000)+"\r\n", 100) + "\r\n",
		"many headers":         head + strings.Repeat("X: y\r\n", 20000) + "\r\n",
		"long target":          "GET /" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"bad escape in target": "GET /%zz HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n",
	} {
		out := r.talk(in)
		if status, _, _ := strings.Cut(strings.TrimPrefix(out, "HTTP/1.1 "), " "); out != "" && (len(status) != 3 || status[0] != '4' && status != "501") {
			t.Errorf("%s: answers %.80q", name, out)
		}
	}
	select {
	case e := <-called:
		t.Errorf("a function was called with %s", e)
	default:
	}
	out := r.talk("GET /caf\xc3\xa9/\xff HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 200") {
		t.Errorf("bytes in a path that are no UTF-8: %q", out)
	} else if e := <-called; !strings.Contains(e, `"rawPath":"/café/`+"\uFFFD"+`"`) {
		t.Errorf("event %s", e)
	}
}

// Who says that a body is too large hears so before it is sent, and is not asked for it.
func TestTooLargeIsSaidAtOnce(t *testing.T) {
	r := newRig(t)
	head := "POST / HTTP/1.1\r\nHost: " + r.url(lambent.URL{}) + "\r\nContent-Length: 99999999999\r\n"
	for name, in := range map[string]string{"waits for leave": head + "Expect: 100-continue\r\n\r\n", "sends at once": head + "\r\nabc"} {
		c := r.dial()
		if _, err := io.WriteString(c, in); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") || time.Since(began) > 2*time.Second {
			t.Errorf("%s: after %v: %q, %v", name, time.Since(began), line, err)
		}
		_ = c.Close()
	}
}

func TestSlowHead(t *testing.T) {
	r := newRig(t)
	begin := time.Now()
	if out := r.talk("POST / HTTP/1.1\r\nHost: x"); !strings.HasPrefix(out, "HTTP/1.1 4") && out != "" {
		t.Errorf("answers %q", out)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a slow head is waited for %v", took)
	}
}

// TestConnect asks for a tunnel: an answer of 200 would make the connection one (RFC
// 9110, section 9.3.6).
func TestConnect(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	for _, target := range []string{host + ":80", "/"} {
		out := r.talk("CONNECT " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(out, "HTTP/1.1 501 ") {
			t.Errorf("CONNECT %s answers %q", target, out)
		}
	}
}

func TestWebSocketToFunction(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	out := r.talk("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 400") || !strings.Contains(out, "takes no WebSocket") {
		t.Errorf("answers %q", out)
	}
}

// The caller of one connection after another, and of one for all.
func TestKeepAlive(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	c := r.dial()
	in := bufio.NewReader(c)
	for i := range 5 {
		body := strings.Repeat("x", i*10)
		if _, err := fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", i, host, len(body), body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(b), fmt.Sprintf(`"rawPath":"/%d"`, i)) {
			t.Errorf("request %d: %d %q %v", i, res.StatusCode, b, err)
		}
		_ = res.Body.Close()
	}
}

const preludeType = "application/vnd.awslambda.http-integration-response"

// streaming is a function that streams parts, each when the test says so.
func streaming(contentType string, parts <-chan string, after lambent.Result, wrote chan<- error) function {
	return func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		if err := inv.Stream.Begin(contentType); err != nil {
			return nil, err
		}
		for p := range parts {
			_, err := inv.Stream.Write([]byte(p))
			if err == nil {
				continue
			}
			wrote <- err
			return &lambent.Result{FunctionError: "Unhandled"}, nil
		}
		return &after, nil
	}
}

func TestStream(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{InvokeMode: "RESPONSE_STREAM"})
	parts := make(chan string)
	r.runs(streaming(preludeType, parts, lambent.Result{}, nil))
	go func() {
		parts <- `{"statusCode":201,"headers":{"content-type":"text/html"},"coo`
		parts <- `kies":["a=b"]}` + "\x00\x00\x00"
		parts <- "\x00\x00\x00\x00\x00first"
	}()
	res, err := client.Do(r.request("GET", host, "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated || res.Header.Get("Content-Type") != "text/html" || res.Header.Get("Set-Cookie") != "a=b" {
		t.Errorf("head %d %v", res.StatusCode, res.Header)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "first" {
		t.Errorf("begins with %q, %v", b, err)
	}
	parts <- " second"
	close(parts)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != " second" {
		t.Errorf("goes on with %q, %v", rest, err)
	}
}

func TestStreamKinds(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{InvokeMode: "RESPONSE_STREAM"})
	given := func(p ...string) <-chan string {
		c := make(chan string, len(p))
		for _, s := range p {
			c <- s
		}
		close(c)
		return c
	}
	r.runs(streaming("text/plain", given("a", "b"), lambent.Result{}, nil))
	if got := r.do("GET", host, "/", ""); got.body != "ab" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("without a prelude: %+v", got)
	}
	r.runs(streaming("", given(), lambent.Result{}, nil))
	want(t, r.do("GET", host, "/", ""), 200, "")
	r.runs(answering(`{"statusCode":202,"body":"at once"}`))
	want(t, r.do("GET", host, "/", ""), 202, "at once")
	for name, prelude := range map[string]string{"cut": `{"statusCode":200}`, "no JSON": "x\x00\x00\x00\x00\x00\x00\x00\x00", "endless": strings.Repeat(" ", 100<<10)} {
		r.runs(streaming(preludeType, given(prelude), lambent.Result{}, make(chan error, 1)))
		if got := r.do("GET", host, "/", ""); got.status != 502 {
			t.Errorf("a prelude that is %s answers %d %q", name, got.status, got.body)
		}
	}
	r.runs(streaming(preludeType, given(), lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout"}, nil))
	want(t, r.do("GET", host, "/", ""), 504, "timeout")

	// What broke off must not look whole.
	r.runs(streaming("text/plain", given("half"), lambent.Result{FunctionError: "Unhandled"}, nil))
	res, err := client.Do(r.request("GET", host, "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(b) != "half" {
		t.Errorf("%q, %v", b, err)
	}
}

// A buffered URL parses what a function streamed to nobody.
func TestPreludeInBuffered(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		if inv.Stream != nil {
			t.Error("a buffered call has a stream")
		}
		return &lambent.Result{ContentType: preludeType, Payload: []byte(`{"statusCode":203}` + "\x00\x00\x00\x00\x00\x00\x00\x00body")}, nil
	})
	if got := r.do("GET", host, "/", ""); got.status != 203 || got.body != "body" {
		t.Errorf("%+v", got)
	}
}

// The function's stream fails once its caller has gone.
func TestCallerGoes(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{InvokeMode: "RESPONSE_STREAM"})
	r.leaves("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
}

// leaves has the caller of a stream go after its first part, and wants the
// function's writes to fail then.
func (r *rig) leaves(request string) {
	r.t.Helper()
	parts, wrote := make(chan string), make(chan error, 1)
	r.runs(streaming("text/event-stream", parts, lambent.Result{}, wrote))
	c := r.dial()
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	parts <- "first: 1\n\n"
	if _, err := bufio.NewReader(c).ReadString(':'); err != nil {
		r.t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		r.t.Fatal(err)
	}
	for end := time.After(5 * time.Second); ; {
		select {
		case parts <- strings.Repeat("x", 1000):
		case err := <-wrote:
			if lambent.CodeOf(err) != lambent.CodeCanceled {
				r.t.Errorf("a write fails with %v", err)
			}
			return
		case <-end:
			r.t.Fatal("writes go on")
		}
	}
}

// A caller that takes nothing more of a stream is waited for no longer than the
// invocation lasts, and a body that does not come no longer than it may take.
func TestInterrupt(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{InvokeMode: "RESPONSE_STREAM"})
	ended := make(chan error, 1)
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		if err := inv.Stream.Begin("text/plain"); err != nil {
			return nil, err
		}
		wrote := make(chan error)
		go func() {
			for {
				if _, err := inv.Stream.Write(make([]byte, 1<<20)); err != nil {
					wrote <- err
					return
				}
			}
		}()
		time.Sleep(100 * time.Millisecond) // the connection is full by then
		inv.Stream.(lambent.Interrupter).Interrupt()
		ended <- <-wrote
		return &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout"}, nil
	})
	c := r.dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if lambent.CodeOf(err) != lambent.CodeCanceled {
			t.Errorf("the write fails with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the write is not broken off")
	}
	// What was on its way may be read, but no end.
	if all, _ := io.ReadAll(c); strings.HasSuffix(string(all), "0\r\n\r\n") {
		t.Error("the answer looks whole")
	}
}
