package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Fatalf("body after %d bytes: %v", len(body), err)
	}
	return res, string(body)
}

func TestRequestIsPassedAsItCame(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("X-Seen", r.RequestURI+" "+r.Host+" "+r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Request-Id"))
		w.Header().Set("X-Hop", r.Header.Get("X-Drop")+r.Header.Get("Proxy-Authorization")+r.Header.Get("Te"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	q, err := http.NewRequest(http.MethodPut, r.url+"/a%2Fb/%C3%A9//c?x=1&x=2;3", strings.NewReader("the body"))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Forwarded-For", "6.6.6.6")
	q.Header.Set("X-Drop", "this is for the proxy")
	q.Header.Set("Connection", "X-Drop")
	q.Header.Set("Proxy-Authorization", "secret")
	q.Header.Set("Te", "gzip")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusTeapot || string(body) != "the body" || !slices.Equal(res.Header["Set-Cookie"], []string{"a=1", "b=2"}) {
		t.Errorf("got %d %q %v", res.StatusCode, body, res.Header)
	}
	if want := "/a%2Fb/%C3%A9//c?x=1&x=2;3 " + strings.TrimPrefix(r.url, "http://") + " 127.0.0.1 http id"; res.Header.Get("X-Seen") != want {
		t.Errorf("the application saw %q, want %q", res.Header.Get("X-Seen"), want)
	}
	if hop := res.Header.Get("X-Hop"); hop != "" {
		t.Errorf("headers of the connection were passed: %q", hop)
	}
}

// TestEitherProtocol sends the same by HTTP/1.1 and HTTP/2, which are passed in ways of
// their own: the application and the caller see no other headers.
func TestEitherProtocol(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		delete(r.Header, "Accept-Encoding")
		h.Set("X-Seen", fmt.Sprint(r.Method, r.RequestURI, r.Header))
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Vary", "Accept")
		if r.URL.Path == "/named" {
			h.Set("X-Amzn-Requestid", "the application's")
			h.Set("Content-Type", "text/odd")
		} else {
			h["Content-Type"] = nil
		}
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "<html>")
	})
	got := make(map[string][]string)
	for _, two := range []bool{false, true} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!two)
		transport.Protocols.SetUnencryptedHTTP2(two)
		defer transport.CloseIdleConnections()
		for _, path := range []string{"/", "/named"} {
			q, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "Forwarded", "X-Request-Id",
				"X_forwarded_for", "X-Forwarded_proto"} {
				q.Header.Set(name, "the caller's")
			}
			q.Header.Set("User-Agent", "a test")
			q.Header.Set("Expect", "100-continue")
			q.Header.Set("Origin", "http://a.test")
			res, err := transport.RoundTrip(q)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			delete(res.Header, "Date")
			delete(res.Header, "Content-Length")
			got[path] = append(got[path], fmt.Sprint(res.StatusCode, res.Header, string(body), err))
		}
	}
	for path, answers := range got {
		if answers[0] != answers[1] {
			t.Errorf("%s: over HTTP/1.1 %s\nover HTTP/2 %s", path, answers[0], answers[1])
		}
	}
	if strings.Contains(got["/"][0], "_") {
		t.Errorf("the application sees %s", got["/"][0])
	}
	for _, want := range []string{"X-Amzn-Requestid:[id]", "Access-Control-Allow-Origin:[http://a.test]"} {
		if !strings.Contains(got["/"][0], want) || strings.Contains(got["/"][0], "Content-Type") {
			t.Errorf("answers %s, without %s", got["/"][0], want)
		}
	}
}

