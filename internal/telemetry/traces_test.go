package telemetry

import (
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lambent.dev/lambent"
)

var quick = pace{queue: 64, delay: 5 * time.Millisecond, upload: 5 * time.Second, flush: 5 * time.Second}

// receiver takes traces as a collector does.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards the rest
	spans    []*tracepb.Span
	resource map[string]any
	path     string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var in coltracepb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &in)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.path = req.URL.Path
		for _, rs := range in.ResourceSpans {
			r.resource = attributes(rs.Resource.Attributes)
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func attributes(list []*commonpb.KeyValue) map[string]any {
	m := map[string]any{}
	for _, a := range list {
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			m[a.Key] = v.IntValue
		case *commonpb.AnyValue_BoolValue:
			m[a.Key] = v.BoolValue
		case *commonpb.AnyValue_DoubleValue:
			m[a.Key] = v.DoubleValue
		}
	}
	return m
}

func open(t *testing.T, endpoint string, share float64, p pace) (*Traces, *Metrics) {
	t.Helper()
	m := NewMetrics()
	tr, err := newTraces(TraceOptions{Endpoint: endpoint, Service: "here", Sample: share, Region: "us-east-1",
		Metrics: m, Log: slog.New(slog.DiscardHandler)}, p)
	if err != nil {
		t.Fatal(err)
	}
	return tr, m
}

var hello = &lambent.Version{Namespace: "000000000000", Function: "hello", Number: "7", MemoryMB: 128}

func TestSpansOfAColdCall(t *testing.T) {
	r := newReceiver(t)
	tr, m := open(t, r.URL, 0, quick)
	at := time.Now().Add(-time.Second)
	stages := []lambent.Stage{
		{Name: lambent.StageNetwork, Start: at.Add(30 * time.Millisecond), Took: time.Millisecond},
		{Name: lambent.StageCode, Start: at, Took: 10 * time.Millisecond},
		{Name: lambent.StageCode, Start: at.Add(20 * time.Millisecond), Took: 5 * time.Millisecond},
		{Name: lambent.StageInit, Start: at.Add(40 * time.Millisecond), Took: 20 * time.Millisecond},
	}
	inv := &lambent.Invocation{RequestID: "id", Source: "url", Arrived: at.Add(-time.Millisecond),
		TraceID: "Root=1-01234567-89abcdef0123456789abcdef;Parent=00000000000000ff;Sampled=1;Lineage=a:0"}
	call := tr.Begin(inv)
	call.Asked(inv, hello)
	call.Got(Instance{Stream: "stream", Thaw: time.Second, Cold: &Start{Origin: lambent.OriginFork, Began: at, Took: 50 * time.Millisecond, Stages: stages}})
	call.End(&lambent.Result{FunctionError: "Unhandled", ErrorType: "E\xff", Report: lambent.Report{Duration: 3 * time.Millisecond}}, nil)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if r.path != "/v1/traces" || r.resource["service.name"] != "here" || r.resource["cloud.region"] != "us-east-1" {
		t.Errorf("path %q, resource %v", r.path, r.resource)
	}
	var shape []string
	ids := map[string]string{"\x00\x00\x00\x00\x00\x00\x00\xff": "caller"}
	for _, s := range r.spans {
		if got := hex.EncodeToString(s.TraceId); got != "0123456789abcdef0123456789abcdef" {
			t.Errorf("trace %s", got)
		}
		ids[string(s.SpanId)] = s.Name
		shape = append(shape, ids[string(s.ParentSpanId)]+">"+s.Name)
	}
	want := "caller>invoke hello, invoke hello>acquire, acquire>cold start, cold start>code, cold start>code, cold start>network, cold start>init, invoke hello>run"
	if got := strings.Join(shape, ", "); got != want {
		t.Fatalf("spans %s\nwant  %s", got, want)
	}
	root, cold, code, run := r.spans[0], r.spans[2], r.spans[4], r.spans[7]
	if want := "Root=1-01234567-89abcdef0123456789abcdef;Parent=" + hex.EncodeToString(root.SpanId) + ";Sampled=1;Lineage=a:0"; inv.TraceID != want {
		t.Errorf("the function is told %s, want %s", inv.TraceID, want)
	}
	a := attributes(root.Attributes)
	for k, want := range map[string]any{
		"faas.name": "hello", "faas.version": "7", "faas.invocation_id": "id", "faas.coldstart": true, "faas.instance": "stream",
		"faas.trigger": "http", "faas.max_memory": int64(128 << 20), "error.type": "E", "cloud.account.id": "000000000000",
		"cloud.resource_id": "arn:aws:lambda:us-east-1:000000000000:function:hello",
	} {
		if a[k] != want {
			t.Errorf("%s is %v, want %v", k, a[k], want)
		}
	}
	if root.Kind != tracepb.Span_SPAN_KIND_SERVER || root.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || root.Flags&flagRemote == 0 {
		t.Errorf("root %v", root)
	}
	// Stages end later than what the pool took for the whole.
	if cold.StartTimeUnixNano != uint64(at.UnixNano()) || cold.EndTimeUnixNano != uint64(at.Add(60*time.Millisecond).UnixNano()) {
		t.Errorf("cold start %v", cold)
	}
	if code.StartTimeUnixNano != uint64(stages[2].Start.UnixNano()) || code.EndTimeUnixNano-code.StartTimeUnixNano != 5e6 || run.EndTimeUnixNano-run.StartTimeUnixNano != 3e6 {
		t.Errorf("code %v, run %v", code, run)
	}
	if text := scrape(t, m); !strings.Contains(text, `lambent_trace_spans_total{outcome="sent"} 8`) {
		t.Error("sent spans are not counted")
	}
}

