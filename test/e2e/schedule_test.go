package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/test/harness"
)

// TestScheduleIsKeptAndWarm has one schedule find its instance ready, and another one
// call once although the server is killed before its time.
func TestScheduleIsKeptAndWarm(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "slow", Env: map[string]string{"AT_INIT": "slow"}})
	schedule := func(name string, in time.Duration) {
		t.Helper()
		at := time.Now().UTC().Add(in).Format("at(2006-01-02T15:04:05)")
		if _, stderr, err := s.CLI("", "schedule", "create", name, "--function", "slow", "--at", at, "--input", `{"do":"echo"}`); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
	}
	// succeeded counts the calls that have ended well.
	succeeded := func() int {
		t.Helper()
		stdout, stderr, err := s.CLI("", "invocations", "list", "slow", "--status", "succeeded", "--json")
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		var list []client.Call
		if err := json.Unmarshal([]byte(stdout), &list); err != nil {
			t.Fatalf("%v in %s", err, stdout)
		}
		return len(list)
	}
	schedule("warm", 5*time.Second)
	comesTrue(t, 30*time.Second, "the schedule has called", func() bool { return succeeded() == 1 })
	res, err := http.Get(s.API + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // only read from
	for _, want := range []string{
		`lambent_started_ahead_total{outcome="hit",reason="timer"} 1`, `lambent_schedule_firings_total{namespace="000000000000",outcome="done"} 1`,
	} {
		if err != nil || !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %s in the metrics: %v", want, err)
		}
	}

	schedule("kept", 2*time.Second)
	s.Kill()
	time.Sleep(2 * time.Second)
	if err := s.Launch(); err != nil {
		t.Fatalf("start again: %v\n%s", err, s.Stderr())
	}
	comesTrue(t, 30*time.Second, "the schedule has called after all", func() bool { return succeeded() == 2 })
	s.Restart()
	time.Sleep(time.Second)
	if n := succeeded(); n != 2 {
		t.Errorf("%d calls, want one for each schedule", n)
	}
}
