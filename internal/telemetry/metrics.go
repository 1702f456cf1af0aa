package telemetry

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lambent.dev/lambent"
)

// Metrics is every metric of the platform. Its methods may be called from any
// goroutine, cost a map lookup each, and do nothing on a nil *Metrics.
type Metrics struct {
	registry    *prometheus.Registry
	invocations *prometheus.CounterVec
	errors      *prometheus.CounterVec
	throttles   *prometheus.CounterVec
	refusals    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	extensions  *prometheus.HistogramVec
	firstBytes  *prometheus.HistogramVec
	streamed    *prometheus.CounterVec
	billed      *prometheus.CounterVec
	running     prometheus.Gauge
	coldStarts  *prometheus.CounterVec
	stages      *prometheus.HistogramVec
	thaws       *prometheus.HistogramVec
	ahead       *prometheus.CounterVec
	wasted      *prometheus.CounterVec
	spans       *prometheus.CounterVec
	events      *events
	schedules   *schedules
}

// The buckets are in seconds. Warm calls sit at the low end of the first, the
// longest timeout at the end; cold start stages begin at a tenth of a millisecond.
var (
	durationBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}
	firstByteBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}
	stageBuckets     = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
)

// NewMetrics makes the registry and every metric in it, with those of the Go
// runtime and of the process.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		invocations: counter("lambent_invocations_total", "Invocations that reached the function.", "namespace", "function"),
		errors:      counter("lambent_invocation_errors_total", "Invocations that ended in a function error, by kind.", "namespace", "function", "kind"),
		throttles:   counter("lambent_throttles_total", "Invocations refused by a concurrency or rate limit.", "namespace", "function"),
		refusals:    counter("lambent_refusals_total", "Invocations that did not reach a function, by error code.", "code"),
		durations:   histogram("lambent_invocation_duration_seconds", "Time from the hand-over of the event to the answer, or until extensions were through.", durationBuckets, "runtime"),
		extensions:  histogram("lambent_extensions_duration_seconds", "Time that extensions took after the runtime was through, where they did.", durationBuckets, "runtime"),
		firstBytes:  histogram("lambent_stream_first_byte_seconds", "Time from the hand-over of the event to the first byte of a streamed answer.", firstByteBuckets, "runtime"),
		streamed:    counter("lambent_streamed_bytes_total", "Bytes of streamed answers, by how those ended: whole, error, or left by the caller.", "namespace", "function", "end"),
		billed:      counter("lambent_billed_seconds_total", "Billed duration.", "namespace", "function"),
		running:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "lambent_invocations_running", Help: "Invocations inside the platform now."}),
		coldStarts:  counter("lambent_cold_starts_total", "Instances started, by where their process came from: start, blank, fork, module, or failed.", "runtime", "origin"),
		stages:      histogram("lambent_cold_start_stage_seconds", "Time of each stage of a cold start.", stageBuckets, "runtime", "stage"),
		thaws:       histogram("lambent_thaw_seconds", "Time to wake a frozen instance for a call.", stageBuckets, "runtime"),
		ahead:       counter("lambent_started_ahead_total", "Instances made ready ahead of a call, by the reason for it and by whether a call has used them: hit or waste.", "reason", "outcome"),
		wasted:      counter("lambent_started_ahead_wasted_megabyte_seconds_total", "Memory held by instances that were made ready ahead and never used.", "reason"),
		spans:       counter("lambent_trace_spans_total", "Spans of traces by what became of them: sent, or dropped because of queue_full or refused by the receiver.", "outcome"),
	}
	m.registry.MustRegister(
		m.invocations, m.errors, m.throttles, m.refusals, m.durations, m.extensions, m.firstBytes, m.streamed, m.billed,
		m.running, m.coldStarts, m.stages, m.thaws, m.ahead, m.wasted, m.spans,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.events = newEvents(m.registry)
	m.schedules = newSchedules(m.registry)
	return m
}

// Handler answers GET /metrics in the Prometheus text formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Running adds delta to the number of invocations inside the platform: +1 when
// one is admitted, -1 when it is over.
func (m *Metrics) Running(delta int) {
	if m != nil {
		m.running.Add(float64(delta))
	}
}

// Invoked records an invocation that reached the function.
func (m *Metrics) Invoked(v *lambent.Version, r *lambent.Result) {
	if m == nil {
		return
	}
	m.invocations.WithLabelValues(v.Namespace, v.Function).Inc()
	m.durations.WithLabelValues(v.Runtime).Observe(r.Report.Duration.Seconds())
	m.billed.WithLabelValues(v.Namespace, v.Function).Add(r.Report.Billed.Seconds())
	if r.Report.Extensions > 0 {
		m.extensions.WithLabelValues(v.Runtime).Observe(r.Report.Extensions.Seconds())
	}
	if r.FunctionError != "" {
		m.errors.WithLabelValues(v.Namespace, v.Function, errorKind(r.ErrorType)).Inc()
	}
	if r.Report.Streamed > 0 {
		m.firstBytes.WithLabelValues(v.Runtime).Observe(r.Report.FirstByte.Seconds())
		m.streamed.WithLabelValues(v.Namespace, v.Function, streamEnd(r)).Add(float64(r.Report.Streamed))
	}
}

func streamEnd(r *lambent.Result) string {
	switch {
	case r.FunctionError != "":
		return "error"
	case r.CallerGone:
		return "left"
	}
	return "whole"
}

