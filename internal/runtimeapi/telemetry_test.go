package runtimeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

const wanted = `{"schemaVersion":"2022-12-13","types":["platform","function","extension"],"buffering":{"timeoutMs":25},"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:4243/"}}`

// listener is where events come to; its address stands for every port.
func listener(t *testing.T) (dial func(context.Context, int) (net.Conn, error), came <-chan string) {
	c := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var batch []struct{ Type string }
		if err := json.Unmarshal(body, &batch); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		for _, e := range batch {
			c <- e.Type
		}
	}))
	t.Cleanup(server.Close)
	return func(ctx context.Context, _ int) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}, c
}

func (r *rig) subscribe(id, body string) said {
	r.Helper()
	h := http.Header{}
	if id != "" {
		h.Set(headerExtensionID, id)
	}
	return r.do(http.MethodPut, telemetryPath, h, strings.NewReader(body))
}

// expect takes events until those of want have come, in any order: what two requests
// say of is not in the order of either.
func expect(t *testing.T, came <-chan string, want ...string) {
	t.Helper()
	var got []string
	for range want {
		select {
		case e := <-came:
			got = append(got, e)
		case <-time.After(5 * time.Second):
			t.Fatalf("told %v, want %v", got, want)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestTelemetry(t *testing.T) {
	dial, came := listener(t)
	var tapped atomic.Int64
	r := newRigWith(t, Options{FunctionName: "fn", Extensions: []string{"witness"}, Telemetry: Telemetry{Dial: dial, Port: 9001, Tap: func() { tapped.Add(1) }}})
	if got := r.subscribe("", wanted); got.status != 403 || got.errorType() != "Extension.MissingExtensionIdentifier" {
		t.Errorf("without an identifier: %d %s", got.status, got.body)
	}
	if got := r.subscribe("nobody", wanted); got.status != 403 || got.errorType() != "Extension.UnknownExtensionIdentifier" {
		t.Errorf("by a stranger: %d %s", got.status, got.body)
	}
	r.s.Line(time.Now(), true, []byte("before anybody could ask"))
	id := r.register("witness", `{"events":["INVOKE"]}`)
	for body, want := range map[string]string{
		`{}`: "ValidationError", strings.Repeat(" ", 70<<10): "ValidationError", strings.Replace(wanted, "4243", "9001", 1): "ValidationError",
	} {
		if got := r.subscribe(id, body); got.status != 400 || got.errorType() != want {
			t.Errorf("%.50s: %d %s", body, got.status, got.body)
		}
	}
	for range 2 {
		if got := r.subscribe(id, wanted); got.status != 200 || string(got.body) != `"OK"` {
			t.Errorf("subscribe: %d %s", got.status, got.body)
		}
	}
	if tapped.Load() != 1 || !r.s.Listening() {
		t.Errorf("tapped %d times", tapped.Load())
	}
	expect(t, came, "platform.initStart", "extension", "platform.telemetrySubscription", "platform.telemetrySubscription")
	first, told := r.runtimeNext(), r.extensionNext(id)
	expect(t, came, "platform.initRuntimeDone", "platform.extension", "platform.initReport")
	if got := r.subscribe(id, wanted); got.status != 403 || got.errorType() != "Telemetry.SubscriptionClosed" {
		t.Errorf("after the initialisation: %d %s", got.status, got.body)
	}
	out := r.invoke(event("r-1", "{}"), long)
	<-first
	<-told
	r.s.Line(time.Now(), false, []byte("hello"))
	r.respond("r-1", `1`)
	<-out
	r.s.Tell([]byte(`{"type":"platform.report"}`))
	expect(t, came, "function", "platform.report")
	r.s.Close()
	r.s.Tell([]byte(`{"type":"platform.report"}`)) // nobody is there, and nothing breaks
	r.s.Flush(t.Context())
}

// Where nobody has subscribed in time, nothing is kept and nobody is told.
func TestTelemetryForNobody(t *testing.T) {
	dial, came := listener(t)
	r := newRigWith(t, Options{Extensions: []string{"witness"}, Telemetry: Telemetry{Dial: dial}})
	id := r.register("witness", `{"events":[]}`)
	_, _ = r.runtimeNext(), r.extensionNext(id)
	if r.s.Listening() {
		t.Error("somebody listens")
	}
	if n := testing.AllocsPerRun(100, func() { r.s.Line(time.Time{}, false, nil); r.s.note("x", nil) }); n != 0 {
		t.Errorf("a line for nobody allocates %v times", n)
	}
	select {
	case e := <-came:
		t.Errorf("told %s", e)
	default:
	}
	plain := newRigWith(t, Options{Telemetry: Telemetry{Dial: dial}})
	_ = plain.runtimeNext()
	if plain.s.Listening() || plain.s.relay.Load() != nil {
		t.Error("a session without extensions has a relay")
	}
}

// TestTelemetryOfFailure: an initialisation that fails is told of.
func TestTelemetryOfFailure(t *testing.T) {
	dial, came := listener(t)
	r := newRigWith(t, Options{Extensions: []string{"witness"}, Telemetry: Telemetry{Dial: dial, Begun: sandbox.Begun{Type: "on-demand"}}})
	id := r.register("witness", `{"events":[]}`)
	r.subscribe(id, wanted)
	expect(t, came, "platform.initStart", "platform.telemetrySubscription")
	if got := r.post(extensionPath+"init/error", "{}", headerExtensionID, id, headerExtensionError, "Extension.Boom"); got.status != 202 {
		t.Errorf("init/error: %d %s", got.status, got.body)
	}
	r.s.Exited(sandbox.Failure{Type: "Runtime.ExitError"})
	expect(t, came, "platform.extension", "platform.initRuntimeDone", "platform.initReport")
}

// A place without the Telemetry API says so in a way that clients carry on after.
func TestNoTelemetry(t *testing.T) {
	r := newRig(t)
	id := r.register("a", `{"events":[]}`)
	if got := r.subscribe(id, wanted); got.status != 202 || got.errorType() != "Telemetry.NotSupported" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do(http.MethodPut, logsPath, nil, strings.NewReader("{}")); got.status != 202 || got.errorType() != "Logs.NotSupported" {
		t.Errorf("%d %s", got.status, fmt.Sprint(string(got.body)))
	}
}
