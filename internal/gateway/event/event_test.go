package event_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lambent.dev/lambent/internal/gateway/event"
)

func sample() *event.Request {
	return &event.Request{
		Method: "POST", Protocol: "HTTP/1.1", Path: "/a%2Fb", Query: "x=1&y=a%20b+c&x=2&z", Host: "abc.lambda-url.us-east-1.localhost:8080",
		Header: http.Header{
			"Content-Type": {"text/plain; charset=utf-8"}, "Cookie": {"a=1; b=2", "c=3"}, "X-Many": {"1", "2"}, "User-Agent": {"curl"},
			"Connection": {"close"}, "X-Forwarded-For": {"10.0.0.1"}, "Authorization": {"Bearer x"},
		},
		SourceIP: "127.0.0.1", Scheme: "http", Port: "8080", Body: []byte("hällo \"you\"\n"),
		RequestID: "id", TraceID: "Root=1-2-3", Time: time.Date(2020, 3, 12, 19, 3, 58, 390e6, time.UTC), APIID: "abc", AccountID: "anonymous",
	}
}

const sampleEvent = `{"version":"2.0","routeKey":"$default","rawPath":"/a%2Fb","rawQueryString":"x=1&y=a%20b+c&x=2&z",
	"cookies":["a=1","b=2","c=3"],
	"headers":{"host":"abc.lambda-url.us-east-1.localhost:8080","authorization":"Bearer x","content-type":"text/plain; charset=utf-8",
		"user-agent":"curl","x-many":"1,2","x-forwarded-for":"10.0.0.1,127.0.0.1","x-forwarded-port":"8080","x-forwarded-proto":"http","x-amzn-trace-id":"Root=1-2-3"},
	"queryStringParameters":{"x":"1,2","y":"a b c","z":""},
	"requestContext":{"accountId":"anonymous","apiId":"abc","domainName":"abc.lambda-url.us-east-1.localhost","domainPrefix":"abc",
		"http":{"method":"POST","path":"/a%2Fb","protocol":"HTTP/1.1","sourceIp":"127.0.0.1","userAgent":"curl"},
		"requestId":"id","routeKey":"$default","stage":"$default","time":"12/Mar/2020:19:03:58 +0000","timeEpoch":1584039838390},
	"body":"hällo \"you\"\n","isBase64Encoded":false}`

func decode(t testing.TB, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v: %q", err, b)
	}
	return v
}

func TestAppendV2(t *testing.T) {
	got := decode(t, event.AppendV2(nil, sample()))
	if want := decode(t, []byte(sampleEvent)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	r := sample()
	r.IAM = &event.IAM{AccessKey: "AK", Account: "111111111111", UserARN: "arn:aws:iam::111111111111:root"}
	r.Body, r.Query, r.Header = nil, "", nil
	got = decode(t, event.AppendV2(nil, r))
	for _, absent := range []string{"body", "cookies", "queryStringParameters"} {
		if _, ok := got[absent]; ok {
			t.Errorf("a request without any has %s", absent)
		}
	}
	iam := got["requestContext"].(map[string]any)["authorizer"].(map[string]any)["iam"].(map[string]any)
	if iam["userArn"] != r.IAM.UserARN || iam["accountId"] != r.IAM.Account {
		t.Errorf("authorizer %v", iam)
	}
}

func TestBodies(t *testing.T) {
	for kind, text := range map[string]bool{
		"text/html": true, "application/json": true, "application/problem+json": true, "APPLICATION/XML": true, "application/javascript": true,
		"application/x-www-form-urlencoded": false, "multipart/form-data; boundary=x": false, "image/png": false, "": false,
	} {
		for body, valid := range map[string]bool{"ab": true, "\xff\xfe": false} {
			r := sample()
			r.Header, r.Body = http.Header{"Content-Type": {kind}}, []byte(body)
			got := decode(t, event.AppendV2(nil, r))
			want := base64.StdEncoding.EncodeToString(r.Body)
			if text && valid {
				want = body
			}
			if got["body"] != want || got["isBase64Encoded"] == (text && valid) {
				t.Errorf("%q of type %q: %v, %v", body, kind, got["body"], got["isBase64Encoded"])
			}
		}
	}
	r := sample()
	r.Header = http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}}
	if got := decode(t, event.AppendV2(nil, r)); got["isBase64Encoded"] != true {
		t.Error("a compressed body is taken for text")
	}
}

