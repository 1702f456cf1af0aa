package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

var testTime = time.Date(2026, 1, 1, 0, 15, 0, 0, time.UTC)

// call says how a test's request is signed and changed afterwards.
type call struct {
	method, target, body string
	header               map[string]string
	service, region      string
	access, secret       string
	token                string
	at                   time.Time
	payload              string // hash to sign; that of body when empty
	after                func(*http.Request)
}

// signed is a request as the SDK's signer makes it and the server's parser reads it.
func (c call) signed(tb testing.TB) *http.Request {
	tb.Helper()
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.method, "POST")
	set(&c.target, "/2015-03-31/functions/hello/invocations")
	set(&c.service, "lambda")
	set(&c.region, "us-east-1")
	set(&c.access, docAccess)
	set(&c.secret, docSecret)
	if c.at.IsZero() {
		c.at = testTime
	}
	r, err := http.NewRequest(c.method, "http://127.0.0.1:9000"+c.target, strings.NewReader(c.body))
	if err != nil {
		tb.Fatal(err)
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	if c.payload == "" {
		sum := sha256.Sum256([]byte(c.body))
		c.payload = hex.EncodeToString(sum[:])
	}
	creds := aws.Credentials{AccessKeyID: c.access, SecretAccessKey: c.secret, SessionToken: c.token}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = c.service == "s3" })
	if err := signer.SignHTTP(context.Background(), creds, r, c.payload, c.service, c.region, c.at); err != nil {
		tb.Fatal(err)
	}
	got := received(tb, r)
	if c.after != nil {
		c.after(got)
	}
	return got
}

// received is r after a trip through the wire format.
func received(tb testing.TB, r *http.Request) *http.Request {
	tb.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		tb.Fatal(err)
	}
	got := httptest.NewRequest(r.Method, "http://127.0.0.1:9000/", nil)
	parsed, err := http.ReadRequest(newBufio(&wire))
	if err != nil {
		tb.Fatal(err)
	}
	return parsed.WithContext(got.Context())
}

// echo answers with the identity and the body.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id, ok := From(r.Context())
	if !ok {
		http.Error(w, "no identity", http.StatusInternalServerError)
		return
	}
	body, err := Body(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	w.Header().Set("Account", id.AccountID)
	w.Header().Set("Service", id.Service)
	_, _ = w.Write(body)
})

// serviceOf is as a server with two services has it.
func serviceOf(r *http.Request) string {
	switch {
	case strings.HasPrefix(r.URL.Path, "/2015-03-31/"):
		return "lambda"
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "Logs_"):
		return "logs"
	}
	return ""
}

