package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// events are the metrics of asynchronous calls.
type events struct {
	accepted *prometheus.CounterVec
	ended    *prometheus.CounterVec
	retried  *prometheus.CounterVec
	waited   prometheus.Histogram
	kept     *prometheus.CounterVec
}

func newEvents(r *prometheus.Registry) *events {
	e := &events{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lambent_events_accepted_total", Help: "Asynchronous calls that were kept."}, []string{"namespace", "function"}),
		ended:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lambent_events_ended_total", Help: "Asynchronous calls and records for destinations that have ended, by how."}, []string{"namespace", "function", "status"}),
		retried:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lambent_events_retried_total", Help: "Tries of asynchronous calls that are to be repeated: after an error, or because there was no room."}, []string{"namespace", "function", "reason"}),
		waited:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lambent_event_wait_seconds", Help: "Time from the acceptance of an asynchronous call to its first try.", Buckets: durationBuckets}),
		kept:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lambent_calls_kept_total", Help: "Synchronous calls that were to be kept: kept, dropped because there were too many, or failed."}, []string{"outcome"}),
	}
	r.MustRegister(e.accepted, e.ended, e.retried, e.waited, e.kept)
	return e
}

// EventAccepted records an asynchronous call that was kept.
func (m *Metrics) EventAccepted(namespace, function string) {
	if m != nil {
		m.events.accepted.WithLabelValues(namespace, function).Inc()
	}
}

// EventStarted records the first try of an asynchronous call, so long after it was
// accepted.
func (m *Metrics) EventStarted(after time.Duration) {
	if m != nil {
		m.events.waited.Observe(max(after, 0).Seconds())
	}
}

// EventRetried records a try that will be repeated, for a reason: error or no_room.
func (m *Metrics) EventRetried(namespace, function, reason string) {
	if m != nil {
		m.events.retried.WithLabelValues(namespace, function, reason).Inc()
	}
}

// EventEnded records the end of an asynchronous call.
func (m *Metrics) EventEnded(namespace, function, status string) {
	if m != nil {
		m.events.ended.WithLabelValues(namespace, function, status).Inc()
	}
}

// CallsKept records synchronous calls that were to be kept, by outcome: kept,
// dropped or failed.
func (m *Metrics) CallsKept(outcome string, n int) {
	if m != nil && n > 0 {
		m.events.kept.WithLabelValues(outcome).Add(float64(n))
	}
}

// EventCounts are what there is of asynchronous calls at a moment.
type EventCounts struct {
	Waiting, Running int
	Oldest           time.Duration // of those that wait, since the one was pushed, or was due, that has waited longest
}

// WatchEvents has the metrics ask for counts when they are read.
func (m *Metrics) WatchEvents(counts func() EventCounts) {
	gauge := func(name, help string, value func(EventCounts) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(counts()) }))
	}
	gauge("lambent_events_waiting", "Asynchronous calls that wait.", func(c EventCounts) float64 { return float64(c.Waiting) })
	gauge("lambent_events_running", "Asynchronous calls that run.", func(c EventCounts) float64 { return float64(c.Running) })
	gauge("lambent_events_oldest_seconds", "How long the asynchronous call has waited that has waited longest; one with a start time waits from then on.", func(c EventCounts) float64 { return c.Oldest.Seconds() })
}