// Forwarded records a request that was passed to an application; took lasts to the
// end of its answer, broken tells that it did not come to that.
func (m *Metrics) Forwarded(v *lambent.Version, took time.Duration, broken bool) {
	if m == nil {
		return
	}
	m.invocations.WithLabelValues(v.Namespace, v.Function).Inc()
	m.durations.WithLabelValues(v.Runtime).Observe(took.Seconds())
	if broken {
		m.errors.WithLabelValues(v.Namespace, v.Function, errorKind("")).Inc()
	}
}

// ForwardFailed records a request to an application that failed to start.
func (m *Metrics) ForwardFailed(v *lambent.Version, errorType string) {
	if m != nil {
		m.errors.WithLabelValues(v.Namespace, v.Function, errorKind(errorType)).Inc()
	}
}

// Throttled records an invocation that a limit refused. The function must exist.
func (m *Metrics) Throttled(namespace, function string) {
	if m != nil {
		m.throttles.WithLabelValues(namespace, function).Inc()
	}
}

// Refused records an invocation that did not reach a function, for any reason.
func (m *Metrics) Refused(code lambent.Code) {
	if m != nil {
		m.refusals.WithLabelValues(string(code)).Inc()
	}
}

// ColdStarted records the start of an instance: each stage once, with the sum of
// its spans. A start that failed has no origin and counts no stages.
func (m *Metrics) ColdStarted(runtime string, origin lambent.Origin, spans []lambent.Stage) {
	if m == nil {
		return
	}
	if origin == "" {
		m.coldStarts.WithLabelValues(runtime, "failed").Inc()
		return
	}
	m.coldStarts.WithLabelValues(runtime, string(origin)).Inc()
	names := lambent.Stages()
	for i, took := range lambent.StageTimes(spans) {
		m.stages.WithLabelValues(runtime, names[i]).Observe(took.Seconds())
	}
}

// Thawed records that a frozen instance was woken.
func (m *Metrics) Thawed(runtime string, took time.Duration) {
	if m != nil {
		m.thaws.WithLabelValues(runtime).Observe(took.Seconds())
	}
}

// AheadHit records that a call has used an instance that was made ready ahead.
func (m *Metrics) AheadHit(reason string) {
	if m != nil {
		m.ahead.WithLabelValues(reason, "hit").Inc()
	}
}

// AheadWasted records that an instance which was made ready ahead ended unused,
// after it held memoryMB for that long.
func (m *Metrics) AheadWasted(reason string, memoryMB int, held time.Duration) {
	if m != nil {
		m.ahead.WithLabelValues(reason, "waste").Inc()
		m.wasted.WithLabelValues(reason).Add(float64(memoryMB) * held.Seconds())
	}
}

// spansSent records what became of the spans of traces.
func (m *Metrics) spansSent(outcome string, n int) {
	if m != nil {
		m.spans.WithLabelValues(outcome).Add(float64(n))
	}
}

// InstanceState is what an instance does, as a metric's label.
type InstanceState string

// The states.
const (
	InstanceStarting InstanceState = "starting"
	InstanceBusy     InstanceState = "busy"
	InstanceIdle     InstanceState = "idle"
	InstanceFrozen   InstanceState = "frozen"
)

// WatchInstances lets each scrape ask count how many instances are in which
// state. It is called once.
func (m *Metrics) WatchInstances(count func() map[InstanceState]int) {
	m.registry.MustRegister(instanceCollector{count})
}

// WatchFrozenMemory lets each scrape ask how many bytes of RAM the frozen
// instances hold. It is called once.
func (m *Metrics) WatchFrozenMemory(bytes func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lambent_frozen_memory_bytes", Help: "RAM that instances in hibernation hold.",
	}, func() float64 { return float64(bytes()) }))
}

// WatchStarts lets each scrape ask how many starts for calls had to wait because
// processors were short, and to how many in a second they are held now, 0 for none.
// It is called once.
func (m *Metrics) WatchStarts(starts func() (held uint64, perSecond float64)) {
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "lambent_starts_held_total", Help: "Starts of instances for calls that had to wait because the host's processors were short.",
		}, func() float64 { held, _ := starts(); return float64(held) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lambent_starts_per_second_allowed", Help: "Starts of instances per second that calls are held to while the host's processors are short; 0 while they are not.",
		}, func() float64 { _, rate := starts(); return rate }),
	)
}

var instancesDesc = prometheus.NewDesc("lambent_instances", "Live instances by state.", []string{"state"}, nil)

// instanceCollector reads the pool's own count instead of keeping a second one.
type instanceCollector struct {
	count func() map[InstanceState]int
}

func (instanceCollector) Describe(ch chan<- *prometheus.Desc) { ch <- instancesDesc }

func (c instanceCollector) Collect(ch chan<- prometheus.Metric) {
	for state, n := range c.count() {
		ch <- prometheus.MustNewConstMetric(instancesDesc, prometheus.GaugeValue, float64(n), string(state))
	}
}

// Forget drops the series of a deleted function, so that names that come and go
// do not fill the memory.
func (m *Metrics) Forget(namespace, function string) {
	if m == nil {
		return
	}
	labels := prometheus.Labels{"namespace": namespace, "function": function}
	for _, v := range []*prometheus.CounterVec{m.invocations, m.errors, m.throttles, m.billed, m.streamed, m.events.accepted, m.events.ended, m.events.retried} {
		v.DeletePartialMatch(labels)
	}
}

// errorKind folds an error's type, which the function's code may choose, into a
// short list.
func errorKind(errorType string) string {
	switch errorType {
	case "Sandbox.Timedout":
		return "timeout"
	case "Runtime.ExitError":
		return "exit"
	case "Runtime.OutOfMemory":
		return "memory"
	case "Function.ResponseSizeTooLarge":
		return "response_size"
	}
	if strings.HasPrefix(errorType, "Runtime.") {
		return "runtime"
	}
	return "handler"
}
