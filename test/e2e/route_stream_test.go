package e2e

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

const eventsApp = `
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 200, headers: { 'content-type': 'text/event-stream' } });
  let gone = false;
  stream.on('error', (e) => { if (!gone) console.log('the caller has gone:', e.message); gone = true; });
  const last = Number(event.queryStringParameters.n);
  for (let i = 0; i < last && !gone; i++) {
    stream.write('data: ' + i + '\n\n');
    await new Promise((r) => setTimeout(r, 50));
  }
  stream.end();
});
`

// TestStreamedRoute has a function send events through a route, over HTTP/1.1 and
// over HTTP/2 with TLS, and tells it that its caller has gone.
func TestStreamedRoute(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{"LAMBENT_TLS_LISTEN=127.0.0.1:0"}})
	s.Create(t, harness.Function{Name: "events", Runtime: "nodejs20.x", Handler: "index.handler", Timeout: 30, Zip: harness.Zip(t, map[string]string{"index.js": eventsApp})})
	run(t, s, "route", "add", "GET", "api.test/events", "events", "--public", "--stream", "--compress", "--timeout", "10s")
	roots, chain, private := harness.Certificate(t, "api.test")
	run(t, s, "domain", "add", "api.test", "--cert", chain, "--key", private)
	told := 0
	for address, c := range map[string]*http.Client{"http://api.test": toGateway(t, s), "https://api.test": toTLS(t, s, roots)} {
		got := ask(t, c, newRequest(t, "GET", address+"/events?n=3", ""))
		if got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" || got.header.Get("Content-Encoding") != "" || got.body != "data: 0\n\ndata: 1\n\ndata: 2\n\n" {
			t.Errorf("%s: %+v", address, got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := newRequest(t, "GET", address+"/events?n=400", "").WithContext(ctx)
		r.Header.Set("Accept", "text/event-stream")
		began := time.Now()
		res, err := c.Do(r)
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		if err != nil || line != "data: 0\n" || time.Since(began) > 5*time.Second {
			t.Errorf("%s: begins with %q after %v (%v)", address, line, time.Since(began), err)
		}
		cancel()
		_ = res.Body.Close()
		told++
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if out := run(t, s, "logs", "events"); strings.Count(out, "the caller has gone") == told {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the function is not told that its caller has gone:\n%s", address, run(t, s, "logs", "events"))
			}
		}
	}
}
