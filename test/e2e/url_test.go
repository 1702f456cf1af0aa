package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

const webApp = `
import json

def handler(event, context):
    path = event["rawPath"]
    if path == "/fail":
        raise ValueError("no")
    if path == "/plain":
        return {"any": "json"}
    return {"statusCode": 201, "headers": {"x-function": context.function_version}, "cookies": ["a=b"], "body": json.dumps(event)}
`

// toGateway is an HTTP client for which every host name is the gateway's: below
// localhost is what a resolver may not know.
func toGateway(t *testing.T, s *harness.Server) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, strings.TrimPrefix(s.Gateway, "http://"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// reply is an answer that was read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, c *http.Client, r *http.Request) reply {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

func newRequest(t *testing.T, method, address, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func makeURL(t *testing.T, s *harness.Server, in *lambda.CreateFunctionUrlConfigInput) string {
	t.Helper()
	out, err := s.Lambda().CreateFunctionUrlConfig(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.FunctionUrl
}

// TestFunctionURL goes through a function's URL with AWS's client and plain HTTP.
func TestFunctionURL(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "web", Runtime: "python3.11", Handler: "app.handler", Zip: harness.Zip(t, map[string]string{"app.py": webApp})})
	address := makeURL(t, s, &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("web"), AuthType: types.FunctionUrlAuthTypeNone})
	c := toGateway(t, s)
	if got := ask(t, c, newRequest(t, "GET", address, "")); got.status != 403 {
		t.Errorf("without a permission it answers %d %s", got.status, got.body)
	}
	_, err := s.Lambda().AddPermission(t.Context(), &lambda.AddPermissionInput{
		FunctionName: aws.String("web"), StatementId: aws.String("open"), Action: aws.String("lambda:InvokeFunctionUrl"),
		Principal: aws.String("*"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone,
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		r := newRequest(t, "POST", address+"a%2Fb?x=1&x=2", `{"q":1}`)
		r.Header.Set("Content-Type", "application/json")
		got := ask(t, c, r)
		var event struct {
			RawPath, Body         string
			QueryStringParameters map[string]string
		}
		if err := json.Unmarshal([]byte(got.body), &event); err != nil || got.status != 201 || got.header.Get("X-Function") != "$LATEST" || got.header.Get("Set-Cookie") != "a=b" {
			t.Fatalf("answers %d %v %s", got.status, got.header, got.body)
		}
		if event.RawPath != "/a%2Fb" || event.Body != `{"q":1}` || event.QueryStringParameters["x"] != "1,2" {
			t.Errorf("event %+v", event)
		}
	}
	check()
	if got := ask(t, c, newRequest(t, "GET", address+"plain", "")); got.status != 200 || got.body != `{"any": "json"}` || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("any JSON answers %+v", got)
	}
	if got := ask(t, c, newRequest(t, "GET", address+"fail", "")); got.status != 502 || got.body != `{"message":"Internal Server Error"}` {
		t.Errorf("a failure answers %+v", got)
	}
	if got := ask(t, c, newRequest(t, "GET", s.Gateway+"/fn/web/plain", "")); got.status != 200 {
		t.Errorf("by path it answers %+v", got)
	}
	s.Restart()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	address = "http://" + u.Hostname() + "/" // the port may be another one
	check()
}

// TestSignedURL calls a URL of AuthType AWS_IAM, made by the command line.
func TestSignedURL(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "web", Runtime: "python3.11", Handler: "app.handler", Zip: harness.Zip(t, map[string]string{"app.py": webApp})})
	c := toGateway(t, s)
	out, stderr, err := s.CLI("", "url", "web", "create", "--json")
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var urls []struct{ URL, Auth string }
	if err := json.Unmarshal([]byte(out), &urls); err != nil || len(urls) != 1 || urls[0].Auth != "iam" {
		t.Fatalf("%v: %s", err, out)
	}
	if got := ask(t, c, newRequest(t, "GET", urls[0].URL, "")); got.status != 403 || !strings.Contains(got.body, "Forbidden") {
		t.Errorf("unsigned it answers %+v", got)
	}
	for _, address := range []string{urls[0].URL + "x?y=z", s.Gateway + "/fn/web/x?y=z"} {
		r := newRequest(t, "POST", address, "body")
		keys, err := s.Config().Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte("body"))
		if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, hex.EncodeToString(sum[:]), "lambda", harness.Region, time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, c, r); got.status != 201 || !strings.Contains(got.body, `"iam"`) || strings.Contains(got.body, "Signature") {
			t.Errorf("%s answers %+v", address, got)
		}
	}
}

