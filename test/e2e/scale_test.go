package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// TestApplicationFollowsItsLoad has an application go from no instance to several and
// back, and asks why.
func TestApplicationFollowsItsLoad(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{
		"--set", "instances.scale.every=500ms", "--set", "instances.scale.stable=6s", "--set", "instances.scale.panic=2s",
		"--set", "instances.scale.down_delay=1s", "--set", "instances.scale.grace=3s",
	}})
	dir := filepath.Join(harness.Root(), "test", "e2e", "testdata", "app")
	app := publish(t, s, "app", dir, "--health", "/healthz", "--concurrency", "5", "--memory", "256", "--no-check")
	if _, errs, err := s.CLI("", "set", "app", "scale.max=4"); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	if n := len(s.Instances()); n != 0 {
		t.Fatalf("%d instances before the first request", n)
	}
	stop, failed := make(chan struct{}), atomic.Int64{}
	var wg sync.WaitGroup
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 20}}
	for range 12 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := c.Get(app + "/sleep?ms=100")
				if err != nil {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	comesTrue(t, 20*time.Second, "four instances for twelve requests at a time, 3.5 each", func() bool { return len(s.Instances()) == 4 })
	time.Sleep(3 * time.Second)
	if n := len(s.Instances()); n != 4 {
		t.Errorf("%d instances under a steady load, want 4", n)
	}
	status, errs, err := s.CLI("", "scale", "status")
	if err != nil || !strings.Contains(status, "app:$LATEST") {
		t.Errorf("status %s, %s, %v", status, errs, err)
	}
	close(stop)
	wg.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d requests have failed", n)
	}
	comesTrue(t, 20*time.Second, "scaled to zero", func() bool { return len(s.Instances()) == 0 })
	why, errs, err := s.CLI("", "scale", "why", "app", "--last", "64")
	if err != nil || !strings.Contains(why, "to none: no request for") || !strings.Contains(why, "requests at a time over") {
		t.Errorf("why: %s, %s, %v", why, errs, err)
	}
	t.Logf("%s%s", status, why)
}

// versioned is a Python function whose answer says which version of the code it is.
func versioned(t *testing.T, n int) []byte {
	return harness.Zip(t, map[string]string{"app.py": fmt.Sprintf("def handler(event, context):\n    return %d\n", n)})
}

// deployVersion changes the code of f and publishes it.
func deployVersion(t *testing.T, s *harness.Server, code []byte) string {
	t.Helper()
	for {
		out, err := s.Lambda().UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: code, Publish: true})
		if err == nil {
			return *out.Version
		}
		if !strings.Contains(err.Error(), "ResourceConflict") { // the deployment before is not through
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// caller invokes a qualifier of f all the time and counts.
type caller struct {
	calls, failed atomic.Int64
	seen          sync.Map // answers
	first         atomic.Value
}

func (c *caller) run(ctx context.Context, s *harness.Server, qualifier string) {
	client := s.Lambda()
	for ctx.Err() == nil {
		out, err := client.Invoke(context.WithoutCancel(ctx), &lambda.InvokeInput{FunctionName: aws.String("f"), Qualifier: aws.String(qualifier), Payload: []byte("{}")})
		c.calls.Add(1)
		switch {
		case err != nil:
			c.failed.Add(1)
			c.first.CompareAndSwap(nil, err.Error())
		case out.FunctionError != nil:
			c.failed.Add(1)
			c.first.CompareAndSwap(nil, string(out.Payload))
		default:
			c.seen.Store(string(out.Payload), true)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// TestNoRequestFailsWhileVersionsChange flips an alias twenty times and deploys a
// hundred times under a constant load.
func TestNoRequestFailsWhileVersionsChange(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "f", Runtime: "python3.11", Handler: "app.handler", Zip: versioned(t, 0)})
	one := deployVersion(t, s, versioned(t, 1))
	two := deployVersion(t, s, versioned(t, 2))
	alias := &lambda.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: &one}
	if _, err := s.Lambda().CreateAlias(t.Context(), alias); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var live, head caller
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { live.run(ctx, s, "live") })
		wg.Go(func() { head.run(ctx, s, "$LATEST") })
	}
	flips, deployments := 0, 0
	for deployments < 100 {
		deployVersion(t, s, versioned(t, 100+deployments))
		deployments++
		if deployments%5 == 0 {
			to := []string{two, one}[flips%2]
			if _, err := s.Lambda().UpdateAlias(t.Context(), &lambda.UpdateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: &to}); err != nil {
				t.Fatal(err)
			}
			flips++
		}
	}
	stop()
	wg.Wait()
	for name, c := range map[string]*caller{"live": &live, "$LATEST": &head} {
		t.Logf("%s: %d calls, %d failed, during %d deployments and %d flips", name, c.calls.Load(), c.failed.Load(), deployments, flips)
		if c.failed.Load() > 0 || c.calls.Load() < 5 { // each deployment makes the next call of $LATEST a cold start
			t.Errorf("%s: %d of %d calls have failed, the first by %v", name, c.failed.Load(), c.calls.Load(), c.first.Load())
		}
	}
	for _, want := range []string{"1", "2"} {
		if _, ok := live.seen.Load(want); !ok {
			t.Errorf("the alias never led to version %s", want)
		}
	}
}

