package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// tally counts what became of requests.
type tally struct {
	sent, answered, killed atomic.Int64

	mu     sync.Mutex // guards failed
	failed map[string]int
}

func (c *tally) fail(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[string]int{}
	}
	c.failed[why]++
}

// steady sends requests at a fixed rate, whatever becomes of them, until ctx ends,
// and waits for all of them.
func steady(ctx context.Context, every time.Duration, send func(n int64)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var wg sync.WaitGroup
	for n := int64(0); ; n++ {
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case <-tick.C:
			wg.Go(func() { send(n) })
		}
	}
}

// invoking sends numbered invocations and wants each one's number back.
func (c *tally) invoking(s *harness.Server) func(int64) {
	client := s.Lambda()
	return func(n int64) {
		c.sent.Add(1)
		payload := fmt.Sprintf(`{"do":"echo","n":%d}`, n)
		out, err := client.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("probe"), Payload: []byte(payload)})
		switch {
		case err != nil:
			c.fail("invoke: " + err.Error())
		case out.FunctionError != nil && strings.Contains(string(out.Payload), "signal: killed"):
			c.killed.Add(1)
		case out.FunctionError != nil || string(out.Payload) != payload:
			c.fail("invoke: answer " + string(out.Payload))
		default:
			c.answered.Add(1)
		}
	}
}

// asking does the same through the function's URL.
func (c *tally) asking(client *http.Client, address string) func(int64) {
	return func(n int64) {
		c.sent.Add(1)
		resp, err := client.Post(address, "application/json", strings.NewReader(fmt.Sprintf(`{"n":%d}`, n)))
		if err != nil {
			c.fail("url: " + err.Error())
			return
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		switch {
		case err != nil:
			c.fail("url: read answer: " + err.Error())
		case resp.StatusCode == http.StatusBadGateway:
			c.killed.Add(1)
		case resp.StatusCode != http.StatusOK || !strings.Contains(string(body), fmt.Sprintf(`{\"n\":%d}`, n)):
			c.fail(fmt.Sprintf("url: %d %s", resp.StatusCode, body))
		default:
			c.answered.Add(1)
		}
	}
}

// TestReplacedUnderLoad has the server replaced while requests come at a fixed
// rate: each is answered. With LAMBENT_TEST_SOAK it is ten replacements, for longer, and
// every second an instance is killed, whose call alone may fail. LAMBENT_TEST_SOAK_RATE
// is how many requests are sent in a second then, and LAMBENT_TEST_SOAK_TIME how long: an
// hour's worth at 100 is sent with 300 and 20m.
func TestReplacedUnderLoad(t *testing.T) {
	replacements, apart, killing, rate := 3, 1500*time.Millisecond, false, 100
	if os.Getenv("LAMBENT_TEST_SOAK") != "" {
		replacements, apart, killing = 10, 20*time.Second, true
		if n, err := strconv.Atoi(os.Getenv("LAMBENT_TEST_SOAK_RATE")); err == nil {
			rate = n
		}
		if d, err := time.ParseDuration(os.Getenv("LAMBENT_TEST_SOAK_TIME")); err == nil {
			apart = d / time.Duration(replacements+1)
		}
	}
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "probe", Timeout: 10})
	address := makeURL(t, s, &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("probe"), AuthType: types.FunctionUrlAuthTypeNone})
	if _, err := s.Lambda().AddPermission(t.Context(), &lambda.AddPermissionInput{
		FunctionName: aws.String("probe"), StatementId: aws.String("open"), Action: aws.String("lambda:InvokeFunctionUrl"),
		Principal: aws.String("*"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone,
	}); err != nil {
		t.Fatal(err)
	}

	var c tally
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { steady(ctx, 2*time.Second/time.Duration(rate), c.invoking(s)) })
	load.Go(func() { steady(ctx, 2*time.Second/time.Duration(rate), c.asking(toGateway(t, s), address)) })
	kills := 0
	if killing {
		load.Go(func() { kills = killInstances(ctx, s) })
	}
	pid := s.PID()
	for i := range replacements {
		time.Sleep(apart)
		out, stderr, err := s.CLI("", "replace")
		if err != nil {
			t.Fatalf("replacement %d: %v\n%s%s\n%s", i+1, err, out, stderr, s.Stderr())
		}
		t.Logf("%s", strings.TrimSpace(out))
	}
	time.Sleep(apart)
	stop()
	load.Wait()
	t.Logf("%d requests sent, %d answered; %d instances killed, which cost %d requests; failed otherwise: %v",
		c.sent.Load(), c.answered.Load(), kills, c.killed.Load(), c.failed)
	if len(c.failed) > 0 || c.killed.Load() > int64(kills) {
		t.Errorf("requests failed for want of a server: %v", c.failed)
	}
	if c.sent.Load() != c.answered.Load()+c.killed.Load() || c.sent.Load() < 100 {
		t.Errorf("%d requests are not accounted for", c.sent.Load()-c.answered.Load()-c.killed.Load())
	}
	if s.PID() != pid {
		t.Error("the server is another process")
	}
}

