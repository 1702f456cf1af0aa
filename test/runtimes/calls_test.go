package runtimes

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/test/harness"
	"lambent.dev/lambent/test/runtimes/clients"
)

// callOutcome is what the functions of the SDKs answer about a call that they made.
type callOutcome struct {
	Status         int
	Payload, Error string // the called function's
	Code, Message  string // of a refusal
}

// calling is a function that calls the API by one SDK.
type calling struct {
	*testing.T
	s    *harness.Server
	name string
}

// deployCalling deploys the function of an SDK as name.
func deployCalling(t *testing.T, s *harness.Server, sdk, name string) *calling {
	t.Helper()
	runtime := map[string]string{"python": "python3.11", "nodejs": "nodejs20.x", "go": "provided.al2023"}[sdk]
	s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: "handler.handle", Memory: 512, Timeout: 30,
		Zip: harness.ZipDir(t, clients.Build(t, "sdk-"+sdk))})
	return &calling{t, s, name}
}

func (c *calling) do(event string) callOutcome {
	c.Helper()
	return decode[callOutcome](c.T, c.s.Invoke(c.T, c.name, event))
}

// wantRefusal expects an error of the API.
func (c *calling) wantRefusal(event, code, message string) {
	c.Helper()
	if o := c.do(event); o.Code != code || !strings.HasPrefix(o.Message, message) {
		c.Errorf("%s: %+v, want %s: %s", event, o, code, message)
	}
}

// TestCallsByFunctions has functions call the API by unmodified SDKs that are told
// neither an address nor keys.
func TestCallsByFunctions(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "called", Runtime: "python3.11", Handler: "f.f", Timeout: 30,
		Zip: harness.Zip(t, map[string]string{"f.py": "def f(event, context):\n    print('called with', event)\n    return event\n"})})
	for _, sdk := range []string{"python", "nodejs", "go"} {
		t.Run(sdk, func(t *testing.T) {
			c := deployCalling(t, s, sdk, "calls-"+sdk)
			c.calls()
			c.identity()
		})
	}
	t.Run("keys", func(t *testing.T) { keysOpenNothingElse(t, s) })
	t.Run("stream", func(t *testing.T) {
		c := &calling{t, s, "calls-python"}
		if o := c.do(`{"do":"stream","function":"called","event":{"n":1}}`); o.Payload != `{"n": 1}` {
			t.Errorf("streamed: %+v", o)
		}
	})
	t.Run("url", func(t *testing.T) { callsByURL(t, s) })
	t.Run("loop", func(t *testing.T) {
		c := deployCalling(t, s, "go", "loops")
		c.wantRefusal(`{"do":"loop","function":"loops"}`, "RecursiveInvocationException", "The function loops was called 16 times")
	})
	t.Run("hanging", func(t *testing.T) { hangingCalls(t, s) })
	s.Stop()
	wantLearned(t, s, "calls-python", "called")
}

