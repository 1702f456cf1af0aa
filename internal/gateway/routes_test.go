package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway"
)

// route adds a route to hello.
func (r *rig) route(route lambent.Route) *lambent.Route {
	r.t.Helper()
	route.Function = "hello"
	if route.Access == "" && route.JWT == nil {
		route.Access = lambent.AccessPublic
	}
	put, err := r.catalog.PutRoutes(r.t.Context(), account, []lambent.Route{route})
	if err != nil {
		r.t.Fatal(err)
	}
	return put[0]
}

func (a answer) event(t *testing.T) (e struct {
	Version, RouteKey, RawPath, RawQueryString, Body, Path, Resource string
	Headers, PathParameters, QueryStringParameters                   map[string]string
	RequestContext                                                   struct {
		AccountID, APIID string
		Authorizer       struct {
			JWT struct{ Claims map[string]string }
			IAM struct{ UserARN string }
		}
		ELB struct{ TargetGroupARN string }
	}
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != 200 {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return e
}

func TestRouteLeads(t *testing.T) {
	r := newRig(t)
	one := r.route(lambent.Route{Host: "api.test", Method: "GET", Path: "/o/{id}"})
	r.route(lambent.Route{Path: "/any/{rest+}"})
	e := r.do("GET", "API.test:8080", "/o/a%2Fb?x=1", "").event(t)
	if e.RouteKey != "GET /o/{id}" || e.RawPath != "/o/a%2Fb" || e.PathParameters["id"] != "a/b" || e.RequestContext.APIID != one.ID || e.RawQueryString != "x=1" || e.RequestContext.AccountID != account {
		t.Errorf("event %+v", e)
	}
	if e := r.do("PUT", "elsewhere", "/any/a/b", "").event(t); e.RouteKey != "ANY /any/{rest+}" {
		t.Errorf("event %+v", e)
	}
	for path, want := range map[string]int{"/o/1/2": 404, "/nothing": 404, "/o/..": 400, "/o/%2e%2e": 400, "//o/1": 400, "/fn/none/": 403, "/2015-03-31/functions": 404, "/v1/routes": 404} {
		if got := r.do("GET", "api.test", path, ""); got.status != want {
			t.Errorf("%s: %d %s, want %d", path, got.status, got.body, want)
		}
	}
	if got := r.do("POST", "api.test", "/o/1", ""); got.status != 404 || !strings.Contains(got.body, "methods of this path: GET") {
		t.Errorf("POST: %+v", got)
	}
	if got := r.do("GET", "other", "/fn/hello/", ""); got.status != 403 {
		t.Errorf("by name: %d", got.status)
	}
}

func TestRouteFormats(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/one/{id}", Format: "1.0"})
	r.route(lambent.Route{Path: "/alb", Format: "alb"})
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		body, _ := json.Marshal(string(inv.Payload))
		return &lambent.Result{Payload: []byte(`{"statusCode":200,"multiValueHeaders":{"Set-Cookie":["a=1","b=2"]},"body":` + string(body) + `}`)}, nil
	})
	got := r.do("GET", "h", "/one/7?x=1", "")
	if e := got.event(t); e.Version != "1.0" || e.Resource != "/one/{id}" || e.PathParameters["id"] != "7" || len(got.header["Set-Cookie"]) != 2 {
		t.Errorf("1.0: %+v %v", e, got.header)
	}
	if e := r.do("GET", "h", "/alb?x=%20", "").event(t); !strings.Contains(e.RequestContext.ELB.TargetGroupARN, "targetgroup/hello/") || e.QueryStringParameters["x"] != "%20" {
		t.Errorf("alb: %+v", e)
	}
	r.runs(answering(`"no status"`))
	if got := r.do("GET", "h", "/one/7", ""); got.status != 502 {
		t.Errorf("an answer without status: %d", got.status)
	}
}

