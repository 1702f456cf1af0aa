package lambdaapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestResource: what a request is about is what its operation looks at.
func TestResource(t *testing.T) {
	const f, layer = "arn:aws:lambda:us-east-1:000000000000:function:f", "arn:aws:lambda:us-east-1:000000000000:layer:l"
	for _, c := range []struct{ method, target, body, want string }{
		{http.MethodGet, "/2015-03-31/functions/f?Qualifier=2", "", f + ":2"},
		{http.MethodGet, "/2015-03-31/functions/f:2", "", f + ":2"},
		{http.MethodGet, "/2015-03-31/functions/" + f + "?Qualifier=2", "", f + ":2"},
		{http.MethodPost, "/2015-03-31/functions/f/invocations?Qualifier=live", "", f + ":live"},
		{http.MethodPost, "/2014-11-13/functions/f:live/invoke-async?Qualifier=2", "", f + ":live"},
		{http.MethodPut, "/2015-03-31/functions/f/code?Qualifier=2", "{}", f},
		{http.MethodPut, "/2015-03-31/functions/f:2/configuration", "{}", f},
		{http.MethodDelete, "/2015-03-31/functions/f:2/aliases/live", "", f},
		{http.MethodPost, "/2015-03-31/functions?Qualifier=2", `{"FunctionName":"f:2","Role":"arn:aws:iam::000000000000:role/r","Code":{"ZipFile":""}}`, f},
		{http.MethodGet, "/2017-03-31/tags/" + url.PathEscape(f), "", f},
		{http.MethodGet, "/2017-03-31/tags/" + url.PathEscape(strings.Replace(f, "aws", "aws-cn", 1)), "", f},
		{http.MethodGet, "/2017-03-31/tags/" + url.PathEscape(layer), "", layer},
		{http.MethodGet, "/2018-10-31/layers/l/versions/2", "", layer + ":2"},
		{http.MethodGet, "/2018-10-31/layers/" + layer + "/versions/2", "", layer + ":2"},
		{http.MethodGet, "/2018-10-31/layers/" + layer + ":3/versions/2", "", layer + ":2"},
		{http.MethodPost, "/2018-10-31/layers/l/versions", "{}", layer},
		{http.MethodGet, "/2018-10-31/layers?find=LayerVersion&Arn=" + url.QueryEscape(layer+":2"), "", layer + ":2"},
		{http.MethodGet, "/2015-03-31/functions", "", "*"},
	} {
		r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
		if got := Resource(r, "us-east-1", "000000000000"); got != c.want {
			t.Errorf("%s %s is about %s, want %s", c.method, c.target, got, c.want)
		}
	}
}
