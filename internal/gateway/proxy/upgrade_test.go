package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"lambent.dev/lambent/internal/sandbox"
)

func TestWebSocket(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(8 << 20)
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if string(p) == "bye" {
				_ = c.Close(4000, "as you say")
				return
			}
			if c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(r.url, "http", "ws", 1), &websocket.DialOptions{Subprotocols: []string{"chat"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	c.SetReadLimit(8 << 20)
	// The sizes are those at which frames have another form (RFC 6455, section 5.2).
	for _, size := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 4 << 20} {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			if err := c.Write(ctx, kind, []byte(strings.Repeat("x", size))); err != nil {
				t.Fatalf("write %d bytes: %v", size, err)
			}
			got, p, err := c.Read(ctx)
			if err != nil || got != kind || len(p) != size {
				t.Fatalf("%d bytes of %v came back as %d of %v, %v", size, kind, len(p), got, err)
			}
		}
	}
	if err := c.Write(ctx, websocket.MessageText, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Read(ctx)
	if websocket.CloseStatus(err) != 4000 {
		t.Errorf("closed with %v", err)
	}
	if err := <-r.errs; err != nil {
		t.Errorf("the exchange ended with %v", err)
	}
}

// TestNoUpgradeToHTTP asks for protocols by which further requests would reach the
// application unseen: it does not learn of that, and answers as ever.
func TestNoUpgradeToHTTP(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s%q%q%q", body, r.Header["Upgrade"], r.Header["Connection"], r.Header["Http2-Settings"])
	})
	for _, protocol := range []string{"h2c", "websocket, H2C", "HTTP/2.0", "TLS/1.2"} {
		q, err := http.NewRequest(http.MethodPost, r.url, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		q.Header.Set("Upgrade", protocol)
		q.Header.Set("HTTP2-Settings", "AAMAAABkAAQAAP__")
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || string(body) != "body[][][]" {
			t.Errorf("%s: %d %q", protocol, res.StatusCode, body)
		}
	}
}

// TestWebSocketRefused passes an application's no.
func TestWebSocketRefused(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	_, res, err := websocket.Dial(t.Context(), strings.Replace(r.url, "http", "ws", 1), nil)
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("%v, %v", res, err)
	}
}

func TestWebSocketCallerGoes(t *testing.T) {
	gone := make(chan struct{})
	r := app(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, _, _ = c.Read(context.Background())
		close(gone)
	})
	c, _, err := websocket.Dial(t.Context(), strings.Replace(r.url, "http", "ws", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.CloseNow()
	select {
	case <-gone:
	case <-time.After(2 * time.Second):
		t.Fatal("the application was not told")
	}
	<-r.errs // the instance is free again
}

func TestGRPC(t *testing.T) {
	checks := health.NewServer()
	checks.SetServingStatus("here", healthpb.HealthCheckResponse_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, checks)
	r := app(t, s.ServeHTTP)
	conn, err := grpc.NewClient(strings.TrimPrefix(r.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := healthpb.NewHealthClient(conn)
	res, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "here"})
	if err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", res, err)
	}
	// The status of a failed call is in the trailers.
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "nowhere"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "here"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		if i == 1 {
			checks.SetServingStatus("here", want)
		}
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Fatalf("update %d: %v, %v", i, got, err)
		}
	}
}

// What ends a call of gRPC is told in its own form, which is all that its clients show.
// TestGRPCWeb sends what browsers send for gRPC, over the protocol that they use: it is
// made for applications that speak HTTP/1.1.
func TestGRPCWeb(t *testing.T) {
	r := app(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for kind, want := range map[string]string{
		"application/grpc-web+proto": "HTTP/1.1", "application/grpc-web-text": "HTTP/1.1", "application/connect+proto": "HTTP/1.1",
		"application/grpc": "HTTP/2.0", "application/grpc+proto": "HTTP/2.0",
	} {
		res, err := (&http.Client{Transport: transport}).Post(r.url, kind, strings.NewReader("call"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil || string(got) != want {
			t.Errorf("%s came over %q, %v, want %s", kind, got, err, want)
		}
	}
}

func TestGRPCRefusals(t *testing.T) {
	silent := app(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	v := *silent.version.Load()
	v.Timeout = 50 * time.Millisecond
	silent.version.Store(&v)
	broken := app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	ended := raw(t, func(net.Conn) {})
	close(ended.done)
	ended.why = &sandbox.Failure{Message: "it was too tired (100 %)"}
	for name, c := range map[string]struct {
		rig   *rig
		code  codes.Code
		says  string
		layer string
	}{
		"no answer":   {silent, codes.DeadlineExceeded, "did not begin its answer within 50ms", "function: timeout 50ms"},
		"no end":      {broken, codes.Unavailable, "closed the connection without a complete answer", ""},
		"no instance": {ended, codes.Unavailable, "it was too tired (100 %)", "application: instance ended"},
	} {
		conn, err := grpc.NewClient(strings.TrimPrefix(c.rig.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var trailer metadata.MD
		_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer))
		cancel()
		if s := status.Convert(err); s.Code() != c.code || !strings.Contains(s.Message(), c.says) {
			t.Errorf("%s: %v, want %s: %s", name, err, c.code, c.says)
		}
		if got := strings.Join(trailer.Get("X-Lambent-Error"), ""); got != c.layer {
			t.Errorf("%s: the layer is %q, want %q", name, got, c.layer)
		}
		_ = conn.Close()
	}
}
