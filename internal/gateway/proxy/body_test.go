package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"lambent.dev/lambent"
)

// full is a body that is longer than its route takes.
type full struct{ io.ReadCloser }

func (f full) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p[:1])
	if err == nil {
		err = lambent.Errorf(lambent.CodeTooLarge, "too much")
	}
	return n, err
}

// TestBodyEndsEarly has bodies that come in chunks end before they are whole, by the
// doing of the caller, the route and the application: each is told by its own answer.
func TestBodyEndsEarly(t *testing.T) {
	r := app(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	ends := raw(t, func(c net.Conn) {
		for in := bufio.NewScanner(c); in.Scan() && in.Text() != "hello"; {
		}
	})
	for in, want := range map[string]string{
		"X-Limit: 1\r\n 5\r\nhello\r\n": "HTTP/1.1 413 ",
		" 5\r\nhello\r\nzz\r\n":         "HTTP/1.1 400 ",
		" 5\r\nhello\r\n":               "HTTP/1.1 502 ",
	} {
		to := r
		if strings.Contains(want, "502") {
			to = ends
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(to.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\n"+strings.Replace(in, " 5", "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5", 1))
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); string(got) != want {
			t.Errorf("%q answers %q, %v, want %q", in, got, err, want)
		}
		_ = c.Close()
	}
	conn, err := grpc.NewClient(strings.TrimPrefix(r.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("X-Limit"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "long"})
	if status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != "too much" {
		t.Errorf("a call of gRPC: %v", err)
	}
}

// TestNothingFollowsAnEarlyAnswer is about callers whose connection is net/http's, which
// a HEAD's is here: what comes after a malformed body is no request, also when the
// application has answered without the body.
func TestNothingFollowsAnEarlyAnswer(t *testing.T) {
	heads := make(chan string, 10)
	r := raw(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		heads <- line
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, in)
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "HEAD /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	<-heads
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, &http.Request{Method: http.MethodHead})
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", res, err)
	}
	_, _ = io.WriteString(c, "zz\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n")
	if more, _ := io.ReadAll(in); len(more) > 0 {
		t.Errorf("after the answer comes %q", more)
	}
	select {
	case line := <-heads:
		t.Errorf("the application was sent %q", line)
	default:
	}
}

// TestUploadTakesItsTime: the function's time-out begins when the body has been sent, by
// either protocol, and for a stream of gRPC whose answer has not begun yet.
func TestUploadTakesItsTime(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/silent" {
			<-r.Context().Done()
		}
		_, _ = fmt.Fprint(w, n)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	r := serve(t, s.Listener.Addr().String(), 500*time.Millisecond, 5*time.Second)
	for _, two := range []bool{false, true} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!two)
		transport.Protocols.SetUnencryptedHTTP2(two)
		defer transport.CloseIdleConnections()
		for path, want := range map[string]string{"/": "200 40000", "/silent": "504 "} {
			for _, kind := range []string{"text/plain", "application/grpc"} {
				body, send := io.Pipe()
				go func() {
					for range 4 {
						_, _ = send.Write(make([]byte, 10_000))
						time.Sleep(250 * time.Millisecond)
					}
					_ = send.Close()
				}() // ends with the request
				res, err := (&http.Client{Transport: transport}).Post(r.url+path, kind, body)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				got := fmt.Sprint(res.StatusCode, " ", string(text))
				if two && kind == "application/grpc" && path == "/silent" {
					got = strings.Replace(res.Header.Get("Grpc-Status"), "4", "504 ", 1)
				}
				if !strings.HasPrefix(got, want) {
					t.Errorf("HTTP/2 %v, %s, %s: %s, want %s", two, path, kind, got, want)
				}
			}
		}
	}
}
