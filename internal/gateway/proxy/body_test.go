package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
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