// FuzzAppendV2 holds the event against what encoding/json and net/url make of the
// same request.
func FuzzAppendV2(f *testing.F) {
	f.Add("GET", "/", "", "h", "x-name", "value", "text/plain", []byte("body"))
	f.Add("PO\"ST", "/\xff%ff", "a=1&a=2&b=%zz&=&%41=+", "[::1]:80", "COOKIE", "a; ;b", "application/json", []byte("\xff\"\\\x00\u2028"))
	f.Fuzz(func(t *testing.T, method, path, query, host, name, value, kind string, body []byte) {
		r := sample()
		r.Method, r.Path, r.Query, r.Host, r.Body = method, path, query, host, body
		r.Header = http.Header{"Content-Type": {kind}}
		r.Header.Add(name, value)
		got := decode(t, event.AppendV2([]byte(nil), r))
		clean := func(s string) string {
			b, _ := json.Marshal(s)
			var out string
			_ = json.Unmarshal(b, &out)
			return out
		}
		if got["rawPath"] != clean(path) || got["rawQueryString"] != clean(query) {
			t.Errorf("path %q, query %q", got["rawPath"], got["rawQueryString"])
		}
		if h := got["headers"].(map[string]any); h["host"] != clean(host) {
			t.Errorf("host %q", h["host"])
		}
		context := got["requestContext"].(map[string]any)["http"].(map[string]any)
		if context["method"] != clean(method) {
			t.Errorf("method %q", context["method"])
		}
		if values, err := url.ParseQuery(query); err == nil && !strings.Contains(query, ";") {
			params, _ := got["queryStringParameters"].(map[string]any)
			for k, v := range values {
				if utf8.ValidString(k) && params[k] != clean(strings.Join(v, ",")) {
					t.Errorf("parameter %q is %q, want %q", k, params[k], v)
				}
			}
		}
		text, _ := got["body"].(string)
		if got["isBase64Encoded"] == true {
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil || !bytes.Equal(raw, body) {
				t.Errorf("body %q, %v", text, err)
			}
		} else if text != string(body) {
			t.Errorf("body %q, want %q", text, body)
		}
	})
}

func TestParseV2(t *testing.T) {
	field := func(name, value string) event.Field { return event.Field{Name: name, Value: value} }
	typed := field("Content-Type", "application/json")
	for in, want := range map[string]*event.Answer{
		`"hello"`:                      {Status: 200, Header: []event.Field{typed}, Body: []byte("hello")},
		` 12 `:                         {Status: 200, Header: []event.Field{typed}, Body: []byte(" 12 ")},
		`null`:                         {Status: 200, Header: []event.Field{typed}, Body: []byte("null")},
		`[1,2]`:                        {Status: 200, Header: []event.Field{typed}, Body: []byte("[1,2]")},
		`{"a":{"statusCode":1}}`:       {Status: 200, Header: []event.Field{typed}, Body: []byte(`{"a":{"statusCode":1}}`)},
		`{"statusCode":204}`:           {Status: 204, Header: []event.Field{typed}},
		`{"statusCode":"418"}`:         {Status: 418, Header: []event.Field{typed}},
		`{"statusCode":200,"body":{}}`: {Status: 200, Header: []event.Field{typed}, Body: []byte("{}")},
		`{"statusCode":200,"body":null,"headers":null,"cookies":null}`:        {Status: 200, Header: []event.Field{typed}},
		`{ "statusCode" : 200 , "body" : "aGk=" , "isBase64Encoded" : true }`: {Status: 200, Header: []event.Field{typed}, Body: []byte("hi")},
		`{"statusCode":200,"headers":{"content-type":"text/html","x-n":1,"x-b":true,"content-length":"9","bad name":"x"},"cookies":["a=b","c=d"],"body":"\u00e4\n"}`: {
			Status: 200, Body: []byte("ä\n"),
			Header: []event.Field{field("Content-Type", "text/html"), field("X-N", "1"), field("X-B", "true"), field("Set-Cookie", "a=b"), field("Set-Cookie", "c=d")},
		},
		``: nil, `{`: nil, `hello`: nil,
		`{"statusCode":"abc"}`: nil, `{"statusCode":99}`: nil, `{"statusCode":101}`: nil, `{"statusCode":700}`: nil, `{"statusCode":null}`: nil, `{"statusCode":200.5}`: nil,
		`{"statusCode":200,"headers":[]}`: nil, `{"statusCode":200,"headers":{"a":{}}}`: nil, `{"statusCode":200,"cookies":"a"}`: nil,
		`{"statusCode":200,"cookies":[[]]}`: nil, `{"statusCode":200,"body":"!","isBase64Encoded":true}`: nil,
	} {
		got, err := event.ParseV2([]byte(in))
		if want == nil {
			if err == nil {
				t.Errorf("%s is taken for %+v", in, got)
			}
			continue
		}
		if err != nil || got.Status != want.Status || !reflect.DeepEqual(got.Header, want.Header) || !bytes.Equal(got.Body, want.Body) {
			t.Errorf("%s: got %+v %v, want %+v", in, got, err, want)
		}
	}
}