// killInstances ends an instance each second, and tells how many it has ended.
func killInstances(ctx context.Context, s *harness.Server) (n int) {
	for {
		select {
		case <-ctx.Done():
			return n
		case <-time.After(time.Second):
		}
		pids := s.Processes()
		if len(pids) > 0 && syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL) == nil {
			n++
		}
	}
}

// TestReplacedRemembers: what a server has learned from calls its successor knows.
func TestReplacedRemembers(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "probe"})
	const calls = 4
	for range calls {
		s.Invoke(t, "probe", `{"do":"echo"}`)
		time.Sleep(5 * time.Millisecond) // calls of one moment count as one
	}
	seen := func() int {
		t.Helper()
		var file struct {
			Learned []struct {
				Function string
				Calls    int
			}
		}
		b, err := os.ReadFile(filepath.Join(s.Data, "learned.json"))
		if err != nil || json.Unmarshal(b, &file) != nil {
			t.Fatalf("learned: %s, %v", b, err)
		}
		for _, l := range file.Learned {
			if l.Function == "probe" {
				return l.Calls
			}
		}
		return 0
	}
	for n, more := range []int{0, 0, 1} { // the second one has it from the first, and a third goes on from there
		for range more {
			s.Invoke(t, "probe", `{"do":"echo"}`)
		}
		if out, stderr, err := s.CLI("", "replace"); err != nil {
			t.Fatalf("%v\n%s%s", err, out, stderr)
		}
		if got := seen(); got != calls+more {
			t.Errorf("after %d replacements %d calls are known, want %d", n+1, got, calls+more)
		}
	}
}

// TestBrokenSuccessorIsNotStarted keeps the old server when the new one would not
// accept the configuration.
func TestBrokenSuccessorIsNotStarted(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: "instances:\n  idle: 1m\n"})
	deployProbe(t, s, harness.Function{Name: "probe"})
	if err := os.WriteFile(s.Data+"/lambent.yaml", []byte("instances:\n  idle: never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	until(t, "the wish is refused", func() bool { return strings.Contains(s.Stderr(), "the server is not replaced") })
	s.Invoke(t, "probe", `{"do":"echo"}`)
	if err := os.WriteFile(s.Data+"/lambent.yaml", []byte("instances:\n  idle: 2m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, stderr, err := s.CLI("", "replace"); err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr)
	}
	s.Invoke(t, "probe", `{"do":"echo"}`)
}

// TestRunningCallOutlivesItsServer lets a call that runs finish before the server
// is replaced, and those that come meanwhile wait.
func TestRunningCallOutlivesItsServer(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "probe", Timeout: 10})
	long := make(chan error, 1)
	go func() {
		out, err := s.TryInvoke("probe", `{"do":"sleep","n":3000}`)
		if err == nil && out.FunctionError != nil {
			err = fmt.Errorf("%s", out.Payload)
		}
		long <- err
	}()
	time.Sleep(300 * time.Millisecond)
	if err := syscall.Kill(s.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // nobody accepts now
	s.Invoke(t, "probe", `{"do":"echo"}`)
	select {
	case err := <-long:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("a new server answered before the old one was done")
	}
}

// TestSuccessorThatHasGone starts the old program again where the new one was there when
// it was looked at, and is not when the last call is over.
func TestSuccessorThatHasGone(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lambent")
	text, err := os.ReadFile(harness.Binary(t))
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Under: []string{"sh", "-c", `shift; exec "$0" "$@"`, program}})
	deployProbe(t, s, harness.Function{Name: "probe", Timeout: 10})
	long := make(chan error, 1)
	go func() {
		_, err := s.TryInvoke("probe", `{"do":"sleep","n":3000}`)
		long <- err
	}() // waited for below
	time.Sleep(300 * time.Millisecond)
	if err := syscall.Kill(s.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	until(t, "the new program has been looked at", func() bool { return strings.Contains(s.Stderr(), "the server is replaced") })
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	s.Invoke(t, "probe", `{"do":"echo"}`)
	if err := <-long; err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.Stderr(), "the present one is started again") {
		t.Errorf("it was not:\n%s", s.Stderr())
	}
}

// TestOlderSuccessorIsNotStarted keeps the server where the other program could not read
// its data directory.
func TestOlderSuccessorIsNotStarted(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "probe"})
	if err := os.WriteFile(s.Data+"/format", []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	until(t, "the wish is refused", func() bool { return strings.Contains(s.Stderr(), "the server is not replaced") })
	s.Invoke(t, "probe", `{"do":"echo"}`)
}
