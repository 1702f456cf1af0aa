package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/gateway"
)

func sum(body string) string {
	s := sha256.Sum256([]byte(body))
	return hex.EncodeToString(s[:])
}

func want(t *testing.T, got answer, status int, body string) {
	t.Helper()
	if got.status != status || !strings.Contains(got.body, body) {
		t.Errorf("answers %d %q, want %d %q", got.status, got.body, status, body)
	}
}

// eventOf is the event that an echoing function got.
func eventOf(t *testing.T, a answer) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || a.status != 200 {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	return v
}

func TestByHost(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	got := r.do("POST", host+":8080", "/a%2Fb//c%ff?x=1&x=2", "hi", "Content-Type", "text/plain", "Cookie", "a=1; b=2")
	e := eventOf(t, got)
	if e["rawPath"] != "/a%2Fb//c%ff" || e["rawQueryString"] != "x=1&x=2" || e["body"] != "hi" || e["isBase64Encoded"] != false {
		t.Errorf("event %v", e)
	}
	c := e["requestContext"].(map[string]any)
	if c["domainName"] != host || c["apiId"] != strings.Split(host, ".")[0] || c["accountId"] != "anonymous" || c["requestId"] != got.header.Get("X-Amzn-Requestid") {
		t.Errorf("context %v", c)
	}
	if trace := got.header.Get("X-Amzn-Trace-Id"); e["headers"].(map[string]any)["x-amzn-trace-id"] != trace || len(trace) != 40 {
		t.Errorf("trace %q", trace)
	}
	want(t, r.do("GET", strings.ToUpper(host)+".", "/", ""), 200, "rawPath")
	want(t, r.do("GET", "x"+host, "/", ""), 404, "no function URL")
	want(t, r.do("GET", "localhost", "/", ""), 404, "/fn/NAME")
	want(t, r.do("HEAD", host, "/", ""), 200, "")
}

func TestByPath(t *testing.T) {
	r := newRig(t)
	want(t, r.do("GET", "x", "/fn/hello/a", ""), 403, "Forbidden")
	signed := r.send(r.sign(r.request("GET", "x", "/fn/hello:1/a%2Fb?c", ""), ""))
	if e := eventOf(t, signed); e["rawPath"] != "/a%2Fb" || e["rawQueryString"] != "c=" {
		t.Errorf("event %v", e)
	}
	r.url(lambent.URL{})
	for target, path := range map[string]string{"/fn/hello": "/", "/fn/hello/": "/", "/fn/hello/a/": "/a/", "/fn/hel%6co//a": "//a"} {
		if e := eventOf(t, r.do("GET", "x", target, "")); e["rawPath"] != path {
			t.Errorf("%s leads to %v", target, e["rawPath"])
		}
	}
	want(t, r.do("GET", "x", "/fn/hello:1/", ""), 403, "Forbidden") // only the URL's own qualifier is open
	for _, target := range []string{"/", "/fn/", "/fn", "/fn/../hello", "/fn/a%2Fb", "/2015-03-31/functions", "/v1/functions", "/healthz", "/readyz", "/metrics"} {
		want(t, r.do("GET", "x", target, ""), 404, "Message")
	}
	want(t, r.send(r.sign(r.request("GET", "x", "/fn/none/", ""), "")), 404, "not found")
}