func TestParsePrelude(t *testing.T) {
	a, err := event.ParsePrelude([]byte(`{"statusCode":201,"headers":{"content-type":"text/html"},"cookies":["a=b"],"body":"no"}`))
	if err != nil || a.Status != 201 || len(a.Header) != 2 || a.Body != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := event.ParsePrelude([]byte(`{}`)); err != nil || a.Status != 200 || len(a.Header) != 0 {
		t.Errorf("an empty one: %+v, %v", a, err)
	}
	for _, bad := range []string{"", "[]", "{", `{"statusCode":"x"}`} {
		if _, err := event.ParsePrelude([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzParseV2 holds the reader of answers against encoding/json.
func FuzzParseV2(f *testing.F) {
	f.Add([]byte(`{"statusCode":200,"headers":{"a":"b"},"cookies":["c"],"body":"x\u00e4","isBase64Encoded":false}`))
	f.Add([]byte(` {"x":[{"y":"}]\\"}],"statusCode":"200" , "body":{"a":[1,2 ]} } `))
	f.Add([]byte(`{"statusCode":2e2,"body":"\ud800"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := event.ParseV2(payload)
		_, _ = event.ParsePrelude(payload)
		var object map[string]json.RawMessage
		if !json.Valid(payload) {
			if err == nil {
				t.Error("what is no JSON is taken")
			}
			return
		}
		if json.Unmarshal(payload, &object) != nil || object["statusCode"] == nil {
			if err != nil || got.Status != 200 {
				t.Errorf("%+v, %v", got, err)
			}
			return
		}
		if err != nil {
			return
		}
		var status any
		_ = json.Unmarshal(object["statusCode"], &status)
		var body string
		if json.Unmarshal(object["body"], &body) == nil && object["body"] != nil && string(object["isBase64Encoded"]) != "true" && string(object["isBase64Encoded"]) != `"true"` {
			if string(got.Body) != body {
				t.Errorf("body %q, want %q", got.Body, body)
			}
		}
		for _, h := range got.Header {
			if strings.ContainsAny(h.Name, " \r\n:") {
				t.Errorf("header %q", h.Name)
			}
		}
	})
}

func BenchmarkAppendV2(b *testing.B) {
	r, buf := sample(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf = event.AppendV2(buf[:0], r)
	}
}

func BenchmarkParseV2(b *testing.B) {
	in := []byte(`{"statusCode":200,"headers":{"content-type":"text/plain","x-a":"b"},"body":"hello, world"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.ParseV2(in); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAnswerSaysWhatIsWrong has answers that cannot be sent, each for one reason.
func TestAnswerSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		parse        func([]byte) (event.Answer, error)
		answer, says string
	}{
		{event.ParseV2, `not json`, "JSON"},
		{event.ParseV2, `{"statusCode":99}`, "statusCode"},
		{event.ParseV2, `{"statusCode":"no"}`, "statusCode"},
		{event.ParseV2, `{"statusCode":200,"headers":[]}`, "headers is no object"},
		{event.ParseV2, `{"statusCode":200,"headers":{"x-secret":["s3cret"]}}`, "a value of headers"},
		{event.ParseV2, `{"statusCode":200,"cookies":"a=b"}`, "cookies is no list"},
		{event.ParseV2, `{"statusCode":200,"cookies":[{}]}`, "a value of cookies"},
		{event.ParseV2, `{"statusCode":200,"body":"!","isBase64Encoded":true}`, "base64"},
		{event.ParsePrelude, `[]`, "prelude"},
		{event.ParseV1, `[]`, "no object"},
		{event.ParseV1, `{"body":"x"}`, "no statusCode"},
		{event.ParseV1, `{"statusCode":200,"body":{}}`, "body is no text"},
		{event.ParseV1, `{"statusCode":200,"multiValueHeaders":{"a":"b"}}`, "multiValueHeaders is no list"},
	} {
		_, err := c.parse([]byte(c.answer))
		if !errors.Is(err, event.ErrAnswer) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", c.answer, err, c.says)
		}
	}
}