// TestTraceIsPassedOn is about the caller's trace, and the span of a request that is
// recorded.
func TestTraceIsPassedOn(t *testing.T) {
	a := app(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Traceparent")+" "+r.Header.Get("X-Amzn-Trace-Id"))
	})
	for _, tt := range []struct{ trace, want string }{
		{"", "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-00 "},
		{"Root=1-01234567-89abcdef0123456789abcdef;Parent=00000000000000ff;Sampled=1",
			"00-0123456789abcdef0123456789abcdef-00000000000000ff-01 Root=1-01234567-89abcdef0123456789abcdef;Parent=00000000000000ff;Sampled=1"},
	} {
		a.trace.Store(tt.trace)
		req, err := http.NewRequest(http.MethodGet, a.url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-00")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil || string(body) != tt.want {
			t.Errorf("the application saw %q, want %q (%v)", body, tt.want, err)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	for i := range 20 {
		res, err := http.Post(r.url, "text/plain", strings.NewReader(strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != strconv.Itoa(i) {
			t.Fatalf("answer %d is %q", i, body)
		}
	}
	if n := r.dials.Load(); n != 1 {
		t.Errorf("%d connections were made for one caller, want 1", n)
	}
}

// TestBodies sends and receives bodies of many sizes, with a length and in chunks.
func TestBodies(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if n := r.Header.Get("X-Length"); n != "" {
			w.Header().Set("Content-Length", n)
		}
		_, _ = io.Copy(w, r.Body)
	})
	for _, size := range []int{1, 100, smallBody - 1, smallBody, smallBody + 1, 64 << 10, 1<<20 + 7, 20 << 20} {
		body := make([]byte, size)
		var seed [32]byte
		_, _ = rand.NewChaCha8(seed).Read(body)
		for _, chunked := range []bool{false, true} {
			for _, length := range []bool{false, true} {
				var in io.Reader = bytes.NewReader(body)
				if chunked {
					in = struct{ io.Reader }{in}
				}
				q, _ := http.NewRequest(http.MethodPost, r.url, in)
				if length {
					q.Header.Set("X-Length", strconv.Itoa(size))
				}
				res, err := http.DefaultClient.Do(q)
				if err != nil {
					t.Fatalf("%d bytes, chunked %t: %v", size, chunked, err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || sha256.Sum256(got) != sha256.Sum256(body) {
					t.Errorf("%d bytes, chunked %t, length %t: got %d bytes, %v", size, chunked, length, len(got), err)
				}
			}
		}
	}
}

func TestHead(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1234") })
	for range 3 {
		res, err := http.Head(r.url)
		if err != nil || res.ContentLength != 1234 {
			t.Fatalf("HEAD: %v, %v", res, err)
		}
		_ = res.Body.Close()
	}
}

// TestEventsComeAtOnce reads each event of a stream before the next is made.
func TestEventsComeAtOnce(t *testing.T) {
	next := make(chan struct{})
	r := app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	res, err := http.Get(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d is %q, %v", i, line, err)
		}
		_, _ = lines.ReadString('\n')
		next <- struct{}{}
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
}

// TestBothWaysAtOnce has an application answer each part of a body before the next
// part is sent.
func TestBothWaysAtOnce(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(bytes.ToUpper(buf[:n]))
			_ = c.Flush()
			if err != nil {
				return
			}
		}
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	in := bufio.NewReader(c)
	for i, word := range []string{"one", "two", "three"} {
		_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(word), word)
		if i == 0 {
			for line := ""; line != "\r\n"; {
				if line, err = in.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
		}
		size, _ := in.ReadString('\n')
		text, err := in.ReadString('\n')
		if want := strings.ToUpper(word) + "\r\n"; text != want {
			t.Fatalf("after %q: %q %q, %v", word, size, text, err)
		}
	}
	_, _ = io.WriteString(c, "0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if end, _ := io.ReadAll(io.LimitReader(in, 22)); !strings.HasPrefix(string(end), "0\r\n\r\nHTTP/1.1 200 OK\r\n") {
		t.Errorf("the stream ends with %q, want its end and the next answer", end)
	}
}

func TestTrailers(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	})
	q, _ := http.NewRequest(http.MethodGet, r.url, nil)
	q.Header.Set("Te", "trailers")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("trailers %v", res.Trailer)
	}
}

func TestCallerGoes(t *testing.T) {
	gone := make(chan struct{})
	r := app(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	q, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if _, err := http.DefaultClient.Do(q); err == nil {
		t.Fatal("the request was answered")
	}
	select {
	case <-gone:
	case <-time.After(2 * time.Second):
		t.Fatal("the application was not told that the caller has gone")
	}
	if err := <-r.errs; !errors.Is(err, errGone) {
		t.Errorf("the request ended with %v", err)
	}
}

// TestCallerGoesInBody breaks off an upload: the application must not take it for
// whole.
func TestCallerGoesInBody(t *testing.T) {
	ended := make(chan error, 1)
	r := app(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	for _, head := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n"+head+"\r\n\r\n5\r\nhello\r\n")
		time.Sleep(50 * time.Millisecond)
		_ = c.Close()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: the application took half a body for the whole", head)
			}
		case <-time.After(2 * time.Second):
			t.Fatalf("%s: the application still waits", head)
		}
		<-r.errs
	}
}