func handler(change ...func(*MiddlewareOptions)) http.Handler {
	o := MiddlewareOptions{
		Region: "us-east-1", Service: serviceOf,
		Now: func() time.Time { return testTime },
	}
	for _, c := range change {
		c(&o)
	}
	return docKeys(docAccess, docSecret).Middleware(echo, o)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAcceptsSDKRequests(t *testing.T) {
	tests := map[string]call{
		"invoke":                 {body: `{"a":1}`, header: map[string]string{"Content-Type": "application/json"}},
		"empty body":             {},
		"no body":                {method: "GET", target: "/2015-03-31/functions"},
		"root":                   {method: "GET", target: "/"},
		"query":                  {method: "GET", target: "/2015-03-31/functions?Marker=a%2Fb%3D%3D&MaxItems=10&FunctionVersion=ALL"},
		"empty value":            {method: "GET", target: "/x?list&b=&a=1"},
		"space in query":         {method: "GET", target: "/x?a=b%20c&d=%2B"},
		"ARN in path":            {method: "GET", target: "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello%3A1"},
		"$LATEST in path":        {method: "GET", target: "/2015-03-31/functions/hello:$LATEST/x"},
		"escaped dollar":         {method: "GET", target: "/2015-03-31/functions/hello%3A%24LATEST/x"},
		"unicode":                {method: "GET", target: "/2015-03-31/functions/h%C3%A9llo%20w/invocations?Qualifier=%E2%82%AC"},
		"double slash":           {method: "GET", target: "//a//b/../c/./d"},
		"sub-delimiters":         {method: "GET", target: "/a!b'c(d)e*f,g;h=i@j&k+l~m"},
		"repeated parameters":    {method: "DELETE", target: "/2017-03-31/tags/x?tagKeys=a%2Fb&tagKeys=a-b&tagKeys=a&tagKeys=%7Eb"},
		"spaces in a header":     {header: map[string]string{"X-Amz-Client-Context": "  a   b  c ", "Content-Type": "text/plain;  charset=utf-8"}},
		"declared hash":          {body: "abc", header: map[string]string{"X-Amz-Content-Sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},
		"four minutes late":      {at: testTime.Add(-4 * time.Minute)},
		"five minutes late":      {at: testTime.Add(-5 * time.Minute)},
		"four minutes early":     {at: testTime.Add(4 * time.Minute)},
		"logs":                   {target: "/", service: "logs", body: "{}", header: map[string]string{"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}},
		"S3 path is single":      {method: "GET", target: "/bucket/a%20b/c%2Bd", service: "s3", header: map[string]string{"X-Amz-Content-Sha256": emptySHA256}},
		"S3 fourteen min. early": {method: "GET", target: "/b/k", service: "s3", at: testTime.Add(-14 * time.Minute)},
		"unsigned user agent":    {after: func(r *http.Request) { r.Header.Set("User-Agent", "other") }},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			w := serve(handler(), c.signed(t))
			if w.Code != http.StatusOK || w.Body.String() != c.body || w.Header().Get("Account") != DefaultAccount {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		})
	}
}

const mismatchText = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

func TestRefusals(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	edit := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			old := r.Header.Get("Authorization")
			changed := strings.Replace(old, from, to, 1)
			if changed == old {
				panic("nothing to edit: " + from)
			}
			r.Header.Set("Authorization", changed)
		}
	}
	tests := map[string]struct {
		call
		reason, message string
	}{
		"no signature":     {call{after: func(r *http.Request) { r.Header.Del("Authorization") }}, reasonMissing, "Missing Authentication Token"},
		"wrong secret":     {call{secret: "another"}, reasonInvalid, mismatchText},
		"unknown key":      {call{access: "AKIAUNKNOWN"}, reasonUnrecognized, "The security token included in the request is invalid."},
		"unexpected token": {call{token: "session"}, reasonUnrecognized, "The security token included in the request is invalid."},
		"expired": {
			call{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, reasonInvalid,
			"Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z (20260101T001500Z - 5 min.)",
		},
		"not yet current": {
			call{at: time.Date(2026, 1, 1, 0, 20, 1, 0, time.UTC)}, reasonInvalid,
			"Signature not yet current: 20260101T002001Z is still later than 20260101T002000Z (20260101T001500Z + 5 min.)",
		},
		"other service": {call{service: "sqs"}, reasonInvalid, "Credential should be scoped to correct service: 'lambda'. "},
		"other region":  {call{region: "eu-west-1"}, reasonInvalid, "Credential should be scoped to a valid region, not 'eu-west-1'. "},
		"body changed":  {call{body: "abc", after: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("abd")) }}, reasonInvalid, mismatchText},
		"body changed under a declared hash": {
			call{body: "abc", header: map[string]string{"X-Amz-Content-Sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
				after: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("abd")) }}, reasonInvalid, mismatchText,
		},
		"path changed":         {call{after: func(r *http.Request) { r.RequestURI = "/2015-03-31/functions/other/invocations" }}, reasonInvalid, mismatchText},
		"query added":          {call{after: func(r *http.Request) { r.URL.RawQuery = "Qualifier=1" }}, reasonInvalid, mismatchText},
		"method changed":       {call{after: func(r *http.Request) { r.Method = "PUT" }}, reasonInvalid, mismatchText},
		"host changed":         {call{after: func(r *http.Request) { r.Host = "other" }}, reasonInvalid, mismatchText},
		"signed header added":  {call{after: edit("host;", "host;range;")}, reasonInvalid, mismatchText},
		"host is not signed":   {call{after: edit("host;", "")}, reasonInvalid, "'host' must be a 'SignedHeader' in the AWS Authorization."},
		"X-Amz header added":   {call{after: header("X-Amz-Log-Type", "Tail")}, reasonInvalid, "'x-amz-log-type' must be a 'SignedHeader' in the AWS Authorization."},
		"date is not signed":   {call{after: edit(";x-amz-date", "")}, reasonInvalid, "'x-amz-date' must be a 'SignedHeader' in the AWS Authorization."},
		"date moved":           {call{after: header("X-Amz-Date", "20260101T001501Z")}, reasonInvalid, mismatchText},
		"scope of another day": {call{after: edit("/20260101/", "/20251231/")}, reasonInvalid, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20251231' != '20260101', from '20260101T001500Z'."},
		"no date":              {call{after: func(r *http.Request) { r.Header.Del("X-Amz-Date") }}, reasonIncomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
		"date malformed":       {call{after: header("X-Amz-Date", "2026-01-01")}, reasonIncomplete, "Date must be in ISO-8601 'basic format'. Got '2026-01-01'. See http://en.wikipedia.org/wiki/ISO_8601"},
		"terminator":           {call{after: edit("/aws4_request", "/aws3_request")}, reasonInvalid, "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws3_request'."},
		"credential too short": {call{after: edit("/us-east-1/lambda", "/lambda")}, reasonIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '"},
		"bearer":               {call{after: header("Authorization", "Bearer secret")}, reasonIncomplete, "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '"},
		"no signature field":   {call{after: edit("Signature=", "Signed=")}, reasonIncomplete, "Authorization header requires 'Signature' parameter. (Hashed"},
		"asymmetric":           {call{after: edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")}, reasonIncomplete, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		"unsigned chunks": {
			call{payload: payloadUnsignedTrailer, header: map[string]string{"X-Amz-Content-Sha256": payloadUnsignedTrailer}}, reasonInvalid,
			"The payload of a request to this service must be signed: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' is not accepted.",
		},
		"unsigned payload": {
			call{payload: payloadUnsigned, header: map[string]string{"X-Amz-Content-Sha256": payloadUnsigned}}, reasonInvalid,
			"The payload of a request to this service must be signed: 'UNSIGNED-PAYLOAD' is not accepted.",
		},
		"two mechanisms": {call{after: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }}, reasonIncomplete, "Only one authentication mechanism is allowed in a request."},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			w := serve(handler(), c.signed(t))
			var got struct{ Message string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%v in %s", err, w.Body)
			}
			if w.Code != http.StatusForbidden || w.Header().Get("X-Amzn-Errortype") != c.reason || !strings.HasPrefix(got.Message, c.message) {
				t.Errorf("got %d %s %q\nwant %s %q", w.Code, w.Header().Get("X-Amzn-Errortype"), got.Message, c.reason, c.message)
			}
			if strings.Contains(w.Body.String(), docSecret) || strings.Contains(w.Body.String(), "Bearer secret") {
				t.Error("the answer holds a secret")
			}
		})
	}
}

func TestRefusesInJSONProtocol(t *testing.T) {
	c := call{target: "/", service: "lambda", header: map[string]string{"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}}
	h := handler()
	w := serve(h, c.signed(t))
	want := `{"__type":"InvalidSignatureException","message":"Credential should be scoped to correct service: 'logs'. "}`
	if w.Code != http.StatusBadRequest || w.Body.String() != want || w.Header().Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("X-Amz-Target", "Logs_20140328.DescribeLogGroups")
	if w := serve(h, r); !strings.Contains(w.Body.String(), "Request is missing Authentication Token") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBodyLimit(t *testing.T) {
	const most = 1000
	h := handler(func(o *MiddlewareOptions) {
		o.MaxBody = most
		o.Operation = func(*http.Request) string { return "CreateFunction" }
	})
	if w := serve(h, call{body: strings.Repeat("x", most)}.signed(t)); w.Code != http.StatusOK {
		t.Errorf("%d bytes: %d %s", most, w.Code, w.Body)
	}
	for name, hide := range map[string]bool{"declared": false, "unknown length": true} {
		t.Run(name, func(t *testing.T) {
			r := call{body: strings.Repeat("x", most+1)}.signed(t)
			if hide {
				r.ContentLength = -1
			}
			w := serve(h, r)
			want := `{"message":"Request must be smaller than 1000 bytes for the CreateFunction operation"}`
			if w.Code != http.StatusRequestEntityTooLarge || w.Body.String() != want {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// A body that is refused by its length, or whose caller is unknown, is not held
// in memory; one that ends early is no body.
func TestBodyCutShort(t *testing.T) {
	r := call{body: "0123456789"}.signed(t)
	r.Body = io.NopCloser(strings.NewReader("0123"))
	if w := serve(handler(), r); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPresigned(t *testing.T) {
	presign := func(target, expires string) *http.Request {
		r, _ := http.NewRequest(http.MethodGet, "http://127.0.0.1:9000"+target+"X-Amz-Expires="+expires, nil)
		url, _, err := v4.NewSigner().PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: docAccess, SecretAccessKey: docSecret},
			r, emptySHA256, "lambda", "us-east-1", testTime)
		if err != nil {
			t.Fatal(err)
		}
		got := httptest.NewRequest(http.MethodGet, url, nil)
		got.RequestURI = strings.TrimPrefix(url, "http://127.0.0.1:9000")
		return got
	}
	at := func(d time.Duration) http.Handler {
		return handler(func(o *MiddlewareOptions) { o.Now = func() time.Time { return testTime.Add(d) } })
	}
	w := serve(at(59*time.Minute), presign("/a%20b/c?q=1&", "3600"))
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = serve(at(61*time.Minute), presign("/a?", "3600"))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Signature expired: 20260101T001500Z is now earlier than 20260101T001600Z (20260101T011600Z - 60 min.)") {
		t.Errorf("expired: %d %s", w.Code, w.Body)
	}
	for _, bad := range []string{"0", "604801", "-1", "x", "3600&X-Amz-Expires=3600"} {
		if w := serve(at(0), presign("/a?", bad)); w.Code != http.StatusForbidden {
			t.Errorf("X-Amz-Expires=%s: %d", bad, w.Code)
		}
	}
	r := presign("/a?", "3600")
	r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Expires=3600", "X-Amz-Expires=7200", 1)
	if w := serve(at(0), r); w.Code != http.StatusForbidden {
		t.Errorf("a longer expiry was accepted: %d", w.Code)
	}
	r = presign("/a?", "3600")
	r.Header.Set("X-Amz-Log-Type", "Tail")
	if w := serve(at(0), r); w.Code != http.StatusForbidden {
		t.Errorf("an unsigned header was accepted: %d", w.Code)
	}
}

// Whatever the path, query and header, what the SDK signs is accepted, and with
// any byte of the signature changed it is not.
func TestAgreesWithSDK(t *testing.T) {
	text := rapid.StringMatching(`[a-zA-Z0-9 %&=+/~:;,.@$!*'()\-_ü€]{0,12}`)
	h := handler()
	rapid.Check(t, func(rt *rapid.T) {
		var target strings.Builder
		for range rapid.IntRange(1, 4).Draw(rt, "segments") {
			target.WriteString("/" + pathEscape(text.Draw(rt, "segment")))
		}
		sep := "?"
		for range rapid.IntRange(0, 4).Draw(rt, "parameters") {
			target.WriteString(sep + queryEscape("k"+text.Draw(rt, "name")) + "=" + queryEscape(text.Draw(rt, "value")))
			sep = "&"
		}
		c := call{target: target.String(), body: text.Draw(rt, "body"), header: map[string]string{
			"X-Amz-Meta": rapid.StringMatching(`[ -~]{0,20}`).Draw(rt, "header"),
		}}
		r := c.signed(t)
		if w := serve(h, r); w.Code != http.StatusOK {
			rt.Fatalf("%s: %d %s", c.target, w.Code, w.Body)
		}
		r = c.signed(t)
		i := rapid.IntRange(1, 64).Draw(rt, "digit")
		auth := []byte(r.Header.Get("Authorization"))
		auth[len(auth)-i] ^= 1
		r.Header.Set("Authorization", string(auth))
		if w := serve(h, r); w.Code != http.StatusForbidden {
			rt.Fatalf("%s: accepted with another signature", c.target)
		}
	})
}
