package linux

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// calls is a program that serves, and calls the API with the path that it is asked for.
const calls = `
import urllib.request
class Calling(Handler):
    def do_GET(self):
        body = urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + self.path, timeout=5).read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
Handler = Calling
`

// answerCalls answers each call with who makes it, and for what.
func answerCalls(t *testing.T) sandbox.Calls {
	return func(from sandbox.Caller) func(net.Conn) {
		return func(c net.Conn) {
			go func() { // ends with the connection
				defer func() { _ = c.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n"+from.ID+" "+r.URL.Path+from.Trace())
			}()
		}
	}
}

// TestApplicationsCall the API beside their own ports, which may be those of the
// Runtime API and of these calls; nothing there is a Runtime API.
func TestApplicationsCall(t *testing.T) {
	needRoot(t)
	d := sandbox.Guard(newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t), Calls: answerCalls(t)}))
	for name, c := range map[string]struct {
		own  int
		port string
	}{"usual": {8080, "29001"}, "runtime-api": {9001, "29001"}, "calls": {29001, "29002"}} {
		t.Run(name, func(t *testing.T) {
			spec, _ := appSpecOf(t, "calls-"+name, calls+"serve()")
			spec.Version.App.Port = c.own
			spec.Version.App.Command = append(spec.Version.App.Command, c.port)
			i := sandboxtest.Start(t, d, spec).Instance
			for _, path := range []string{"/2015-03-31/functions", "/2018-06-01/runtime/invocation/next"} {
				if status, body := ask(t, i, path); status != 200 || body != spec.ID+" "+path {
					t.Errorf("%d %q", status, body)
				}
			}
		})
	}
	t.Run("elsewhere", func(t *testing.T) {
		spec, _ := appSpecOf(t, "calls-elsewhere", "serve(p=3000)")
		spec.Version.App.StartTimeout = time.Second
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		r, err := i.Init(t.Context())
		if err != nil || r.Failure == nil || !strings.Contains(r.Failure.Message, "it listens on 3000 instead") {
			t.Errorf("%+v, %v", r.Failure, err)
		}
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