// TestListenersAreApart makes sure that neither address answers for the other,
// whatever a request says of the host that it is for.
func TestListenersAreApart(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{"LAMBENT_TLS_LISTEN=127.0.0.1:0"}})
	s.Create(t, harness.Function{Name: "web", Runtime: "python3.11", Handler: "app.handler", Zip: harness.Zip(t, map[string]string{"app.py": webApp})})
	var urls []struct{ URL string }
	if err := json.Unmarshal([]byte(run(t, s, "url", "web", "create", "--public", "--json")), &urls); err != nil || len(urls) != 1 {
		t.Fatalf("%v %v", urls, err)
	}
	u, err := url.Parse(urls[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, "route", "add", "api.test/plain", "web", "--public")
	roots, chain, private := harness.Certificate(t, "api.test")
	run(t, s, "domain", "add", "api.test", "--cert", chain, "--key", private)
	api := strings.TrimPrefix(s.API, "http://")
	for address, c := range map[string]*http.Client{s.Gateway: toGateway(t, s), "https://api.test": toTLS(t, s, roots)} {
		for _, path := range []string{
			"/", "/healthz", "/readyz", "/metrics", "/api/v1/query", "/console", "/fn/", "/v1/version", "/v1/functions", "/v1/routes", "/v1/domains", "/v1/functions/web/invocations",
			"/2015-03-31/functions", "/2015-03-31/functions/web/invocations", "/2014-11-13/functions/web/invoke-async", "/2021-10-31/functions/web/url",
			"/2021-11-15/functions/web/response-streaming-invocations", "/2018-06-01/runtime/invocation/next", "/2020-01-01/extension/register", "/code/x",
		} {
			for _, method := range []string{"GET", "POST"} {
				for _, host := range []string{"", api, "localhost"} {
					r := newRequest(t, method, address+path, "")
					if r.Host = host; host == "" {
						r.Host = r.URL.Host
					}
					r.Header.Set("X-Amz-Target", "Logs_20140328.DescribeLogGroups")
					if got := ask(t, c, r); got.status != 404 {
						t.Errorf("the gateway answers %s %s for %q with %d %s", method, path, r.Host, got.status, got.body)
					}
				}
			}
		}
	}
	for host, path := range map[string]string{api: "/fn/web/plain", u.Host: "/plain", u.Hostname(): "/plain", "api.test": "/plain", "web.localhost": "/fn/web/plain"} {
		r := newRequest(t, "GET", s.API+path, "")
		r.Host = host
		if got := ask(t, http.DefaultClient, r); got.status < 400 || strings.Contains(got.body, "any") {
			t.Errorf("the API answers for a function at %s%s: %+v", host, path, got)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

const streamApp = `
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 203, headers: { 'content-type': 'text/plain' } });
  stream.write('first\n');
  await new Promise((r) => setTimeout(r, 1500));
  stream.write('second\n');
  stream.end();
});
`

// TestStreamedURL sees the first part of an answer before the function has made
// the second.
func TestStreamedURL(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "flow", Runtime: "nodejs20.x", Handler: "index.handler", Zip: harness.Zip(t, map[string]string{"index.js": streamApp})})
	if _, stderr, err := s.CLI("", "url", "flow", "create", "--public", "--stream"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	c := toGateway(t, s)
	for range 2 { // the second without a cold start
		res, err := c.Do(newRequest(t, "GET", s.Gateway+"/fn/flow", ""))
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(res.Body)
		first, err := in.ReadString('\n')
		began := time.Now()
		if err != nil || first != "first\n" || res.StatusCode != http.StatusNonAuthoritativeInfo || res.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("begins with %q, %v, %d", first, err, res.StatusCode)
		}
		rest, err := io.ReadAll(in)
		if err != nil || string(rest) != "second\n" || time.Since(began) < time.Second {
			t.Errorf("goes on with %q, %v, after %v", rest, err, time.Since(began))
		}
		_ = res.Body.Close()
	}
}