// TestRolloutMovesAndGoesBack rolls a good version out over a restart of the server,
// and a bad one back.
func TestRolloutMovesAndGoesBack(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "f", Runtime: "python3.11", Handler: "app.handler", Zip: versioned(t, 0)})
	one := deployVersion(t, s, versioned(t, 1))
	bad := deployVersion(t, s, harness.Zip(t, map[string]string{"app.py": "def handler(event, context):\n    raise ValueError('bad')\n"}))
	good := deployVersion(t, s, versioned(t, 3))
	if _, errs, err := s.CLI("", "alias", "f", "live", one); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	load := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var c caller
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { c.run(ctx, s, "live") })
		}
		return func() { cancel(); wg.Wait() }
	}
	stop := load()
	out, errs, err := s.CLI("", "rollout", "f", "--to", bad, "--steps", "20,100", "--every", "10s", "--abort-on", "errors>1%,p99>50x", "--wait")
	if err == nil || !strings.Contains(out, "aborted, because errors>1%:") {
		t.Errorf("the bad version: %s, %s, %v", out, errs, err)
	}
	t.Log(out)
	if got := s.Invoke(t, "f:live", "{}"); *got.ExecutedVersion != one {
		t.Errorf("then calls go to version %s, want %s", *got.ExecutedVersion, one)
	}
	if out, errs, err = s.CLI("", "rollout", "f:live", "--to", good, "--steps", "50,100", "--every", "3s", "--abort-on", "errors>1%"); err != nil {
		t.Fatalf("%s, %s, %v", out, errs, err)
	}
	stop()
	s.Restart()
	stop = load()
	defer func() { stop() }()
	comesTrue(t, 30*time.Second, "rolled out", func() bool {
		out, _, _ = s.CLI("", "rollout", "status", "f")
		return strings.Contains(out, "done")
	})
	t.Log(out)
	for range 20 {
		if got := s.Invoke(t, "f:live", "{}"); *got.ExecutedVersion != good {
			t.Fatalf("then a call goes to version %s, want %s", *got.ExecutedVersion, good)
		}
	}
}

// TestTestersHaveAVersionOfTheirOwn sends requests with a header or a cookie through
// an alias, by the gateway and by Invoke.
func TestTestersHaveAVersionOfTheirOwn(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "f", Runtime: "python3.11", Handler: "app.handler", Zip: versioned(t, 0)})
	one, two := deployVersion(t, s, versioned(t, 1)), deployVersion(t, s, versioned(t, 2))
	if _, errs, err := s.CLI("", "alias", "f", "live", one, "--when", "header X-Tester=yes -> "+two, "--when", "cookie beta=1 -> $LATEST"); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	deployVersion(t, s, versioned(t, 3))
	makeURL(t, s, &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("f"), Qualifier: aws.String("live"), AuthType: types.FunctionUrlAuthTypeNone})
	_, err := s.Lambda().AddPermission(t.Context(), &lambda.AddPermissionInput{
		FunctionName: aws.String("f"), Qualifier: aws.String("live"), StatementId: aws.String("open"), Action: aws.String("lambda:InvokeFunctionUrl"),
		Principal: aws.String("*"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, value, want string }{
		{"X-Other", "1", "1"}, {"X-Tester", "no", "1"}, {"X-Tester", "yes", "2"}, {"Cookie", "a=b; beta=1", "3"},
	} {
		r := newRequest(t, "GET", s.Gateway+"/fn/f:live/", "")
		r.Header.Set(c.name, c.value)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(bytes.TrimSpace(body)) != c.want {
			t.Errorf("with %s: %s the answer is %d %s, want %s", c.name, c.value, res.StatusCode, body, c.want)
		}
	}
}