// TestPrefix is what an application is told of the path that led to it, in either form
// of a request's target (RFC 9112, section 3.2).
func TestPrefix(t *testing.T) {
	r := newRig(t)
	r.application("app", func(w http.ResponseWriter, _ *http.Request, target gateway.Target) {
		_, _ = fmt.Fprintf(w, "%s+%s", target.Prefix, target.Path)
	})
	u, err := r.catalog.CreateURL(t.Context(), lambent.URL{Namespace: account, Function: "app", AuthType: "NONE", Internal: true})
	if err != nil {
		t.Fatal(err)
	}
	host := u.ID + ".lambda-url." + region + ".localhost"
	for in, want := range map[string]string{
		"GET /fn/app":                       "/fn/app+/",
		"GET /fn/%61pp/":                    "/fn/%61pp+/",
		"GET http://localhost/fn/app/a?b=c": "/fn/app+/a",
		"GET http://" + host + "/a":         "+/a",
		"GET http://" + host:                "+/",
	} {
		out := r.talk(in + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.HasSuffix(out, "\r\n\r\n"+want) {
			t.Errorf("%s answers %q, want %q", in, out, want)
		}
	}
}

func TestWhoMayCall(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{AuthType: "NONE"})
	want(t, r.do("GET", host, "/", ""), 403, "Forbidden. For troubleshooting") // nothing lets anybody in yet
	r.open("")
	want(t, r.do("GET", host, "/", ""), 200, "rawPath")
	if _, err := r.catalog.CreateAlias(t.Context(), lambent.Alias{Namespace: account, Function: "hello", Name: "live", Version: "1"}); err != nil {
		t.Fatal(err)
	}
	iam := r.url(lambent.URL{AuthType: "AWS_IAM", Qualifier: "live"})
	want(t, r.do("POST", iam, "/a?b=c", "{}"), 403, "Forbidden. For troubleshooting")
	req := r.sign(r.request("POST", iam, "/a?b=c", "{}", "Content-Type", "application/json"), "{}")
	e := eventOf(t, r.send(req))
	c := e["requestContext"].(map[string]any)
	if c["authorizer"].(map[string]any)["iam"].(map[string]any)["accountId"] != account || e["body"] != "{}" {
		t.Errorf("event %v", e)
	}
	want(t, r.send(r.sign(r.request("POST", iam, "/a", "{}"), "{ }")), 403, "signature")
	if err := r.catalog.RemoveStatement(t.Context(), lambent.FunctionARN(region, account, "hello", ""), "open", ""); err != nil {
		t.Fatal(err)
	}
	want(t, r.do("GET", host, "/", ""), 403, "Forbidden")
	if err := r.catalog.DeleteURL(t.Context(), account, "hello", ""); err != nil {
		t.Fatal(err)
	}
	want(t, r.do("GET", host, "/", ""), 404, "no function URL")
	if err := r.catalog.DeleteAlias(t.Context(), account, "hello", "live"); err != nil {
		t.Fatal(err)
	}
	want(t, r.do("GET", iam, "/", ""), 404, "no function URL")
}

