package telemetry

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	v := &lambent.Version{Namespace: "000000000000", Function: "hello", Runtime: "python3.12"}
	m.Running(1)
	m.ColdStarted(v.Runtime, lambent.OriginFork, []lambent.Stage{{Name: lambent.StageInit, Took: 3 * time.Millisecond}, {Name: lambent.StageInit, Took: time.Millisecond}})
	m.ColdStarted(v.Runtime, "", nil)
	m.Thawed(v.Runtime, 2*time.Millisecond)
	m.WatchFrozenMemory(func() int64 { return 4096 })
	m.WatchStarts(func() (uint64, float64) { return 7, 2.5 })
	m.AheadHit("provisioned")
	m.AheadWasted("alias", 128, 2*time.Second)
	m.WatchInstances(func() map[InstanceState]int { return map[InstanceState]int{InstanceStarting: 0, InstanceBusy: 1} })
	m.Invoked(v, &lambent.Result{Report: lambent.Report{Duration: 2 * time.Millisecond, Billed: 2 * time.Millisecond}})
	m.Invoked(v, &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout"})
	m.Invoked(v, &lambent.Result{FunctionError: "Unhandled", ErrorType: "whatever the function says"})
	m.Invoked(v, &lambent.Result{CallerGone: true, Report: lambent.Report{Streamed: 1000, FirstByte: 3 * time.Millisecond}})
	m.Throttled(v.Namespace, v.Function)
	m.Refused(lambent.CodeThrottled)
	text := scrape(t, m)
	for _, want := range []string{
		`lambent_invocations_total{function="hello",namespace="000000000000"} 4`,
		`lambent_streamed_bytes_total{end="left",function="hello",namespace="000000000000"} 1000`,
		`lambent_stream_first_byte_seconds_sum{runtime="python3.12"} 0.003`,
		`lambent_invocation_errors_total{function="hello",kind="timeout",namespace="000000000000"} 1`,
		`lambent_invocation_errors_total{function="hello",kind="handler",namespace="000000000000"} 1`,
		`lambent_throttles_total{function="hello",namespace="000000000000"} 1`,
		`lambent_refusals_total{code="throttled"} 1`,
		`lambent_invocations_running 1`,
		`lambent_cold_starts_total{origin="fork",runtime="python3.12"} 1`,
		`lambent_cold_starts_total{origin="failed",runtime="python3.12"} 1`,
		`lambent_cold_start_stage_seconds_count{runtime="python3.12",stage="network"} 1`,
		`lambent_thaw_seconds_sum{runtime="python3.12"} 0.002`,
		`lambent_frozen_memory_bytes 4096`,
		`lambent_starts_held_total 7`,
		`lambent_starts_per_second_allowed 2.5`,
		`lambent_started_ahead_total{outcome="hit",reason="provisioned"} 1`,
		`lambent_started_ahead_total{outcome="waste",reason="alias"} 1`,
		`lambent_started_ahead_wasted_megabyte_seconds_total{reason="alias"} 256`,
		`lambent_cold_start_stage_seconds_sum{runtime="python3.12",stage="init"} 0.004`,
		`lambent_instances{state="starting"} 0`,
		`lambent_instances{state="busy"} 1`,
		`lambent_invocation_duration_seconds_count{runtime="python3.12"} 4`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "whatever") {
		t.Error("a function's error type became a label")
	}
	m.Forget(v.Namespace, v.Function)
	if text := scrape(t, m); strings.Contains(text, `function="hello"`) {
		t.Errorf("still there:\n%s", text)
	}
}

func TestNilMetricsDoNothing(t *testing.T) {
	var m *Metrics
	m.Running(1)
	m.Invoked(nil, nil)
	m.Throttled("", "")
	m.Refused("")
	m.ColdStarted("", "", nil)
	m.Thawed("", 0)
	m.AheadHit("")
	m.AheadWasted("", 0, 0)
	m.Forget("", "")
}

func TestNewLogger(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hidden")
	log.Warn("shown", "fn", "hello")
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `"fn":"hello"`) {
		t.Errorf("logged %q", got)
	}
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}} {
		if _, err := NewLogger(&out, bad[0], bad[1]); err == nil {
			t.Errorf("accepted %v", bad)
		}
	}
}

func BenchmarkInvoked(b *testing.B) {
	m := NewMetrics()
	v := &lambent.Version{Namespace: "000000000000", Function: "hello", Runtime: "python3.12"}
	r := &lambent.Result{Report: lambent.Report{Duration: 2 * time.Millisecond, Billed: 2 * time.Millisecond}}
	b.ReportAllocs()
	for b.Loop() {
		m.Invoked(v, r)
	}
}
