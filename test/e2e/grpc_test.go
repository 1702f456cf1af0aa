package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"lambent.dev/lambent/test/harness"
)

// urlHost is the host name of a function's URL.
func urlHost(t *testing.T, s *harness.Server, function string) string {
	t.Helper()
	out, err := s.Lambda().GetFunctionUrlConfig(t.Context(), &lambda.GetFunctionUrlConfigInput{FunctionName: aws.String(function)})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(*out.FunctionUrl)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestGRPCApplication deploys a gRPC server, unchanged, and calls it through the
// gateway with the usual client: a call, one that fails, a stream from it, and a
// stream both ways that outlives the time in which it would be scaled to zero.
func TestGRPCApplication(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(rpc.Content(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Args: []string{"--set", "instances.idle=1s", "--set", "instances.prediction.histogram=false"}})
	publish(t, s, "rpc", dir, "--port", "8080", "--concurrency", "50")
	gateway := strings.TrimPrefix(s.Gateway, "http://")
	conn, err := grpc.NewClient("passthrough:///"+urlHost(t, s, "rpc"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", gateway)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	client := healthpb.NewHealthClient(conn)
	if res, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "here"}); err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("a call: %v, %v\n%s", res, err, s.Stderr())
	}
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "nowhere"}); status.Code(err) != codes.NotFound {
		t.Errorf("a call that fails: %v", err)
	}
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "here"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("a stream: %v, %v", got, err)
	}

	both, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, wait := range []time.Duration{0, 0, 0, 3 * time.Second} {
		time.Sleep(wait)
		err := both.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := both.Recv()
		if err != nil || len(got.GetListServicesResponse().GetService()) < 2 {
			t.Fatalf("a stream both ways, after %v: %v, %v", wait, got, err)
		}
	}
	if err := both.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("its end: %v", err)
	}

	// An end of the application ends the stream with a status, not with silence.
	if _, errs, err := s.CLI("", "deploy", dir, "--name", "rpc", "--port", "8080", "--env", "NEW=1"); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	if res, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "here"}); err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("after an update: %v, %v", res, err)
	}
	cancel()
	comesTrue(t, 15*time.Second, "scaled to zero", func() bool { return len(s.Instances()) == 0 })
}

// TestWebSocketApplication talks to a program of Node's over WebSocket, with a client
// of another make; the page that goes with it is asked for over HTTP/2.
func TestWebSocketApplication(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := writeTree(t, map[string]string{
		"package.json": `{"dependencies":{"ws":"^8"},"scripts":{"start":"node server.js"}}`,
		"server.js": `const http = require('http')
const { WebSocketServer } = require('ws')
const server = http.createServer((q, r) => r.end('page over ' + q.httpVersion))
new WebSocketServer({ server }).on('connection', ws => ws.on('message', (m, binary) => ws.send(m, { binary })))
server.listen(process.env.PORT)
`,
	})
	s := harness.Start(t, harness.Options{Env: []string{"LAMBENT_LOG_ACCESS=true"}})
	app := publish(t, s, "chat", dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(app, "http://", "ws://", 1)+"/socket", nil)
	if err != nil {
		out, _, _ := s.CLI("", "logs", "chat")
		t.Fatalf("%v\n%s", err, out)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(4 << 20)
	for _, m := range []struct {
		kind websocket.MessageType
		data string
	}{{websocket.MessageText, "hello"}, {websocket.MessageText, ""}, {websocket.MessageText, "grüße"}, {websocket.MessageBinary, strings.Repeat("\x00\xff", 1<<20)}} {
		if err := c.Write(ctx, m.kind, []byte(m.data)); err != nil {
			t.Fatal(err)
		}
		kind, got, err := c.Read(ctx)
		if err != nil || kind != m.kind || string(got) != m.data {
			t.Fatalf("%d bytes as %v came back as %d as %v, %v", len(m.data), m.kind, len(got), kind, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Errorf("close: %v", err)
	}

	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Get(app + "/page")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.ProtoMajor != 2 || string(body) != "page over 1.1" {
		t.Errorf("over %s: %q, %v", res.Proto, body, err)
	}
	for _, want := range []string{" path=/fn/chat/socket status=101 ", " path=/fn/chat/page status=200 bytes=13 "} {
		comesTrue(t, 10*time.Second, "the access log has"+want, func() bool { return strings.Contains(s.Stderr(), want) })
	}
}
