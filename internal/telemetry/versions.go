package telemetry

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// VersionLoad is what is told of one version at a scrape. Its counts begin again when
// the version was not called for a while.
type VersionLoad struct {
	Namespace, Function, Version string

	Calls, Failed, Refused uint64
	Running                int
	P50, P99               time.Duration
	Ready, Wanted          int // instances
}

// WatchVersions lets each scrape ask what the versions do that are called now, of
// which there are far fewer than versions. It is called once.
func (m *Metrics) WatchVersions(all func() iter.Seq[VersionLoad]) {
	m.registry.MustRegister(versionCollector{all})
}

var (
	versionLabels    = []string{"namespace", "function", "version"}
	versionCalls     = prometheus.NewDesc("lambent_version_calls_total", "Calls of a version by what became of them: answered, failed or refused.", append(versionLabels[:3:3], "outcome"), nil)
	versionRunning   = prometheus.NewDesc("lambent_version_calls_running", "Calls of a version now, waiting ones included.", versionLabels, nil)
	versionTook      = prometheus.NewDesc("lambent_version_call_seconds", "Time of the calls of a version, waiting included, by quantile since it is called.", append(versionLabels[:3:3], "quantile"), nil)
	versionInstances = prometheus.NewDesc("lambent_version_instances", "Instances of a version: ready for calls, and wanted by the autoscaler.", append(versionLabels[:3:3], "state"), nil)
)

// versionCollector reads what the spine has measured instead of measuring again.
type versionCollector struct {
	all func() iter.Seq[VersionLoad]
}

func (versionCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{versionCalls, versionRunning, versionTook, versionInstances} {
		ch <- d
	}
}

func (c versionCollector) Collect(ch chan<- prometheus.Metric) {
	for v := range c.all() {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, more ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, value, append([]string{v.Namespace, v.Function, v.Version}, more...)...)
		}
		send(versionCalls, prometheus.CounterValue, float64(v.Calls-v.Failed), "answered")
		send(versionCalls, prometheus.CounterValue, float64(v.Failed), "failed")
		send(versionCalls, prometheus.CounterValue, float64(v.Refused), "refused")
		send(versionRunning, prometheus.GaugeValue, float64(v.Running))
		send(versionTook, prometheus.GaugeValue, v.P50.Seconds(), "0.5")
		send(versionTook, prometheus.GaugeValue, v.P99.Seconds(), "0.99")
		send(versionInstances, prometheus.GaugeValue, float64(v.Ready), "ready")
		send(versionInstances, prometheus.GaugeValue, float64(v.Wanted), "wanted")
	}
}