// callsByURL has a function call others by their URLs, which want a signature.
func callsByURL(t *testing.T, s *harness.Server) {
	for _, name := range []string{"called", "turns"} {
		if name == "turns" {
			s.Create(t, harness.Function{Name: name, Runtime: "python3.11", Handler: "handler.handle", Memory: 256, Timeout: 60,
				Zip: harness.ZipDir(t, clients.Build(t, "sdk-python"))})
		}
		_, err := lambda.NewFromConfig(s.Config()).CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{
			FunctionName: &name, AuthType: types.FunctionUrlAuthTypeAwsIam,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := &calling{t, s, "calls-python"}
	var got struct {
		RawPath, RawQueryString, Body string
		RequestContext                struct {
			Authorizer struct{ IAM struct{ UserARN string } }
		}
	}
	o := c.do(`{"do":"url","function":"called","event":{"n":1}}`)
	if err := json.Unmarshal([]byte(o.Payload), &got); err != nil {
		t.Fatalf("%v in %+v", err, o)
	}
	if got.RawPath != "/a/path" || got.RawQueryString != "n=1" || got.Body != `{"n": 1}` ||
		got.RequestContext.Authorizer.IAM.UserARN != "arn:aws:sts::"+account+":assumed-role/test/calls-python" {
		t.Errorf("called by its URL: %+v", got)
	}
	if o := c.do(`{"do":"url","function":"called","event":{},"unsigned":true}`); o.Status != 403 {
		t.Errorf("without a signature: %+v", o)
	}
	if o := (&calling{t, s, "turns"}).do(`{"do":"turn","function":"turns"}`); o.Status != 400 || !strings.Contains(o.Payload, "The function turns was called 16 times") {
		t.Errorf("a function that calls itself by its URL: %+v", o)
	}
}

// calls has it call another function, and wait for that or not.
func (c *calling) calls() {
	c.Helper()
	if o := c.do(`{"do":"invoke","function":"called","event":{"n":1}}`); o.Status != 200 || o.Payload != `{"n": 1}` || o.Error != "" {
		c.Errorf("called: %+v", o)
	}
	if o := c.do(`{"do":"invoke","function":"called","type":"Event","event":{"later":"` + c.name + `"}}`); o.Status != 202 {
		c.Errorf("called for later: %+v", o)
	}
	want := "called with {'later': '" + c.name + "'}"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if strings.Contains(logText(c.T, c.s, "called"), want) {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("not called for later: %s", logText(c.T, c.s, "called"))
		}
	}
}

// identity has it ask who it is, and for what it may not do.
func (c *calling) identity() {
	c.Helper()
	me := "arn:aws:sts::" + account + ":assumed-role/test/" + c.name
	if got := decode[string](c.T, c.s.Invoke(c.T, c.name, `{"do":"who"}`)); got != me {
		c.Errorf("it is %s, want %s", got, me)
	}
	c.wantRefusal(`{"do":"create","role":"`+harness.Role+`"}`, "AccessDeniedException",
		"User: "+me+" is not authorized to perform: lambda:CreateFunction on resource: arn:aws:lambda:us-east-1:"+account+
			":function:another because no identity-based policy allows the lambda:CreateFunction action")
}

// keysOpenNothingElse takes an instance's keys elsewhere.
func keysOpenNothingElse(t *testing.T, s *harness.Server) {
	c := &calling{t, s, "calls-python"}
	c.wantRefusal(`{"do":"code","function":"called"}`, "AccessDeniedException", "User: ")
	c.wantRefusal(`{"do":"logs"}`, "AccessDeniedException", "User: ")
	keys := decode[map[string]string](t, s.Invoke(t, c.name, `{"do":"keys"}`))
	cfg := s.Config()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"])
	name := "called"
	_, err := lambda.NewFromConfig(cfg).Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &name})
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "UnrecognizedClientException" {
		t.Errorf("from outside: %v", err)
	}
	thief := deployCalling(t, s, "python", "thief")
	event := marshal(t, map[string]any{"do": "as", "keys": keys, "function": "called"})
	thief.wantRefusal(event, "UnrecognizedClientException", "The security token included in the request is invalid.")
	if o := c.do(event); o.Status != 200 { // they were good
		t.Errorf("with keys of its own: %+v", o)
	}
}

// hangs opens far more connections than an instance may have, and leaves them in the
// middle of a request.
const hangs = `
import select, socket, time
held = []
def f(event, context):
    for _ in range(200):
        c = socket.create_connection(("127.0.0.1", 9001))
        try:
            c.sendall(b"POST /2015-03-31/functions/called/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        except OSError:
            pass
        held.append(c)
    time.sleep(event.get("sleep", 0))
    until = time.monotonic() + 4
    while True: # what is too many is closed as the server gets to it
        ended, _, _ = select.select(held, [], [], 0)
        if len(held) - len(ended) <= event["most"] or time.monotonic() > until:
            return len(held) - len(ended)
        time.sleep(0.05)
`

// hangingCalls has a function take what it can get of the server. That holds up
// neither its next call nor its end.
func hangingCalls(t *testing.T, s *harness.Server) {
	s.Create(t, harness.Function{Name: "hangs", Runtime: "python3.11", Handler: "f.f", Timeout: 5, Zip: harness.Zip(t, map[string]string{"f.py": hangs})})
	if n := decode[int](t, s.Invoke(t, "hangs", `{"most":128}`)); n < 100 || n > 128 {
		t.Errorf("%d connections were held", n)
	}
	decode[int](t, s.Invoke(t, "hangs", `{"most":200}`))
	began := time.Now()
	wantFailure(t, s.Invoke(t, "hangs", `{"sleep":60,"most":200}`), "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 5.00 seconds")
	if took := time.Since(began); took > 14*time.Second { // a refused body is waited for 10 s
		t.Errorf("its end took %s", took)
	}
}

// wantLearned expects a stopped server to know that one function's calls lead to
// another's.
func wantLearned(t *testing.T, s *harness.Server, cause, effect string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Data, "learned.json"))
	if err != nil {
		t.Fatal(err)
	}
	var learned struct {
		Learned []struct {
			Function string
			After    []struct {
				Function string
				Known    bool
			}
		}
	}
	if err := json.Unmarshal(text, &learned); err != nil {
		t.Fatal(err)
	}
	for _, v := range learned.Learned {
		for _, a := range v.After {
			if v.Function == cause && a.Function == effect && a.Known {
				return
			}
		}
	}
	t.Errorf("learned: %s", text)
}