// TestAnswers has applications answer in every form that there is, and in some
// that there must not be.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
	}{
		"length":            {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		"same length twice": {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		"until the end":     {"HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"},
		"old":               {"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello", 200, "hello"},
		"old line ends":     {"HTTP/1.0 200 OK\nServer: x\n\nhello", 200, "hello"},
		"chunks":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nX-T: 1\r\n\r\n", 200, "hello"},
		"no reason":         {"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, ""},
		"informed first":    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		"no content":        {"HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		"not modified":      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""},
		"error":             {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 503, "busy"},

		"length and chunks": {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, ""},
		"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502, ""},
		"signed length":     {"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", 502, ""},
		"unknown coding":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, ""},
		"space in a name":   {"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", 502, ""},
		"unasked upgrade":   {"HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, ""},
		"not HTTP":          {"SSH-2.0-OpenSSH_9.2\r\n\r\n", 502, ""},
		"nothing":           {"", 502, ""},
		"half a head":       {"HTTP/1.1 200 OK\r\nContent-Le", 502, ""},
		"endless head":      {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 300), 502, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := raw(t, func(conn net.Conn) {
				readRequest(conn)
				_, _ = io.WriteString(conn, c.answer)
				if strings.Contains(name, "first") { // it has all of the answer without the end of the connection
					time.Sleep(2 * time.Second)
				}
			})
			res, body := get(t, r.url)
			if res.StatusCode != c.status || c.status != 502 && body != c.body {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
			limit := "malformed answer"
			if name == "nothing" || name == "half a head" {
				limit = "connection"
			}
			if _, typed := res.Header["Content-Type"]; typed && c.status != 502 {
				t.Errorf("a type that the application does not say: %v", res.Header)
			}
			if c.status == 502 && (res.Header.Get("X-Lambent-Error") != "application: "+limit || !strings.Contains(body, `"layer":"application"`)) {
				t.Errorf("got %v %s", res.Header, body)
			}
		})
	}
}

// readRequest reads a request without a body.
func readRequest(c net.Conn) {
	_, _ = http.ReadRequest(bufio.NewReader(c))
}

// TestBrokenAnswers must not look whole.
func TestBrokenAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"length":      "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\nhello",
		"chunks":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"in a chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
		"no chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"minus chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := raw(t, func(c net.Conn) {
				readRequest(c)
				_, _ = io.WriteString(c, answer)
			})
			res, err := http.Get(r.url)
			if err == nil {
				var body []byte
				body, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err == nil {
					t.Errorf("a broken answer was passed as %q", body)
				}
			}
			if err := <-r.errs; err == nil {
				t.Error("the exchange counts as good")
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	r := raw(t, func(c net.Conn) {
		q, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if q.URL.Path == "/stream" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
		_, _ = io.Copy(io.Discard, c) // says nothing more
	})
	began := time.Now()
	res, body := get(t, r.url+"/")
	if took := time.Since(began); res.StatusCode != http.StatusGatewayTimeout || took < 900*time.Millisecond || took > 3*time.Second ||
		res.Header.Get("X-Lambent-Error") != "function: timeout 1s" || !strings.Contains(body, `"limit":"timeout 1s"`) {
		t.Errorf("after %v: %d %v %s", took, res.StatusCode, res.Header, body)
	}
	<-r.errs
	res, err := http.Get(r.url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err == nil || string(body) != "hello" {
		t.Errorf("a silent stream gave %q, %v", body, err)
	}
	_ = res.Body.Close()
	var f *failure
	if err := <-r.errs; !errors.As(err, &f) || f.limit != "idle 1s" {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestTimeoutOfATalker is about an application that always sends something, but no
// answer.
func TestTimeoutOfATalker(t *testing.T) {
	for name, says := range map[string]string{"early hints": "HTTP/1.1 103 Early Hints\r\n\r\n", "endless head": "x"} {
		t.Run(name, func(t *testing.T) {
			r := raw(t, func(c net.Conn) {
				readRequest(c)
				if says == "x" {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
				}
				for range 500 { // 5 s, if nobody ends it
					if _, err := io.WriteString(c, says); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			began := time.Now()
			res, body := get(t, r.url+"/")
			if took := time.Since(began); res.StatusCode != http.StatusGatewayTimeout || took > 3*time.Second || res.Header.Get("X-Lambent-Error") != "function: timeout 1s" {
				t.Errorf("after %v: %d %v %s", took, res.StatusCode, res.Header, body)
			}
		})
	}
}

// TestStaleConnection closes connections after one answer without saying so.
func TestStaleConnection(t *testing.T) {
	r := raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	for i := range 10 {
		if i%2 == 0 {
			time.Sleep(2 * time.Millisecond) // sometimes the end has come, sometimes not
		}
		if res, body := get(t, r.url); res.StatusCode != http.StatusOK || body != "ok" {
			t.Fatalf("request %d: %d %s", i, res.StatusCode, body)
		}
	}
}

// TestNotSentTwice drops requests after they were read: what may have had an
// effect is not repeated.
func TestNotSentTwice(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	r := raw(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			q, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, q.Body)
			mu.Lock()
			seen[q.Method+q.URL.Path]++
			mu.Unlock()
			if q.URL.Path == "/drop" {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	get(t, r.url+"/warm") // so that there is a connection to use again
	res, err := http.Post(r.url+"/drop", "text/plain", strings.NewReader("once"))
	if err != nil || res.StatusCode != http.StatusBadGateway {
		t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
	mu.Lock()
	defer mu.Unlock()
	if seen["POST/drop"] != 1 {
		t.Errorf("the application got the request %d times", seen["POST/drop"])
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	r := serve(t, addr, time.Second, time.Second)
	res, body := get(t, r.url)
	if res.StatusCode != http.StatusBadGateway && res.StatusCode != http.StatusServiceUnavailable || r.tries.Load() != 3 {
		t.Errorf("after %d tries: %d %s", r.tries.Load(), res.StatusCode, body)
	}
}

func TestManyAtOnce(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond)
		_, _ = io.WriteString(w, r.URL.Path)
	})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 10 {
				path := fmt.Sprintf("/%d/%d", i, j)
				res, err := http.Get(r.url + path)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if string(body) != path {
					t.Errorf("asked for %s, got %q", path, body)
				}
			}
		})
	}
	wg.Wait()
}
