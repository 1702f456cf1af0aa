package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// schedules are the metrics of what calls at set times.
type schedules struct {
	firings *prometheus.CounterVec
	late    prometheus.Histogram
}

// What becomes of a time of a schedule, as a metric's label.
const (
	FiringDone   = "done"   // the queue of asynchronous calls has it
	FiringFailed = "failed" // and will not have it
	FiringMissed = "missed" // no server was up until it was too old
)

func newSchedules(r *prometheus.Registry) *schedules {
	s := &schedules{
		firings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lambent_schedule_firings_total", Help: "Times of schedules by what became of them: done, when the queue of asynchronous calls has taken the call, failed, or missed."}, []string{"namespace", "outcome"}),
		late:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lambent_schedule_late_seconds", Help: "Time from when a schedule was due until the queue has taken its call.", Buckets: durationBuckets}),
	}
	r.MustRegister(s.firings, s.late)
	return s
}

// ScheduleFired records what became of a time of a schedule, so long after it.
func (m *Metrics) ScheduleFired(namespace, outcome string, late time.Duration) {
	if m == nil {
		return
	}
	m.schedules.firings.WithLabelValues(namespace, outcome).Inc()
	if outcome == FiringDone {
		m.schedules.late.Observe(max(late, 0).Seconds())
	}
}