// Who has assumed a role may call what it allows.
// TestCORSForAll allows all there is: browsers get it by name.
func TestCORSForAll(t *testing.T) {
	r := newRig(t)
	all := []string{"*"}
	host := r.url(lambent.URL{CORS: &lambent.CORS{AllowOrigins: all, AllowMethods: all, AllowHeaders: all, AllowCredentials: true}})
	got := r.do("OPTIONS", host, "/", "", "Origin", "https://a.example", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization,x-a")
	for name, value := range map[string]string{
		"Access-Control-Allow-Origin": "https://a.example", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "authorization,x-a",
		"Access-Control-Allow-Credentials": "true", "Vary": "Origin",
	} {
		if got.header.Get(name) != value || got.status != 200 {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
	if got := r.do("GET", host, "/", ""); got.header.Get("Vary") != "Origin" || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without an origin: %v", got.header)
	}
}

// TestSignatureStaysHere is what a function and an application get of a signed request:
// not what would let them send it again.
func TestSignatureStaysHere(t *testing.T) {
	r := newRig(t)
	r.application("app", func(w http.ResponseWriter, q *http.Request, target gateway.Target) {
		_, _ = fmt.Fprint(w, target.Query, q.Header)
	})
	key := r.keys.Default()
	credentials := aws.Credentials{AccessKeyID: key.Access, SecretAccessKey: key.Secret, SessionToken: key.Token}
	for _, function := range []string{"hello", "app"} {
		req := r.request("GET", "x", "/fn/"+function+"/?a=b", "", "X-Mine", "this")
		link, _, err := v4.NewSigner().PresignHTTP(t.Context(), credentials, req, sum(""), "lambda", region, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_, query, _ := strings.Cut(link, "?")
		inQuery := r.request("GET", "x", "/fn/"+function+"/?"+query, "", "X-Mine", "this")
		for _, got := range []answer{r.send(r.sign(req, "")), r.send(inQuery)} {
			if got.status != 200 || strings.Contains(got.body, "AWS4-HMAC-SHA256 C") || strings.Contains(got.body, "X-Amz-Signature") {
				t.Errorf("%s got %d %s", function, got.status, got.body)
			}
			for _, want := range []string{"a=b", "this"} {
				if !strings.Contains(got.body, want) {
					t.Errorf("%s got %s, without %s", function, got.body, want)
				}
			}
		}
	}
}

func TestWhoMayCallByRole(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{AuthType: "AWS_IAM"})
	clerk := auth.Assumed{Account: account, Role: "arn:aws:iam::" + account + ":role/clerk", Name: "me", Expires: time.Now().Add(time.Hour).Unix()}
	other := clerk
	other.Account = "999999999999"
	call := func(who auth.Assumed) answer {
		return r.send(r.signBy(r.keys.Assume(who), r.request("POST", host, "/", "{}"), "{}"))
	}
	want(t, call(clerk), 403, "Forbidden. For troubleshooting")
	r.permit("lambda:InvokeFunctionUrl", lambent.FunctionARN(region, account, "hello", ""))
	want(t, call(clerk), 200, "assumed-role/clerk/me")
	want(t, call(other), 403, "Forbidden. For troubleshooting")
	r.permit("lambda:InvokeFunction", lambent.FunctionARN(region, account, "hello", ""))
	want(t, call(clerk), 403, "Forbidden. For troubleshooting")
	r.function("quiet") // has no URL, and is called by its path
	byPath := func() answer {
		return r.send(r.signBy(r.keys.Assume(clerk), r.request("POST", r.addr, "/fn/quiet", "{}"), "{}"))
	}
	want(t, byPath(), 403, "Forbidden. For troubleshooting")
	r.permit("lambda:InvokeFunction", lambent.FunctionARN(region, account, "quiet", ""))
	want(t, byPath(), 200, "assumed-role/clerk/me")
}

func TestAnswers(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	for payload, expect := range map[string]struct {
		status int
		body   string
	}{
		`{"statusCode":201,"headers":{"x-a":"b\r\nx-c: d","x-lambent-error":"mine","Connection":"close","transfer-encoding":"x"},"cookies":["a=b","c=d"],"body":"hi"}`: {201, "hi"},
		`{"statusCode":204,"body":"dropped"}`:                     {204, ""},
		`{"statusCode":200,"body":"AP8=","isBase64Encoded":true}`: {200, "\x00\xff"},
		`"text"`:              {200, "text"},
		`{"a":1}`:             {200, `{"a":1}`},
		`{"statusCode":"no"}`: {502, `{"message":"Internal Server Error"}`},
		`not json`:            {502, `{"message":"Internal Server Error"}`},
	} {
		r.runs(answering(payload))
		got := r.do("GET", host, "/", "")
		if got.status != expect.status || got.body != expect.body {
			t.Errorf("%s: %d %q", payload, got.status, got.body)
		}
		if got.status == 201 && (len(got.header["Set-Cookie"]) != 2 || got.header.Get("X-A") != "b  x-c: d" || got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Lambent-Error") != "") {
			t.Errorf("header %v", got.header)
		}
		if got.status == 502 && got.header.Get("X-Lambent-Error") == "" {
			t.Error("no reason is given")
		}
	}
	r.runs(func(context.Context, *lambent.Invocation) (*lambent.Result, error) {
		return &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout"}, nil
	})
	got := r.do("GET", host, "/", "")
	want(t, got, 504, `"layer":"function","limit":"timeout 3s"`)
	if got.header.Get("X-Lambent-Error") != "function: timeout 3s" {
		t.Errorf("header %v", got.header)
	}
	r.runs(func(context.Context, *lambent.Invocation) (*lambent.Result, error) {
		return &lambent.Result{FunctionError: "Unhandled", ErrorType: "ValueError", Payload: []byte(`{"errorMessage":"secret"}`)}, nil
	})
	want(t, r.do("GET", host, "/", ""), 502, `{"message":"Internal Server Error"}`)
	for code, status := range map[lambent.Code]int{lambent.CodeThrottled: 429, lambent.CodeUnavailable: 503, lambent.CodeInternal: 502, lambent.CodeNotFound: 404} {
		r.runs(func(context.Context, *lambent.Invocation) (*lambent.Result, error) {
			return nil, &lambent.Error{Code: code, Message: "why"}
		})
		want(t, r.do("GET", host, "/", ""), status, "Message")
	}
}

func TestCORS(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{CORS: &lambent.CORS{
		AllowOrigins: []string{"https://a.example"}, AllowMethods: []string{"GET", "POST"}, AllowHeaders: []string{"x-a", "x-b"},
		ExposeHeaders: []string{"x-c"}, AllowCredentials: true, MaxAge: 60,
	}})
	r.runs(answering(`{"statusCode":200,"headers":{"access-control-allow-origin":"https://evil.example","vary":"x-q"},"body":"ran"}`))
	ask := func(origin, method string) answer {
		return r.do("OPTIONS", host, "/", "", "Origin", origin, "Access-Control-Request-Method", method)
	}
	got := ask("https://a.example", "POST")
	for name, value := range map[string]string{
		"Access-Control-Allow-Origin": "https://a.example", "Access-Control-Allow-Methods": "GET,POST", "Access-Control-Allow-Headers": "x-a,x-b",
		"Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "60", "Vary": "Origin",
	} {
		if got.header.Get(name) != value || got.status != 200 || got.body != "" {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
	if got := ask("https://evil.example", "GET"); got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("another origin is allowed")
	}
	if got := ask("https://a.example", "DELETE"); got.header.Get("Access-Control-Allow-Methods") != "" {
		t.Error("another method is allowed")
	}
	got = r.do("GET", host, "/", "", "Origin", "https://a.example")
	if got.body != "ran" || got.header.Get("Access-Control-Allow-Origin") != "https://a.example" || got.header.Get("Access-Control-Expose-Headers") != "x-c" || len(got.header["Vary"]) != 2 {
		t.Errorf("%v", got)
	}
	want(t, r.do("OPTIONS", host, "/", ""), 200, "ran") // not a browser's question
}

func TestBodySizes(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		return &lambent.Result{Payload: fmt.Appendf(nil, `"%d"`, len(inv.Payload))}, nil
	})
	for _, size := range []int{1, 4 << 20, 5 << 20, lambent.MaxPayload, lambent.MaxPayload + 1, 9 << 20} {
		for _, chunked := range []bool{false, true} {
			req := r.request("POST", host, "/", strings.Repeat("x", size), "Content-Type", "text/plain")
			if chunked {
				req.ContentLength = -1
			}
			status := 200
			if size >= lambent.MaxPayload {
				status = 413
			}
			want(t, r.send(req), status, "")
		}
	}
	// In base64 it is a third larger.
	want(t, r.do("POST", host, "/", strings.Repeat("x", 5<<20), "Content-Type", "image/png"), 413, "must be smaller")
}

