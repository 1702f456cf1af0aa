package event

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

func routedRequest() *Request {
	return &Request{
		Method: "POST", Protocol: "HTTP/1.1", Path: "/o/a%20b", Query: "x=1&x=2&y=%26", Host: "api.test:8080",
		Header:   http.Header{"Accept": {"a", "b"}, "Cookie": {"c=1"}, "Content-Type": {"application/json"}, "User-Agent": {"curl"}, "Connection": {"close"}},
		SourceIP: "10.0.0.1", Scheme: "http", Port: "8080", Body: []byte(`{"a":1}`), RequestID: "rid", TraceID: "Root=1", Time: time.Unix(1_800_000_000, 0),
		APIID: "r1", AccountID: "000000000000", RouteKey: "POST /o/{id}", Resource: "/o/{id}", Params: []Field{{"id", "a b"}}, Claims: []Field{{"sub", "ann"}},
		TargetGroup: "arn:tg",
	}
}

// member looks a path up in JSON.
func lookup(t *testing.T, doc []byte, path ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func checkMembers(t *testing.T, doc []byte, want map[string]any) {
	t.Helper()
	for path, value := range want {
		var names []string
		for name := range splitPath(path) {
			names = append(names, name)
		}
		got, _ := json.Marshal(lookup(t, doc, names...))
		expected, _ := json.Marshal(value)
		if string(got) != string(expected) {
			t.Errorf("%s is %s, want %s", path, got, expected)
		}
	}
}

func splitPath(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := range path {
			if path[i] == '.' {
				if !yield(path[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(path[start:])
	}
}

func TestAppendV1(t *testing.T) {
	doc := AppendV1(nil, routedRequest())
	checkMembers(t, doc, map[string]any{
		"version": "1.0", "resource": "/o/{id}", "path": "/o/a b", "httpMethod": "POST",
		"headers.Accept": "b", "multiValueHeaders.Accept": []string{"a", "b"}, "headers.Connection": nil, "headers.Cookie": "c=1", "headers.Host": "api.test:8080",
		"queryStringParameters.x": "2", "multiValueQueryStringParameters.x": []string{"1", "2"}, "queryStringParameters.y": "&",
		"pathParameters.id": "a b", "requestContext.authorizer.claims.sub": "ann", "requestContext.identity.sourceIp": "10.0.0.1",
		"requestContext.identity.userArn": nil, "requestContext.resourcePath": "/o/{id}", "requestContext.requestTimeEpoch": 1800000000000,
		"body": `{"a":1}`, "isBase64Encoded": false,
	})
	bare := &Request{Method: "GET", Path: "/", Host: "h", Header: http.Header{}, IAM: &IAM{UserARN: "arn:u", AccessKey: "AK"}}
	checkMembers(t, AppendV1(nil, bare), map[string]any{
		"queryStringParameters": nil, "multiValueQueryStringParameters": nil, "pathParameters": nil, "body": nil, "requestContext.identity.userArn": "arn:u",
	})
}

func TestAppendALB(t *testing.T) {
	doc := AppendALB(nil, routedRequest())
	checkMembers(t, doc, map[string]any{
		"requestContext.elb.targetGroupArn": "arn:tg", "httpMethod": "POST", "path": "/o/a%20b", "queryStringParameters.y": "%26", "queryStringParameters.x": "2",
		"headers.accept": "a, b", "headers.x-forwarded-for": "10.0.0.1", "body": `{"a":1}`, "isBase64Encoded": false,
	})
	r := routedRequest()
	r.Body, r.Query = nil, ""
	checkMembers(t, AppendALB(nil, r), map[string]any{"body": "", "queryStringParameters": map[string]string{}})
	r.Body, r.Header = []byte{0xff}, http.Header{"Content-Type": {"image/png"}}
	checkMembers(t, AppendALB(nil, r), map[string]any{"body": "/w==", "isBase64Encoded": true})
}

func TestRouteInV2(t *testing.T) {
	checkMembers(t, AppendV2(nil, routedRequest()), map[string]any{
		"routeKey": "POST /o/{id}", "requestContext.routeKey": "POST /o/{id}", "pathParameters.id": "a b", "requestContext.authorizer.jwt.claims.sub": "ann",
	})
}

func TestParseV1(t *testing.T) {
	for in, want := range map[string]Answer{
		`{"statusCode":201,"body":"x"}`: {201, []Field{{"Content-Type", "application/json"}}, []byte("x")},
		`{"statusCode":"200","headers":{"content-type":"text/plain","X-A":"1"},"multiValueHeaders":{"x-a":["1","2"],"Set-Cookie":["a=1","b=2"]},"body":"YQ==","isBase64Encoded":true}`: {
			200, []Field{{"Content-Type", "text/plain"}, {"X-A", "1, 2"}, {"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}}, []byte("a"),
		},
		`{"statusCode":204,"statusDescription":"204 No Content","multiValueHeaders":{"Content-Type":["text/html"]}}`: {204, []Field{{"Content-Type", "text/html"}}, nil},
	} {
		got, err := ParseV1([]byte(in))
		if err != nil || got.Status != want.Status || !slices.Equal(got.Header, want.Header) || string(got.Body) != string(want.Body) {
			t.Errorf("%s: %+v %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		``, `"text"`, `{}`, `{"body":"x"}`, `{"statusCode":99}`, `{"statusCode":200,"body":{"a":1}}`, `{"statusCode":200,"headers":[]}`,
		`{"statusCode":200,"multiValueHeaders":[]}`, `{"statusCode":200,"multiValueHeaders":{"a":"b"}}`, `{"statusCode":200,"multiValueHeaders":{"a":[{}]}}`, `{"statusCode":200`,
	} {
		if got, err := ParseV1([]byte(in)); err == nil {
			t.Errorf("%s was taken for %+v", in, got)
		}
	}
}

func FuzzParseV1(f *testing.F) {
	f.Add([]byte(`{"statusCode":200,"headers":{"a":"b"},"multiValueHeaders":{"a":["c"]},"body":"x"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := ParseV1(payload)
		if err != nil {
			return
		}
		if a.Status < 200 || a.Status > 599 {
			t.Errorf("status %d", a.Status)
		}
		for _, h := range a.Header {
			if !isToken(h.Name) || hop[h.Name] {
				t.Errorf("header %q", h.Name)
			}
		}
	})
}

func FuzzAppendV1(f *testing.F) {
	f.Add("GET", "/a%20b", "x=1&y", "h:1", "v", []byte("body"))
	f.Fuzz(func(t *testing.T, method, path, query, host, value string, body []byte) {
		r := &Request{
			Method: method, Path: path, Query: query, Host: host, Body: body, Resource: path, RouteKey: query,
			Header: http.Header{"X-A": {value, path}, "Content-Type": {value}}, Params: []Field{{value, path}}, Claims: []Field{{path, value}},
		}
		for _, doc := range [][]byte{AppendV1(nil, r), AppendALB(nil, r), AppendV2(nil, r)} {
			if !json.Valid(doc) || !utf8.Valid(doc) {
				t.Fatalf("not JSON: %q", doc)
			}
		}
	})
}