func TestRouteAPIKey(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/a", Access: lambent.AccessKey})
	r.route(lambent.Route{Path: "/b", Access: lambent.AccessKey, Keys: []string{"other"}})
	_, key, err := r.catalog.CreateAPIKey(t.Context(), account, "mobile")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, key string
		want      int
	}{{"/a", key, 200}, {"/b", key, 403}, {"/a", "", 403}, {"/a", key + "x", 403}, {"/a", strings.Repeat("x", 5000), 403}} {
		if got := r.do("GET", "h", c.path, "", "X-Api-Key", c.key); got.status != c.want {
			t.Errorf("%s with %.60q: %d", c.path, c.key, got.status)
		}
	}
	if err := r.catalog.DeleteAPIKey(t.Context(), account, "mobile"); err != nil {
		t.Fatal(err)
	}
	if got := r.do("GET", "h", "/a", "", "X-Api-Key", key); got.status != 403 {
		t.Errorf("a deleted key: %d", got.status)
	}
	if strings.Contains(r.log.text(), key) {
		t.Error("the log has the key")
	}
}

func TestRouteIAMAndInternal(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/iam", Access: lambent.AccessIAM, MaxBody: 3})
	r.route(lambent.Route{Path: "/in", Access: lambent.AccessInternal})
	if got := r.do("GET", "h", "/iam", ""); got.status != 403 {
		t.Errorf("unsigned: %d", got.status)
	}
	req := r.request("POST", "h", "/iam", "abc")
	if e := r.send(r.sign(req, "abc")).event(t); !strings.HasSuffix(e.RequestContext.Authorizer.IAM.UserARN, ":root") || e.RequestContext.AccountID != account {
		t.Errorf("signed: %+v", e)
	}
	req = r.request("POST", "h", "/iam", "abcd")
	if got := r.send(r.sign(req, "abcd")); got.status != 413 {
		t.Errorf("too long: %d", got.status)
	}
	if got := r.do("GET", "h", "/in", "", "X-Forwarded-For", "1.2.3.4"); got.status != 200 {
		t.Errorf("from this host: %d", got.status)
	}
	for addr, want := range map[string]int{"10.1.2.3:5": 403, "[::1]:5": 200, "": 403} {
		w, req := httptest.NewRecorder(), r.request("GET", "h", "/in", "")
		req.RemoteAddr, req.RequestURI = addr, "/in"
		r.handler.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("from %s: %d", addr, w.Code)
		}
	}
}

// issuer signs tokens and shows its keys.
type issuer struct {
	*httptest.Server
	key   ed25519.PrivateKey
	kid   atomic.Pointer[string]
	asked atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.kid.Store(new("k1"))
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, *i.kid.Load(), base64.RawURLEncoding.EncodeToString(public))
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(kid, claims string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(`{"alg":"EdDSA","kid":"`+kid+`"}`)) + "." + b64([]byte(claims))
	return text + "." + b64(ed25519.Sign(i.key, []byte(text)))
}

