package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lambent.dev/lambent"
	"lambent.dev/lambent/test/harness"
)

// collector takes spans over OTLP.
type collector struct {
	*httptest.Server
	mu    sync.Mutex // guards spans
	spans []*tracepb.Span
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in coltracepb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &in)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rs := range in.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// find returns the spans that keep accepts.
func (c *collector) find(keep func(*tracepb.Span) bool) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s *tracepb.Span) bool { return !keep(s) })
}

func below(parent *tracepb.Span) func(*tracepb.Span) bool {
	return func(s *tracepb.Span) bool { return string(s.ParentSpanId) == string(parent.SpanId) }
}

// within checks that a span's time is in another's.
func within(t *testing.T, s, outer *tracepb.Span) {
	t.Helper()
	if s.StartTimeUnixNano < outer.StartTimeUnixNano || s.EndTimeUnixNano > outer.EndTimeUnixNano || s.EndTimeUnixNano < s.StartTimeUnixNano {
		t.Errorf("%s [%d, %d] is not within %s [%d, %d]", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano, outer.Name, outer.StartTimeUnixNano, outer.EndTimeUnixNano)
	}
}

// header adds one to a call of the SDK.
func header(name, value string) func(*lambda.Options) {
	return func(o *lambda.Options) { o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue(name, value)) }
}

// TestTrace follows a cold and a warm call into an OTLP receiver.
func TestTrace(t *testing.T) {
	c := newCollector(t)
	s := harness.Start(t, harness.Options{Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL}})
	s.Create(t, harness.Function{Name: "told", Runtime: "python3.11", Handler: "app.handler", Zip: harness.Zip(t, map[string]string{
		"app.py": "import os, time\ntime.sleep(0.05)\ndef handler(event, context):\n    return os.environ['_X_AMZN_TRACE_ID']\n",
	})})
	// call returns the span of an invocation, and the trace header that the function saw.
	call := func(name, value string) (*tracepb.Span, string) {
		t.Helper()
		trace := strings.ReplaceAll(strings.SplitN(strings.TrimPrefix(value, "Root=1-"), ";", 2)[0], "-", "")
		if name == "traceparent" {
			trace = value[3:35]
		}
		out, err := s.Lambda().Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("told")}, header(name, value))
		if err != nil {
			t.Fatal(err)
		}
		var seen string
		if err := json.Unmarshal(out.Payload, &seen); err != nil {
			t.Fatalf("%s: %v", out.Payload, err)
		}
		var found []*tracepb.Span
		until(t, "the span of "+trace+" is there", func() bool {
			found = c.find(func(s *tracepb.Span) bool {
				return s.Name == "invoke told" && hex.EncodeToString(s.TraceId) == trace
			})
			return len(found) > 0
		})
		want := "Root=1-" + trace[:8] + "-" + trace[8:] + ";Parent=" + hex.EncodeToString(found[0].SpanId) + ";Sampled=1"
		if got, lineage, _ := strings.Cut(seen, ";Lineage="); got != want || !isLineage(lineage) {
			t.Errorf("the function saw %q, want %q and a lineage", seen, want)
		}
		return found[0], seen
	}

	before := time.Now()
	cold, _ := call("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if hex.EncodeToString(cold.ParentSpanId) != "00f067aa0ba902b7" || cold.StartTimeUnixNano < uint64(before.UnixNano()) || cold.EndTimeUnixNano > uint64(time.Now().UnixNano()) {
		t.Errorf("cold call %v", cold)
	}
	parts := c.find(below(cold))
	if len(parts) != 2 || parts[0].Name != "acquire" || parts[1].Name != "run" {
		t.Fatalf("parts of a cold call: %v", parts)
	}
	starts := c.find(below(parts[0]))
	if len(starts) != 1 || starts[0].Name != "cold start" {
		t.Fatalf("parts of acquire: %v", starts)
	}
	within(t, parts[0], cold)
	within(t, parts[1], cold)
	within(t, starts[0], parts[0])
	took := map[string]time.Duration{}
	for _, stage := range c.find(below(starts[0])) {
		within(t, stage, starts[0])
		took[stage.Name] += time.Duration(stage.EndTimeUnixNano - stage.StartTimeUnixNano)
	}
	for _, name := range lambent.Stages() {
		if took[name] <= 0 {
			t.Errorf("no time for %s: %v", name, took)
		}
	}
	if len(took) != 6 || took[lambent.StageInit] < 50*time.Millisecond {
		t.Errorf("stages %v", took)
	}

	warm, _ := call("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
	if parts := c.find(below(warm)); len(warm.ParentSpanId) != 0 || len(parts) != 2 || len(c.find(below(parts[0]))) != 0 {
		t.Errorf("warm call %v: %v", warm, parts)
	}

	// A caller that does not want to be recorded is not.
	const quiet = "Root=1-5759e988-aaaaaaaaaaaaaaaaaaaaaaaa;Parent=00f067aa0ba902b7;Sampled=0"
	out, err := s.Lambda().Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("told")}, header("X-Amzn-Trace-Id", quiet))
	if err != nil || !strings.HasPrefix(string(out.Payload), `"`+quiet+`;Lineage=`) {
		t.Errorf("payload %s, %v", out.Payload, err)
	}
	call("X-Amzn-Trace-Id", "Root=1-5759e988-bbbbbbbbbbbbbbbbbbbbbbbb;Sampled=1")
	if n := len(c.find(func(s *tracepb.Span) bool { return strings.HasSuffix(hex.EncodeToString(s.TraceId), "aaaa") })); n != 0 {
		t.Errorf("%d spans of a call that was not to be recorded", n)
	}
}

