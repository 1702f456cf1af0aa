package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// TestTooFewTasks has more calls than there are processes and threads for: the server,
// which would end if it got no thread, refuses what is too much and says why.
func TestTooFewTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("calls wait for ten seconds")
	}
	const most, calls = 200, 60
	name := fmt.Sprintf("lambent-tasks-%d", os.Getpid())
	group := filepath.Join("/sys/fs/cgroup/pids", name)
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("no groups that bound tasks: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(group, "pids.max"), []byte(strconv.Itoa(most)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{
		Under: []string{"/bin/sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, group},
		Env:   []string{"LAMBENT_SANDBOX_CGROUP_ROOT=" + name, "GOMAXPROCS=2"}, // a host of many processors has no more threads
		Args:  []string{"--set", "instances.memory=1TiB"},
	})
	deployProbe(t, s, harness.Function{Name: "many", Memory: 128, Timeout: 60, Env: map[string]string{"GOMAXPROCS": "2"}})
	wantPayload(t, s.Invoke(t, "many", `{"do":"echo"}`), `{"do":"echo"}`)

	client := lambda.New(s.Lambda().Options(), func(o *lambda.Options) { o.RetryMaxAttempts = 1 })
	var done, refused, top atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var load sync.WaitGroup
	for range calls {
		load.Go(func() { // waited for below
			function := "many"
			out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: []byte(`{"do":"sleep","n":11000}`)})
			var many *types.TooManyRequestsException
			switch {
			case errors.As(err, &many):
				refused.Add(1)
			case err != nil:
				t.Error(err)
			case out.FunctionError != nil:
				t.Errorf("%s", out.Payload)
			default:
				done.Add(1)
			}
		})
	}
	ended := make(chan struct{})
	go func() { load.Wait(); close(ended) }() // waited for below
	for over := false; !over; {
		select {
		case <-ended:
			over = true
		case <-time.After(20 * time.Millisecond):
		}
		b, err := os.ReadFile(filepath.Join(group, "pids.current"))
		if n, cerr := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && cerr == nil {
			top.Store(max(top.Load(), int64(n)))
		}
	}
	why, errs, err := s.CLI("", "scale", "why", "many")
	if told := why + errs; err != nil || !strings.Contains(told, fmt.Sprintf("processes and threads of the %d", most)) {
		t.Errorf("why: %s, %v", told, err)
	}
	if done.Load() == 0 || refused.Load() == 0 || done.Load()+refused.Load() != calls || top.Load() >= most {
		t.Errorf("%d calls were answered and %d refused, with %d tasks at the most", done.Load(), refused.Load(), top.Load())
	}
	t.Logf("%d calls answered, %d refused, at most %d tasks of %d; %s", done.Load(), refused.Load(), top.Load(), most, errs)
	wantPayload(t, s.Invoke(t, "many", `{"do":"echo"}`), `{"do":"echo"}`)
}
