package e2e

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// callingApp is a web application that does by boto3 what it is asked for. It passes
// the tracing header of its request on where the path says so.
const callingApp = `
import boto3, os
from botocore.exceptions import ClientError
from flask import Flask, request

app = Flask(__name__)
lam = boto3.client("lambda")
traced = boto3.client("lambda")
traced.meta.events.register("before-call.lambda", lambda params, **_: params["headers"].update(
    {"X-Amzn-Trace-Id": request.headers["X-Amzn-Trace-Id"]}))

@app.errorhandler(ClientError)
def refused(e):
    return e.response["Error"]["Code"] + ": " + e.response["Error"]["Message"]

@app.get("/call")
def call():
    return lam.invoke(FunctionName="called", Payload='{"n":1}')["Payload"].read()

@app.get("/traced")
def with_trace():
    return traced.invoke(FunctionName="called", Payload='{"n":2}')["Payload"].read()

@app.get("/later")
def later():
    return str(lam.invoke(FunctionName="called", InvocationType="Event", Payload="{}")["StatusCode"])

@app.get("/who")
def who():
    return boto3.client("sts").get_caller_identity()["Arn"]

@app.get("/code")
def code():
    return lam.get_function(FunctionName="called")["Code"]["Location"]

@app.get("/keys")
def keys():
    return " ".join(os.environ["AWS_" + n] for n in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))

@app.get("/as")
def thief():
    access, secret, token = request.headers["X-Keys"].split(" ")
    return boto3.client("lambda", aws_access_key_id=access, aws_secret_access_key=secret, aws_session_token=token).invoke(
        FunctionName="called", Payload='{"n":3}')["Payload"].read()
`

// TestCallsByApplications has a web application call the API by an unmodified SDK that
// is told neither an address nor keys.
func TestCallsByApplications(t *testing.T) {
	t.Parallel() // fetching packages is most of it
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "called", Runtime: "python3.11", Handler: "f.f", Timeout: 30,
		Zip: harness.Zip(t, map[string]string{"f.py": "def f(event, context):\n    return event\n"})})
	dir := writeTree(t, map[string]string{"requirements.txt": "flask\nboto3==1.40.0\n", "app.py": callingApp})
	app, thief := publish(t, s, "app", dir), publish(t, s, "thief", dir)
	c := &http.Client{Timeout: time.Minute}
	get := func(address string, header ...string) string {
		t.Helper()
		req := newRequest(t, "GET", address, "")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		got := ask(t, c, req)
		if got.status != 200 {
			out, _, _ := s.CLI("", "logs", "app")
			t.Fatalf("%s answers %+v\n%s", address, got, out)
		}
		return got.body
	}
	account := strings.Split(harness.Role, ":")[4]
	for path, want := range map[string]string{
		"/call": `{"n": 1}`, "/later": "202", "/who": "arn:aws:sts::" + account + ":assumed-role/lambent/app",
		"/code": "AccessDeniedException: User: arn:aws:sts::" + account + ":assumed-role/lambent/app is not authorized to perform: lambda:GetFunction on",
	} {
		if got := get(app + path); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	t.Run("chain", func(t *testing.T) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(account + "/called"))
		long := fmt.Sprintf("Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=16:%08x:16", h.Sum32())
		if got := get(app+"/traced", "X-Amzn-Trace-Id", long); !strings.HasPrefix(got, "RecursiveInvocationException: ") {
			t.Errorf("the 17th turn: %s", got)
		}
		if got := get(app+"/call", "X-Amzn-Trace-Id", long); got != `{"n": 1}` { // nothing tells which of its requests a call is for
			t.Errorf("without the header: %s", got)
		}
	})
	t.Run("keys", func(t *testing.T) {
		keys := get(app + "/keys")
		if got := get(app+"/as", "X-Keys", keys); got != `{"n": 3}` {
			t.Errorf("with keys of its own: %s", got)
		}
		if got := get(thief+"/as", "X-Keys", keys); !strings.HasPrefix(got, "UnrecognizedClientException: ") {
			t.Errorf("with another one's: %s", got)
		}
	})
}
