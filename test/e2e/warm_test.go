package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// until waits for a condition of the server.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	began := time.Now()
	defer func() { t.Logf("%s after %v", what, time.Since(began)) }()
	for deadline := time.Now().Add(2 * time.Minute); !met(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func report(t *testing.T, out *lambda.InvokeOutput) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(tail(t, out)), "\n")
	return lines[len(lines)-1]
}

var (
	coldReport = regexp.MustCompile(`\tInit Duration: (\d+\.\d\d) ms\tCold Start: (start|blank|fork) ` +
		`sandbox=(\d+\.\d\d) code=(\d+\.\d\d) files=(\d+\.\d\d) network=(\d+\.\d\d) runtime=(\d+\.\d\d) init=(\d+\.\d\d) ms$`)
	thawReport = regexp.MustCompile(`\tThaw: \d+\.\d\d ms$`)
)

// TestColdStartIsToldInSixStages compares what REPORT says with the clock.
func TestColdStartIsToldInSixStages(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "slow", Env: map[string]string{"AT_INIT": "slow"}})
	began := time.Now()
	line := report(t, s.Invoke(t, "slow", `{"do":"echo"}`))
	took := float64(time.Since(began)) / float64(time.Millisecond)
	m := coldReport.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("report %q", line)
	}
	var sum float64
	for _, text := range m[3:] {
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += ms
	}
	if m[1] != m[8] || sum < 200 || sum > took {
		t.Errorf("the stages are %.2f ms of a call of %.2f ms: %q", sum, took, line)
	}
	for _, name := range []string{"sandbox", "code"} {
		if strings.Contains(line, name+"=0.00 ") {
			t.Errorf("no time for %s: %q", name, line)
		}
	}
	if again := report(t, s.Invoke(t, "slow", `{"do":"echo"}`)); strings.Contains(again, "Cold Start") || strings.Contains(again, "Init Duration") {
		t.Errorf("the second call reports %q", again)
	}
	out, stderr, err := s.CLI("", "coldstart", "slow")
	if err != nil || !strings.Contains(out, "init") {
		t.Errorf("lambent coldstart: %v\n%s%s", err, out, stderr)
	}
}

// shelved tells whether the server has a frozen instance to wake.
func shelved(t *testing.T, s *harness.Server) bool {
	t.Helper()
	got := ask(t, http.DefaultClient, newRequest(t, "GET", s.API+"/metrics", ""))
	m := regexp.MustCompile(`(?m)^lambent_frozen_memory_bytes (\S+)$`).FindStringSubmatch(got.body)
	if m == nil {
		t.Fatalf("the metrics do not tell of frozen memory: %.300s", got.body)
	}
	return m[1] != "0"
}

// TestHibernation puts a function to sleep whose start is dear, and wakes it.
func TestHibernation(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{
		"LAMBENT_INSTANCES_HIBERNATE_INIT=100ms", "LAMBENT_INSTANCES_HIBERNATE_AFTER=1s"}})
	deployProbe(t, s, harness.Function{Name: "dear", Env: map[string]string{"AT_INIT": "slow"}})
	asleep := func() bool {
		for _, group := range s.Instances() {
			state, err := os.ReadFile(filepath.Join(strings.Replace(group, "/memory/", "/freezer/", 1), "freezer.state"))
			if err != nil {
				state, err = os.ReadFile(filepath.Join(group, "cgroup.freeze"))
			}
			if text := strings.TrimSpace(string(state)); err == nil && (text == "FROZEN" || text == "1") {
				return shelved(t, s) // else its memory is still being pushed out, and a call starts another one
			}
		}
		return false
	}
	count := func(want string) string {
		t.Helper()
		out := s.Invoke(t, "dear", `{"do":"count"}`)
		if got := string(out.Payload); !strings.HasPrefix(got, `"count `+want) {
			t.Errorf("payload %s, want count %s of the process", got, want)
		}
		return report(t, out)
	}
	count("1")
	until(t, "the instance is frozen", asleep)
	if line := count("2"); !thawReport.MatchString(line) {
		t.Errorf("the call that woke it reports %q", line)
	}
	if line := count("3"); thawReport.MatchString(line) {
		t.Errorf("the next call reports %q", line)
	}
	// One that dies in its sleep costs a cold start and nothing else.
	until(t, "the instance is frozen again", asleep)
	for _, group := range s.Instances() {
		text, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		for pid := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(pid); err == nil {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	}
	if line := count("1"); !coldReport.MatchString(line) {
		t.Errorf("after a death in its sleep: %q", line)
	}
	// A server that stops ends what is frozen.
	until(t, "the instance is frozen once more", asleep)
	s.Stop()
	if left := s.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestKeptInstances goes through an update of a function with min instances, and
// through a restart with provisioned concurrency.
func TestKeptInstances(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "kept", Env: map[string]string{"AT_INIT": "slow"}})
	if out, stderr, err := s.CLI("", "set", "kept", "min-instances=2"); err != nil {
		t.Fatalf("lambent set: %v\n%s%s", err, out, stderr)
	}
	until(t, "two instances are there", func() bool { return len(s.Instances()) == 2 })
	before := s.Instances()
	ctx := context.Background()
	if _, err := s.Lambda().UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: aws.String("kept"), Environment: &types.Environment{Variables: map[string]string{"AT_INIT": "slow", "NEW": "1"}}}); err != nil {
		t.Fatal(err)
	}
	until(t, "both are new", func() bool {
		now := s.Instances()
		for _, old := range before {
			for _, group := range now {
				if old == group {
					return false
				}
			}
		}
		return len(now) == 2
	})
	until(t, "a call is warm", func() bool { return !strings.Contains(report(t, s.Invoke(t, "kept", `{"do":"echo"}`)), "Cold Start") })
	if out, stderr, err := s.CLI("", "set", "kept", "min-instances=0"); err != nil {
		t.Fatalf("lambent set: %v\n%s%s", err, out, stderr)
	}
	v, err := s.Lambda().PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: aws.String("kept")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lambda().PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: aws.String("kept"), Qualifier: v.Version, ProvisionedConcurrentExecutions: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	ready := func() bool {
		p, err := s.Lambda().GetProvisionedConcurrencyConfig(ctx, &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: aws.String("kept"), Qualifier: v.Version})
		return err == nil && p.Status == types.ProvisionedConcurrencyStatusEnumReady && *p.AvailableProvisionedConcurrentExecutions == 1
	}
	until(t, "it is provisioned", ready)
	s.Restart()
	until(t, "it is provisioned after a restart", ready)
	if line := report(t, s.Invoke(t, "kept:"+*v.Version, `{"do":"echo"}`)); strings.Contains(line, "Cold Start") || !strings.Contains(line, "Init Duration") {
		t.Errorf("a provisioned call reports %q", line)
	}
}