func TestRouteJWT(t *testing.T) {
	r, i := newRig(t), newIssuer(t)
	r.route(lambent.Route{
		Path: "/{id}", JWT: &lambent.RouteJWT{Issuer: "https://id.test", Audiences: []string{"api"}, Scopes: []string{"read"}, KeysURL: i.URL},
		Request: []lambent.Mapping{{Do: "set", In: "header", Name: "X-User", Value: "${claims.sub}/${path.id}"}, {Do: "remove", In: "header", Name: "Authorization"}},
	})
	exp := time.Now().Add(time.Hour).Unix()
	claims := func(format string) string { return fmt.Sprintf(format, exp) }
	good := i.token("k1", claims(`{"iss":"https://id.test","aud":"api","sub":"ann","scope":"read","groups":["a","b"],"exp":%d}`))
	e := r.do("GET", "h", "/7", "", "Authorization", "Bearer "+good, "X-User", "root").event(t)
	if e.Headers["x-user"] != "ann/7" || e.Headers["authorization"] != "" || e.RequestContext.Authorizer.JWT.Claims["groups"] != "[a b]" {
		t.Errorf("event %+v", e)
	}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"none":      {"", 401},
		"audience":  {i.token("k1", claims(`{"iss":"https://id.test","aud":"x","scope":"read","exp":%d}`)), 401},
		"scope":     {i.token("k1", claims(`{"iss":"https://id.test","aud":"api","scope":"write","exp":%d}`)), 403},
		"old":       {i.token("k1", `{"iss":"https://id.test","aud":"api","scope":"read","exp":1}`), 401},
		"signature": {good[:len(good)-4] + "AAAA", 401},
		"no token":  {"x.y", 401},
	} {
		got := r.do("GET", "h", "/7", "", "Authorization", c.token)
		if got.status != c.want || !strings.HasPrefix(got.header.Get("Www-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	for range 20 { // unknown keys do not make the server ask again and again
		r.do("GET", "h", "/7", "", "Authorization", i.token("k2", "{}"))
	}
	if n := i.asked.Load(); n > 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestRouteWithoutKeys(t *testing.T) {
	r, i := newRig(t), newIssuer(t)
	i.Close()
	r.route(lambent.Route{Path: "/", JWT: &lambent.RouteJWT{Issuer: "x", Audiences: []string{"api"}, KeysURL: i.URL}})
	if got := r.do("GET", "h", "/", "", "Authorization", i.token("k1", "{}")); got.status != 503 || strings.Contains(got.body, i.URL) {
		t.Errorf("%+v", got)
	}
}

func TestRouteRate(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/a", Rate: 0.01, Burst: 2})
	var got []int
	for range 3 {
		got = append(got, r.do("GET", "h", "/a", "").status)
	}
	last := r.do("GET", "h", "/a", "")
	if fmt.Sprint(got) != "[200 200 429]" || last.header.Get("Retry-After") == "" || last.header.Get("Retry-After") == "1" {
		t.Errorf("%v %+v", got, last)
	}
}

func TestRouteLimits(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/small", MaxBody: 4})
	if got := r.do("POST", "h", "/small", "1234"); got.status != 200 {
		t.Errorf("4 bytes: %d", got.status)
	}
	if got := r.do("POST", "h", "/small", "12345"); got.status != 413 {
		t.Errorf("5 bytes: %d", got.status)
	}
	for body, want := range map[string]int{"1234": 200, "12345": 413} {
		req := r.request("POST", "h", "/small", "")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1
		if got := r.send(req); got.status != want {
			t.Errorf("%d bytes in chunks: %d", len(body), got.status)
		}
	}
}

func TestRouteTimeout(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/slow", TimeoutSeconds: 0.05})
	r.runs(func(ctx context.Context, _ *lambent.Invocation) (*lambent.Result, error) {
		<-ctx.Done()
		return nil, &lambent.Error{Code: lambent.CodeCanceled, Message: "gone"}
	})
	got := r.do("GET", "h", "/slow", "")
	if got.status != 504 || got.header.Get("X-Lambent-Error") != "route: timeout 50ms" || !strings.Contains(got.body, `"layer":"route"`) {
		t.Errorf("%+v", got)
	}
}

// TestRouteTimeoutOfApplication is the way of package proxy, which gives up without
// an answer when its context ends.
func TestRouteTimeoutOfApplication(t *testing.T) {
	r := newRig(t)
	r.application("app", func(w http.ResponseWriter, req *http.Request, _ gateway.Target) {
		if req.URL.Path == "/begins" {
			_, _ = io.WriteString(w, "begun")
			time.Sleep(100 * time.Millisecond)
			if req.Context().Err() != nil {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, " and done")
			return
		}
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	})
	if _, err := r.catalog.PutRoutes(t.Context(), account, []lambent.Route{{Path: "/{x}", Function: "app", Access: "public", TimeoutSeconds: 0.05}}); err != nil {
		t.Fatal(err)
	}
	if got := r.do("GET", "h", "/slow", ""); got.status != 504 || got.header.Get("X-Lambent-Error") != "route: timeout 50ms" {
		t.Errorf("%+v", got)
	}
	if got := r.do("GET", "h", "/begins", ""); got.status != 200 || got.body != "begun and done" {
		t.Errorf("%+v", got)
	}
}

func TestRouteCORS(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Method: "PUT", Path: "/a", Access: lambent.AccessKey, CORS: &lambent.CORS{AllowOrigins: []string{"https://a.test"}, AllowMethods: []string{"PUT"}}})
	got := r.do("OPTIONS", "h", "/a", "", "Origin", "https://a.test", "Access-Control-Request-Method", "PUT")
	if got.status != 200 || got.header.Get("Access-Control-Allow-Methods") != "PUT" {
		t.Errorf("preflight: %+v", got)
	}
	if got := r.do("OPTIONS", "h", "/a", "", "Origin", "https://a.test", "Access-Control-Request-Method", "GET"); got.status != 404 {
		t.Errorf("another method: %+v", got)
	}
	if got := r.do("PUT", "h", "/a", "", "Origin", "https://a.test"); got.status != 403 || got.header.Get("Access-Control-Allow-Origin") != "https://a.test" {
		t.Errorf("refused: %+v", got)
	}
}

