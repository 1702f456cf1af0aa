package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/test/harness"
)

// witness is an HTTP destination that notes the numbers of the events it is told
// of.
type witness struct {
	*httptest.Server
	mu   sync.Mutex // guards seen
	seen map[string]int
}

func newWitness(t *testing.T) *witness {
	c := &witness{seen: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var record struct {
			RequestPayload struct{ N int }
		}
		if err := json.NewDecoder(r.Body).Decode(&record); err != nil {
			t.Errorf("record: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen[strconv.Itoa(record.RequestPayload.N)]++
	}))
	t.Cleanup(c.Close)
	return c
}

// missing counts what it has not been told of.
func (c *witness) missing(want map[string]bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range want {
		if c.seen[name] == 0 {
			n++
		}
	}
	return n
}

const numberedHandler = `
def handler(event, context):
    if event["n"] % 10 == 9:
        raise ValueError("poison")
    return event
`

// deployNumbered makes the function "numbered", of whose events the witness hears.
func deployNumbered(t *testing.T, s *harness.Server) *witness {
	t.Helper()
	s.Create(t, harness.Function{Name: "numbered", Runtime: "python3.11", Handler: "app.handler", Memory: 128, Zip: harness.Zip(t, map[string]string{"app.py": numberedHandler})})
	c := newWitness(t)
	to := aws.String("arn:aws:lambent:::" + c.URL)
	_, err := s.Lambda().PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{
		FunctionName: aws.String("numbered"), MaximumRetryAttempts: aws.Int32(1),
		DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: to}, OnFailure: &types.OnFailure{Destination: to}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The server is killed again and again, and so are instances, while numbered events
// are sent; every acknowledged one is told of at its destination.
func TestEventsOutliveTheServer(t *testing.T) {
	const rounds, perRound = 10, 30
	s := harness.Start(t, harness.Options{Args: []string{"--set", "async.pace=0.001"}})
	c := deployNumbered(t, s)
	acked := map[string]bool{}
	for round := range rounds {
		pid := s.PID()
		kill := time.AfterFunc(time.Duration(100+round*37)*time.Millisecond, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		for i := range perRound {
			n := round*perRound + i
			out, err := s.Lambda().Invoke(t.Context(), &lambda.InvokeInput{
				FunctionName: aws.String("numbered"), InvocationType: types.InvocationTypeEvent, Payload: fmt.Appendf(nil, `{"n":%d}`, n),
			}, func(o *lambda.Options) { o.RetryMaxAttempts = 1 })
			if err != nil {
				break // it is dead by now
			}
			if out.StatusCode != http.StatusAccepted {
				t.Fatalf("status %d", out.StatusCode)
			}
			acked[strconv.Itoa(n)] = true
			if i%10 == 7 { // instances die, too
				for _, pid := range s.Processes() {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
		kill.Stop()
		s.Kill()
		// What the server was about to start when it was killed may hold its lock for
		// another moment.
		err := s.Launch()
		for range 20 {
			if err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
			err = s.Launch()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Stderr())
		}
	}
	for deadline := time.Now().Add(time.Minute); c.missing(acked) > 0 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lost, again := 0, 0
	for n := range acked {
		if c.seen[n] == 0 {
			lost++
			t.Errorf("nothing was heard of %s", n)
		}
	}
	for _, times := range c.seen {
		again += times - 1
	}
	t.Logf("killed %d times: acknowledged %d, delivered %d, duplicates %d, lost=%d", rounds, len(acked), len(c.seen), again, lost)
	if len(acked) == 0 {
		t.Error("nothing was acknowledged")
	}
}

// What AWS's own client sees of asynchronous calls.
func TestEventsByAWSClient(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "numbered", Runtime: "python3.11", Handler: "app.handler", Memory: 128, Zip: harness.Zip(t, map[string]string{"app.py": numberedHandler})})
	send := func(function, payload string) (*lambda.InvokeOutput, error) {
		return s.Lambda().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &function, InvocationType: types.InvocationTypeEvent, Payload: []byte(payload)})
	}
	out, err := send("numbered", `{"n":1}`)
	if err != nil || out.StatusCode != http.StatusAccepted || len(out.Payload) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := send("nobody", `{}`); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Errorf("no function: %v", err)
	}
	large := `"` + strings.Repeat("x", 1<<20) + `"`
	if _, err := send("numbered", large); err == nil || !strings.Contains(err.Error(), "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)") {
		t.Errorf("too large: %v", err)
	}
	if _, err := send("numbered", large[:1<<20-1]+`"`); err != nil {
		t.Errorf("as large as may be: %v", err)
	}
}

