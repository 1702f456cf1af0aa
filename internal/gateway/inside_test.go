package gateway_test

import (
	"net/http"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/gateway"
)

// A function calls function URLs where it calls the API, by the keys of its instance.
func TestCallsFromInside(t *testing.T) {
	r := newRig(t)
	host := r.url(lambent.URL{AuthType: "AWS_IAM"})
	g := r.handler.(*gateway.Gateway)
	key := r.keys.Session(auth.Session{Account: account, Function: "caller", Instance: "i", Role: "arn:aws:iam::" + account + ":role/r"})
	other := r.keys.Session(auth.Session{Account: account, Function: "caller", Instance: "another"})
	r.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !g.Leads(req) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		g.ServeInside(w, req.WithContext(auth.Within(req.Context(), key)), func(req *http.Request) {
			req.Header.Set("X-Amzn-Trace-Id", "Root=of-the-caller")
		})
	}))
	call := func(key auth.Key, host, target string) answer {
		return r.send(r.signBy(key, r.request("POST", host, target, `{"a":1}`), `{"a":1}`))
	}
	want(t, call(key, host, "/x"), 403, "Forbidden. For troubleshooting")
	r.permit("lambda:InvokeFunctionUrl", lambent.FunctionARN(region, account, "hello", ""))
	for _, to := range []struct{ host, target string }{{host, "/x?y=1"}, {host + ":9001", "/x?y=1"}, {r.addr, "/fn/hello/x?y=1"}} {
		got := call(key, to.host, to.target)
		want(t, got, 200, `:assumed-role/r/caller"`)
		want(t, got, 200, `"rawPath":"/x"`)
		want(t, got, 200, `"x-amzn-trace-id":"Root=of-the-caller"`)
	}
	want(t, call(other, host, "/x"), 403, "The security token included in the request is invalid")
	want(t, call(r.keys.Default(), host, "/x"), 403, "The security token included in the request is invalid")
	want(t, r.do("POST", host, "/x", "{}"), 403, "")
	want(t, call(key, "x"+host, "/x"), 404, "There is no function URL")
	want(t, call(key, r.addr, "/fn/nobody"), 403, "Forbidden")
	want(t, call(key, r.addr, "/x"), http.StatusTeapot, "")

	none := "NONE"
	for _, internal := range []bool{true, false} {
		u := catalog.UpdateURL{Namespace: account, Function: "hello", AuthType: &none, Internal: &internal}
		if _, err := r.catalog.UpdateURL(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		want(t, call(key, host, "/x"), 403, "Forbidden") // though it comes from this host
	}
	want(t, r.do("POST", host, "/x", "{}"), 403, "Forbidden")
	r.open("")
	want(t, r.do("POST", host, "/x", "{}"), 200, `"accountId":"anonymous"`)
}