func TestRouteMapsAnswers(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/a", Request: []lambent.Mapping{{Do: "set", In: "query", Name: "q", Value: "${header.x-q}"}}, Response: []lambent.Mapping{{Do: "set", In: "header", Name: "X-Served", Value: "${request.id}"}}})
	got := r.do("GET", "h", "/a?q=no&z=1", "", "X-Q", "y&e=s")
	if e := got.event(t); e.RawQueryString != "z=1&q=y%26e%3Ds" {
		t.Errorf("query %s", e.RawQueryString)
	}
	if got.header.Get("X-Served") == "" || got.header.Get("X-Served") != got.header.Get("X-Amzn-Requestid") {
		t.Errorf("%v", got.header)
	}
}

func TestRouteAffinity(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/a", AffinityCookie: "sid"})
	r.route(lambent.Route{Path: "/b"})
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		return &lambent.Result{Payload: []byte(`"` + inv.Affinity + `"`)}, nil
	})
	for path, want := range map[string]string{"/a": "ann", "/b": ""} {
		if got := r.do("GET", "h", path, "", "Cookie", "x=1; sid=ann"); got.body != want {
			t.Errorf("%s: %q, want %q", path, got.body, want)
		}
	}
}

// A call of gRPC that is refused has its status where its clients look for it.
func TestRouteRefusesGRPC(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Host: "rpc.test", Path: "/t.T/{method}", Access: lambent.AccessKey})
	s := httptest.NewUnstartedServer(r.handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	two := &http.Transport{Protocols: s.Config.Protocols}
	defer two.CloseIdleConnections()
	for path, want := range map[string][2]string{"/t.T/Call": {"7", "Forbidden"}, "/t.U/Call": {"12", "Nothing is served at this address"}} {
		for kind, refused := range map[string]bool{"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false, "application/json": false} {
			req := r.request("POST", "rpc.test", path, "", "Content-Type", kind)
			req.URL.Host = s.Listener.Addr().String()
			res, err := two.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if got := res.Header.Get("Grpc-Status"); err != nil || (res.StatusCode == http.StatusOK) != refused || (len(body) == 0) != refused || refused && got != want[0] || !refused && got != "" {
				t.Errorf("%s as %s: %d %v %s, %v", path, kind, res.StatusCode, res.Header, body, err)
			}
			if got := res.Header.Get("Grpc-Message"); refused && !strings.HasPrefix(got, want[1]) {
				t.Errorf("%s as %s: %q", path, kind, got)
			}
		}
	}
}
