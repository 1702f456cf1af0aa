package pool

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/sandbox/fake"
	"lambent.dev/lambent/internal/telemetry"
)

// An instance is started a little before a call that is known to come, and does not
// stay when the call does not come.
func TestExpect(t *testing.T) {
	m := telemetry.NewMetrics()
	inPool(t, scripted{init: time.Second}, func(o *Options) { o.Metrics = m }, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		// look asks once in a second, as the scale room does.
		look := func(at time.Time, until time.Time) {
			for ; time.Now().Before(until); time.Sleep(time.Second) {
				p.Expect(v, at)
			}
		}
		at := time.Now().Add(20 * time.Second)
		look(at, at.Add(-6*time.Second))
		if n := d.Starts(); n != 0 {
			t.Errorf("%d starts long before the call", n)
		}
		look(at, at)
		if call(t, p, v) || d.Starts() != 1 {
			t.Errorf("the call is cold, or there were %d starts", d.Starts())
		}
		p.Retire(v.Namespace, v.Function, "")
		// What is known now is that a start takes a second.
		at = time.Now().Add(20 * time.Second)
		look(at, at.Add(-4*time.Second))
		if n := d.Starts(); n != 1 {
			t.Errorf("%d starts too early", n)
		}
		look(at, at)
		if n := d.Starts(); n != 2 {
			t.Errorf("%d starts before the second call", n)
		}
		time.Sleep(expectGrace + 2*time.Second)
		synctest.Wait()
		if n := p.Stats().Idle; n != 0 {
			t.Errorf("%d instances wait for a call that has not come", n)
		}
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for _, want := range []string{
			`lambent_started_ahead_total{outcome="hit",reason="timer"} 1`, `lambent_started_ahead_total{outcome="waste",reason="timer"} 1`,
		} {
			if !strings.Contains(w.Body.String(), want+"\n") {
				t.Errorf("no %s in the metrics", want)
			}
		}
	})
}