// Routing costs look-ups: it does not grow with what there is.
func TestManyFunctions(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	cost := func() time.Duration {
		best := time.Hour
		for range 30 {
			begin := time.Now()
			r.do("GET", host, "/", "")
			best = min(best, time.Since(begin))
		}
		return best
	}
	few := cost()
	for i := range 300 {
		r.function(fmt.Sprint("other-", i))
	}
	if many := cost(); many > 5*few+5*time.Millisecond {
		t.Errorf("a request takes %v, and %v with 300 functions", few, many)
	}
}

func TestAccessLog(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	r.do("GET", host, "/path?token=secret", "")
	time.Sleep(20 * time.Millisecond)
	if line := r.log.text(); !strings.Contains(line, "path=/path ") || !strings.Contains(line, "status=200") || strings.Contains(line, "secret") {
		t.Errorf("log %q", line)
	}
}

// TestInternalURL answers callers by the address of their connection, by host name
// and by path, whatever headers and statements say.
func TestInternalURL(t *testing.T) {
	r := newRig(t)
	r.open("")
	host := r.url(lambent.URL{AuthType: "NONE", Internal: true, Networks: []string{"10.1.0.0/16", "fd00::/8"}})
	want(t, r.do("GET", host, "/", ""), 200, "rawPath")
	for address, status := range map[string]int{
		"127.0.0.1:1": 200, "[::1]:1": 200, "127.9.9.9:1": 200, "10.1.2.3:1": 200, "[::ffff:10.1.2.3]:1": 200, "[fd00::1]:1": 200,
		"10.2.0.1:1": 403, "192.0.2.1:1": 403, "[2001:db8::1]:1": 403, "": 403, "@": 403,
	} {
		for _, target := range []string{"/", "/fn/hello/"} {
			q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
			if q.Host = host; target != "/" {
				q.Host = "x"
			}
			q.RemoteAddr = address
			q.Header.Set("X-Forwarded-For", "127.0.0.1")
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, q)
			if w.Code != status {
				t.Errorf("%q at %s: %d, want %d", address, target, w.Code, status)
			}
		}
	}
	for name, u := range map[string]lambent.URL{
		"signed, too":          {AuthType: "AWS_IAM", Internal: true},
		"networks for nothing": {AuthType: "NONE", Networks: []string{"10.0.0.0/8"}},
		"no network":           {AuthType: "NONE", Internal: true, Networks: []string{"10.0.0.1"}},
	} {
		u.Namespace, u.Function, u.Qualifier = account, "hello", "live"
		if _, err := r.catalog.CreateURL(t.Context(), u); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// patience counts the deadlines that a body is written under.
type patience struct {
	*httptest.ResponseRecorder
	set, ended int
}

func (p *patience) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		p.ended++
	} else {
		p.set++
	}
	return nil
}

// TestSlowReader is waited for part by part, when an answer is large.
func TestSlowReader(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{})
	for size, parts := range map[int]int{10: 0, 60 << 10: 0, 100 << 10: 1, 1 << 20: 4} {
		body := strings.Repeat("x", size)
		r.runs(answering(`"` + body + `"`))
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		q.Host = host
		w := &patience{ResponseRecorder: httptest.NewRecorder()}
		r.handler.ServeHTTP(w, q)
		if w.Body.String() != body || w.set != parts || w.ended != min(parts, 1) {
			t.Errorf("%d bytes: %d come, under %d deadlines, of which %d are taken back", size, w.Body.Len(), w.set, w.ended)
		}
	}
}