func TestSpansOfAColdStartAhead(t *testing.T) {
	r := newReceiver(t)
	tr, _ := open(t, r.URL+"/x", 1, quick)
	tr.Started(hello, &Start{Instance: "stream", Reason: "min-instances", Failure: "Runtime.ExitError", Began: time.Now(), Stages: []lambent.Stage{{Name: lambent.StageCode, Start: time.Now()}}})
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if r.path != "/x" || len(r.spans) != 2 {
		t.Fatalf("path %q, spans %v", r.path, r.spans)
	}
	s, a := r.spans[0], attributes(r.spans[0].Attributes)
	if s.Name != "cold start hello" || len(s.ParentSpanId) != 0 || a["lambent.coldstart.reason"] != "min-instances" || a["faas.instance"] != "stream" || a["error.type"] != "Runtime.ExitError" {
		t.Errorf("%v", s)
	}
}

// TestWhatIsRecorded is about whose word holds.
func TestWhatIsRecorded(t *testing.T) {
	const root = "Root=1-01234567-89abcdef0123456789abcdef"
	r := newReceiver(t)
	for _, tt := range []struct {
		header   string
		share    float64
		recorded bool
	}{
		{root + ";Sampled=1", 0, true}, {root + ";Sampled=0", 1, false}, {root, 1, true}, {root, 0, false},
		{root + ";Sampled=?", 1, true}, {"", 1, true}, {"", 0, false}, {"what", 1, true}, {"what", 0, false},
	} {
		tr, _ := open(t, r.URL, tt.share, quick)
		inv := &lambent.Invocation{TraceID: tt.header}
		call := tr.Begin(inv)
		if (call != nil) != tt.recorded {
			t.Errorf("%q of %v: recorded %v", tt.header, tt.share, call != nil)
		}
		if c, ok := parseTraceID(inv.TraceID); tt.recorded && (!ok || c.choice != sampled || c.trace != call.context.trace || c.parent != call.span) {
			t.Errorf("%q of %v: the function is told %q", tt.header, tt.share, inv.TraceID)
		} else if !tt.recorded && inv.TraceID != tt.header {
			t.Errorf("%q of %v became %q", tt.header, tt.share, inv.TraceID)
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	n := 0
	for range 10000 {
		if within(newTrace(time.Now()), 0.25) {
			n++
		}
	}
	if n < 2200 || n > 2800 {
		t.Errorf("%d of 10000 traces for a share of 0.25", n)
	}
}

func TestTracesThatAreOffCostNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	tr, err := NewTraces(TraceOptions{})
	if tr != nil || err != nil || runtime.NumGoroutine() != before {
		t.Fatalf("%v, %v, %d goroutines more", tr, err, runtime.NumGoroutine()-before)
	}
	inv, res := &lambent.Invocation{TraceID: "Root=1-01234567-89abcdef0123456789abcdef;Sampled=0"}, &lambent.Result{}
	walk := func(tr *Traces) func() {
		return func() {
			call := tr.Begin(inv)
			call.Asked(inv, hello)
			call.Got(Instance{})
			call.End(res, nil)
		}
	}
	if n := testing.AllocsPerRun(100, walk(nil)); n != 0 {
		t.Errorf("%v allocations when off", n)
	}
	on, _ := open(t, newReceiver(t).URL, 1, quick)
	if n := testing.AllocsPerRun(100, walk(on)); n != 0 {
		t.Errorf("%v allocations for a call that is not recorded", n)
	}
	tr.Started(hello, &Start{})
	if err := errors.Join(tr.Close(), on.Close()); err != nil {
		t.Error(err)
	}
}

// TestReceiverThatHangs keeps no call and no end waiting.
func TestReceiverThatHangs(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	tr, m := open(t, srv.URL, 1, pace{queue: 4, delay: time.Millisecond, upload: time.Minute, flush: 50 * time.Millisecond})
	began := time.Now()
	const calls = 5000
	for range calls {
		inv := &lambent.Invocation{}
		call := tr.Begin(inv)
		call.Asked(inv, hello)
		call.End(nil, errors.New("no"))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("%d calls took %v", calls, took)
	}
	began = time.Now()
	if err := tr.Close(); err != nil || time.Since(began) > 3*time.Second {
		t.Errorf("closed in %v: %v", time.Since(began), err)
	}
	text, total := scrape(t, m), 0.0
	for _, outcome := range []string{"queue_full", "refused"} {
		n := value(t, text, `lambent_trace_spans_total{outcome="`+outcome+`"}`)
		if n == 0 {
			t.Errorf("none is %s", outcome)
		}
		total += n
	}
	if total != 2*calls {
		t.Errorf("%v spans are accounted for, want %d", total, 2*calls)
	}
}

func TestReceiverThatRefuses(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer srv.Close()
	var out lockedText
	m := NewMetrics()
	tr, err := newTraces(TraceOptions{Endpoint: srv.URL, Sample: 1, Metrics: m, Log: slog.New(slog.NewTextHandler(&out, nil))}, quick)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		tr.Started(hello, &Start{Began: time.Now()})
		time.Sleep(2 * quick.delay)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if n := value(t, scrape(t, m), `lambent_trace_spans_total{outcome="refused"}`); n != 5 {
		t.Errorf("%v refused", n)
	}
	if n := strings.Count(out.String(), "send traces"); n != 1 {
		t.Errorf("the log complains %d times:\n%s", n, out.String())
	}
}

// TestSpansOfCallsThatDoNotRun is about those that were refused, or whose cold
// start failed, and requests that were passed on.
func TestSpansOfCallsThatDoNotRun(t *testing.T) {
	for name, tt := range map[string]struct {
		found    bool
		instance *Instance
		res      *lambent.Result
		err      error
		want     string // spans
		kind     string
	}{
		"no such function": {err: &lambent.Error{Code: lambent.CodeNotFound}},
		"throttled":        {found: true, err: &lambent.Error{Code: lambent.CodeThrottled}, want: "invoke hello, acquire", kind: "throttled"},
		"failed start": {found: true, instance: &Instance{Failed: true, Cold: &Start{Began: time.Now(), Failure: "Runtime.ExitError"}},
			res: &lambent.Result{FunctionError: "Unhandled", ErrorType: "Runtime.ExitError"}, want: "invoke hello, acquire, cold start", kind: "Runtime.ExitError"},
		"passed on": {found: true, instance: &Instance{}, want: "invoke hello, acquire, run"},
	} {
		r := newReceiver(t)
		tr, _ := open(t, r.URL, 1, quick)
		inv := &lambent.Invocation{RequestID: "id"}
		call := tr.Begin(inv)
		if tt.found {
			call.Asked(inv, hello)
		}
		if tt.instance != nil {
			call.Got(*tt.instance)
		}
		call.End(tt.res, tt.err)
		if tt.found && call.size() != len(call.spans(tr)) {
			t.Errorf("%s: %d spans are counted as %d", name, len(call.spans(tr)), call.size())
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range r.spans {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, ", "); got != tt.want {
			t.Errorf("%s: spans %q, want %q", name, got, tt.want)
			continue
		}
		if tt.want != "" && attributes(r.spans[0].Attributes)["error.type"] != any(tt.kind) && tt.kind != "" {
			t.Errorf("%s: %v", name, r.spans[0])
		}
	}
}
