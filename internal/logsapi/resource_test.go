package logsapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestResource: what a request is about is what the operation looks at.
func TestResource(t *testing.T) {
	const own, other = "arn:aws:logs:r:000000000000:log-group:own", "arn:aws:logs:r:000000000000:log-group:other"
	for _, c := range []struct{ operation, body, want string }{
		{"StartLiveTail", `{"logGroupIdentifiers":["` + other + `"]}`, other},
		{"StartLiveTail", `{"logGroupIdentifiers":["other"],"resourceArn":"` + own + `"}`, other},
		{"StartLiveTail", `{"logGroupIdentifiers":["other"],"logGroupName":"own"}`, other},
		{"StartLiveTail", `{"logGroupIdentifiers":["own","other"],"logGroupName":"own"}`, "*"},
		{"StartLiveTail", `{"logGroupName":"own"}`, "*"},
		{"TagResource", `{"resourceArn":"` + own + `:*"}`, own},
		{"TagResource", `{"resourceArn":"` + own + `","logGroupName":"other"}`, "*"},
		{"GetLogEvents", `{"logGroupName":"own","logStreamName":"s"}`, own + ":log-stream:s"},
		{"GetLogEvents", `{"logGroupName":"own","logGroupIdentifiers":["other"]}`, own + ":log-stream:"},
		{"PutLogEvents", `{"logGroupName":"own","logStreamName":"s"}`, own + ":log-stream:s"},
		{"DeleteLogGroup", `{"logGroupName":"own","logStreamName":"s"}`, own + ":log-stream:"},
		{"FilterLogEvents", `{"logGroupName":"own","logStreamName":"s"}`, own + ":log-stream:"},
		{"DescribeLogGroups", `{"logGroupName":"own"}`, "*"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		r.Header.Set("X-Amz-Target", target+c.operation)
		if got := Resource(r, "r", "000000000000"); got != c.want {
			t.Errorf("%s of %s is about %s, want %s", c.operation, c.body, got, c.want)
		}
	}
}