// isLineage tells whether a text has the form of AWS's count of the functions that a
// call has come through.
var isLineage = regexp.MustCompile(`^\d+:[0-9a-f]{8}:\d+$`).MatchString

// TestTraceOfAStartAhead is about a cold start that no call has waited for.
func TestTraceOfAStartAhead(t *testing.T) {
	c := newCollector(t)
	s := harness.Start(t, harness.Options{Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL}})
	deployProbe(t, s, harness.Function{Name: "ready"})
	if _, stderr, err := s.CLI("", "set", "ready", "min-instances=1"); err != nil {
		t.Fatal(stderr)
	}
	var found []*tracepb.Span
	until(t, "the cold start's span is there", func() bool {
		found = c.find(func(s *tracepb.Span) bool { return s.Name == "cold start ready" })
		return len(found) > 0
	})
	if steps := c.find(below(found[0])); len(found[0].ParentSpanId) != 0 || len(steps) < 6 || !strings.Contains(found[0].String(), "min-instances") {
		t.Errorf("%v: %v", found[0], steps)
	}
	// The server ends before it would have sent the call's span, and sends it.
	s.Invoke(t, "ready", `{"do":"echo"}`)
	s.Stop()
	if calls := c.find(func(s *tracepb.Span) bool { return s.Name == "invoke ready" }); len(calls) != 1 || len(c.find(below(calls[0]))) != 2 {
		t.Errorf("calls %v", calls)
	}
}

// TestTraceReceiverThatHangs keeps neither calls nor the server's end waiting.
func TestTraceReceiverThatHangs(t *testing.T) {
	release := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hang.Close()
	defer close(release)
	s := harness.Start(t, harness.Options{Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + hang.URL}})
	deployProbe(t, s, harness.Function{Name: "f"})
	s.Invoke(t, "f", `{"do":"echo"}`)
	time.Sleep(1200 * time.Millisecond) // the sender hangs by now
	began := time.Now()
	s.Invoke(t, "f", `{"do":"echo"}`)
	if took := time.Since(began); took > time.Second {
		t.Errorf("a warm call took %v", took)
	}
	began = time.Now()
	s.Stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the server took %v to end", took)
	}
}
