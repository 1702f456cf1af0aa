package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// TestOverload has more calls that keep a processor busy than there are processors
// for: further instances come slowly, calls of another function are answered, and
// nothing is killed. Who waits too long is refused as by AWS.
func TestOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("keeps all processors busy for ten seconds")
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Skip("the kernel does not tell how busy processors are")
	}
	if n := bytes.Count(stat, []byte("\ncpu")); n != runtime.NumCPU() || n > 8 {
		t.Skipf("the host has %d processors, of which this test can keep %d busy", n, min(8, runtime.NumCPU()))
	}
	s := harness.Start(t, harness.Options{Args: []string{"--set", "instances.memory=1TiB"}})
	deployProbe(t, s, harness.Function{Name: "busy", Memory: 512, Timeout: 120})
	deployProbe(t, s, harness.Function{Name: "steady", Memory: 512, Timeout: 120})
	wantPayload(t, s.Invoke(t, "steady", `{"do":"echo"}`), `{"do":"echo"}`)

	client := lambda.New(s.Lambda().Options(), func(o *lambda.Options) { o.RetryMaxAttempts = 1 })
	var done, refused atomic.Int64
	call := func(name, event, want string) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(event)})
		var many *types.TooManyRequestsException
		switch {
		case errors.As(err, &many) && name == "busy":
			refused.Add(1)
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case out.FunctionError != nil || string(out.Payload) != want:
			t.Errorf("%s: %s %s", name, *out.FunctionError, out.Payload)
		default:
			done.Add(1)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	load.Go(func() {
		every := time.Second / time.Duration(6*runtime.NumCPU())
		steady(ctx, every, func(int64) { call("busy", `{"do":"busy","n":6000}`, `"busy"`) })
	})
	load.Go(func() {
		steady(ctx, 200*time.Millisecond, func(int64) { call("steady", `{"do":"echo"}`, `{"do":"echo"}`) })
	})
	defer func() {
		if t.Failed() {
			why, errs, err := s.CLI("", "scale", "why", "busy")
			now, _ := os.ReadFile("/proc/stat")
			t.Logf("why: %s %s %v\nthe processors before and after:\n%.400s\n%.400s", why, errs, err, stat, now)
		}
	}()
	comesTrue(t, 20*time.Second, "starts are slowed", func() bool { return metric(t, s, "lambent_starts_held_total") > 0 })
	time.AfterFunc(2*time.Second, stop) // of calls that come while they are
	load.Wait()
	why, errs, err := s.CLI("", "scale", "why", "busy")
	if told := why + errs; err != nil || !regexp.MustCompile(`starts had to wait [0-9]+ times.*per second: `).MatchString(told) {
		t.Errorf("why: %s, %v", told, err)
	}
	t.Logf("%d calls answered, %d refused, %.0f starts held; %s", done.Load(), refused.Load(), metric(t, s, "lambent_starts_held_total"), errs)
	comesTrue(t, 20*time.Second, "starts are at full speed again", func() bool { return metric(t, s, "lambent_starts_per_second_allowed") == 0 })
}

// metric is a figure without labels, as the server tells it.
func metric(t *testing.T, s *harness.Server, name string) (value float64) {
	t.Helper()
	res, err := http.Get(s.API + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
