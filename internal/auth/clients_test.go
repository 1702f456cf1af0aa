package auth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// boto3Calls makes calls whose paths, queries, headers and bodies are unusual.
const boto3Calls = `
import boto3, botocore.config, os
c = boto3.client("lambda", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1",
    aws_access_key_id=os.environ["AK"], aws_secret_access_key=os.environ["SK"],
    config=botocore.config.Config(retries={"max_attempts": 0}))
arn = "arn:aws:lambda:us-east-1:000000000000:function:a-b_c:$LATEST"
c.list_functions(Marker="a/b+c==", MaxItems=5)
c.get_function(FunctionName=arn)
c.get_function(FunctionName="a-b_c", Qualifier="$LATEST")
c.invoke(FunctionName=arn, Payload=b'{"k": "\xc3\xbc"}', LogType="Tail", ClientContext="eyJhIjoxfQ==")
c.invoke(FunctionName="f", Payload=b"x" * 3000000)
c.invoke(FunctionName="f")
c.untag_resource(Resource=arn, TagKeys=["a/b", "a-b", "~x", "a b", "\u00fc", "B"])
c.create_function(FunctionName="f", Role="arn:aws:iam::000000000000:role/r", Code={"ZipFile": b"PK"}, Runtime="python3.12", Handler="a.b")
print("done")
`

// calls serves next and counts the requests that reached it.
func calls(t *testing.T, o MiddlewareOptions) (url string, reached *atomic.Int64) {
	t.Helper()
	reached = new(atomic.Int64)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := Body(r); err != nil {
			t.Error(err)
		}
		reached.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	})
	srv := httptest.NewServer(docKeys(docAccess, docSecret).Middleware(next, o))
	t.Cleanup(srv.Close)
	return srv.URL, reached
}

func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if exec.CommandContext(ctx, "python3", "-c", "import boto3").Run() != nil {
		t.Skip("boto3 is not installed")
	}
	url, reached := calls(t, MiddlewareOptions{Region: "us-east-1", Service: func(*http.Request) string { return "lambda" }})
	cmd := exec.CommandContext(ctx, "python3", "-c", boto3Calls)
	cmd.Env = append(os.Environ(), "ENDPOINT="+url, "AK="+docAccess, "SK="+docSecret)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") || reached.Load() != 8 {
		t.Errorf("%d requests were accepted, error %v:\n%s", reached.Load(), err, out)
	}
}

func TestCurl(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url, reached := calls(t, MiddlewareOptions{Region: "us-east-1"})
	for _, args := range [][]string{
		{url + "/2015-03-31/functions"},
		{url + "/2015-03-31/functions/f/invocations", "-d", `{"a":1}`, "-H", "Content-Type: application/json"},
	} {
		args = append([]string{"-sS", "-f", "--aws-sigv4", "aws:amz:us-east-1:lambda", "-u", docAccess + ":" + docSecret}, args...)
		if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil || string(out) != "{}" {
			t.Errorf("curl %v: %s, error %v", args, out, err)
		}
	}
	if reached.Load() != 2 {
		t.Errorf("%d requests were accepted", reached.Load())
	}
}
