package telemetry

import (
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVersionsAreScraped(t *testing.T) {
	m := NewMetrics()
	m.WatchVersions(func() iter.Seq[VersionLoad] {
		return slices.Values([]VersionLoad{{Namespace: "0", Function: "f", Version: "7", Calls: 10, Failed: 2, Running: 3, P99: time.Second, Ready: 4, Wanted: 5}})
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`lambent_version_calls_total{function="f",namespace="0",outcome="answered",version="7"} 8`,
		`lambent_version_calls_running{function="f",namespace="0",version="7"} 3`,
		`lambent_version_call_seconds{function="f",namespace="0",quantile="0.99",version="7"} 1`,
		`lambent_version_instances{function="f",namespace="0",state="wanted",version="7"} 5`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
}
