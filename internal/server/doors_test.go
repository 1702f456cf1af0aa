package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDialects(t *testing.T) {
	door := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	}
	doors := dialects{lambda: door("lambda"), logs: door("logs"), sts: door("sts"), own: door("own")}
	for _, c := range []struct{ method, path, target, want string }{
		{"GET", "/2015-03-31/functions", "", "lambda"},
		{"GET", "/nothing", "", "lambda"},
		{"POST", "/", "Logs_20140328.GetLogEvents", "logs"},
		{"POST", "/", "", "sts"},
		{"GET", "/?Action=GetCallerIdentity", "", "sts"},
		{"GET", "/v1/functions", "", "own"},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if c.target != "" {
			r.Header.Set("X-Amz-Target", c.target)
		}
		w := httptest.NewRecorder()
		doors.ServeHTTP(w, r)
		if got := w.Body.String(); got != c.want {
			t.Errorf("%s %s %s went to %q, want %q", c.method, c.path, c.target, got, c.want)
		}
	}
}

// A service that lambent does not have says so in the shape that its clients read.
func TestUnknownService(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
	w := httptest.NewRecorder()
	dialects{}.ServeHTTP(w, r)
	var body struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusBadRequest ||
		body.Type != "UnknownOperationException" || body.Message != "DynamoDB_20120810.ListTables is not implemented by lambent yet" {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestSignedFor(t *testing.T) {
	logs := httptest.NewRequest(http.MethodPost, "/", nil)
	logs.Header.Set("X-Amz-Target", "Logs_20140328.GetLogEvents")
	for want, r := range map[string]*http.Request{
		"lambda":    httptest.NewRequest(http.MethodGet, "/2015-03-31/functions", nil),
		"logs":      logs,
		"scheduler": httptest.NewRequest(http.MethodGet, "/schedules", nil),
		"":          httptest.NewRequest(http.MethodGet, "/v1/functions", nil),
	} {
		if got := signedFor(r); got != want {
			t.Errorf("%s %s must be signed for %q, want %q", r.Method, r.URL, got, want)
		}
	}
}