// What the command line shows of an event, from its acceptance to the comparison
// with another version.
func TestEventsByCommandLine(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--set", "async.pace=0.001"}})
	s.Create(t, harness.Function{Name: "numbered", Runtime: "python3.11", Handler: "app.handler", Memory: 128, Zip: harness.Zip(t, map[string]string{"app.py": numberedHandler})})
	run := func(args ...string) string {
		t.Helper()
		out, _, err := s.CLI("", args...)
		if err != nil && out == "" {
			t.Fatalf("%v: %v", args, err)
		}
		return out
	}
	id := strings.TrimSpace(run("invoke", "numbered", "--async", "-d", `{"n":9}`, "--label", "order=7"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var call client.Call
	for call.Status != client.CallFailed && ctx.Err() == nil {
		if err := json.Unmarshal([]byte(run("invocations", "wait", id, "--json")), &call); err != nil {
			t.Fatal(err)
		}
	}
	if call.Error != "ValueError" || len(call.Attempts) != 3 || call.Attempts[0].Instance == "" || !strings.Contains(call.Answer.LogTail, "poison") {
		t.Errorf("the call is %+v", call)
	}
	if list := run("invocations", "list", "numbered", "--label", "order=7"); !strings.Contains(list, id) {
		t.Errorf("the list is %s", list)
	}
	if replay := run("invocations", "replay", id); !strings.Contains(replay, "failed") || !strings.Contains(replay, "function_error") {
		t.Errorf("the replay is %s", replay)
	}
}

// Two functions that are each other's destination go round until the chain is ended.
func TestChainsThroughDestinationsEnd(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, name := range []string{"ping", "pong"} {
		s.Create(t, harness.Function{Name: name, Runtime: "python3.11", Handler: "app.handler", Memory: 128, Zip: harness.Zip(t, map[string]string{"app.py": "def handler(event, context): return 1\n"})})
	}
	for from, to := range map[string]string{"ping": "pong", "pong": "ping"} {
		_, err := s.Lambda().PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{
			FunctionName: &from, DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + to)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Lambda().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("ping"), InvocationType: types.InvocationTypeEvent})
	if err != nil {
		t.Fatal(err)
	}
	var calls, stopped []client.Call
	for deadline := time.Now().Add(30 * time.Second); len(stopped) == 0 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		out, _, err := s.CLI("", "invocations", "list", "--json", "--limit", "200")
		if err != nil {
			t.Fatal(err)
		}
		calls, stopped = nil, nil
		if err := json.Unmarshal([]byte(out), &calls); err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			if c.Error == "RecursiveInvocationException" {
				stopped = append(stopped, c)
			}
		}
	}
	if len(stopped) != 1 || len(calls) < 30 || len(calls) > 36 {
		t.Errorf("%d calls, %d of them refused as a loop", len(calls), len(stopped))
	}
}

// What becomes of a call goes to another function as the role of the function that was
// called, which is asked each time.
func TestDestinationsNeedTheRole(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, name := range []string{"teller", "hearer"} {
		s.Create(t, harness.Function{Name: name, Runtime: "python3.11", Handler: "app.handler", Memory: 128, Zip: harness.Zip(t, map[string]string{"app.py": "def handler(event, context): return 1\n"})})
	}
	hearer := "arn:aws:lambda:us-east-1:000000000000:function:hearer"
	configure := func() error {
		_, err := s.Lambda().PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{
			FunctionName: aws.String("teller"), DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: &hearer}},
		})
		return err
	}
	if err := configure(); err != nil { // a role that is not on record may call functions of its account
		t.Fatal(err)
	}
	roles := iam.NewFromConfig(s.Config())
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	if _, err := roles.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("test"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	calls := func(args ...string) (list []client.Call) {
		t.Helper()
		out, said, err := s.CLI("", append([]string{"invocations", "list", "--json"}, args...)...)
		if err != nil || json.Unmarshal([]byte(out), &list) != nil {
			t.Fatalf("%v: %v\n%s%s", args, err, out, said)
		}
		return list
	}
	if _, _, err := s.CLI("", "invoke", "teller", "--async", "--wait", "-d", "{}"); err != nil {
		t.Fatal(err)
	}
	kept := calls("teller", "--kind", "destination")
	if len(kept) != 1 || kept[0].Status != client.CallFailed || kept[0].Error != "AccessDeniedException" || len(calls("hearer")) > 0 {
		t.Fatalf("records %+v, and calls %+v", kept, calls("hearer"))
	}
	if _, said, err := s.CLI("", "invocations", "retry", kept[0].ID); err == nil || !strings.Contains(said, "not authorized to perform: lambda:InvokeFunction") {
		t.Errorf("sent again: %v, %s", err, said)
	}
	refused := "The function's execution role does not have permissions to call InvokeFunction on " + hearer
	if err := configure(); err == nil || !strings.Contains(err.Error(), refused) {
		t.Errorf("the destination again: %v", err)
	}
	may := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"` + hearer + `"}}`
	_, err := roles.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("test"), PolicyName: aws.String("may"), PolicyDocument: &may})
	if err != nil {
		t.Fatal(err)
	}
	if _, said, err := s.CLI("", "invocations", "retry", kept[0].ID); err != nil {
		t.Fatalf("sent again: %v, %s", err, said)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		heard := calls("hearer")
		if len(heard) == 1 && heard[0].Status == client.CallSucceeded {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the other function has %+v", heard)
		}
	}
}
