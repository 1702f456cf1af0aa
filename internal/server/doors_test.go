package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A request has one door, and a service that it is signed for, whatever else it says.
func TestDialects(t *testing.T) {
	door := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	}
	doors := dialects{lambda: door("lambda"), logs: door("logs"), query: door("query"), scheduler: door("scheduler"), own: door("own")}
	for _, c := range []struct{ method, path, target, want, service string }{
		{"GET", "/2015-03-31/functions", "", "lambda", "lambda"},
		{"GET", "/2015-03-31/functions", "Logs_20140328.GetLogEvents", "lambda", "lambda"},
		{"GET", "/nothing", "", "lambda", ""},
		{"POST", "/", "Logs_20140328.GetLogEvents", "logs", "logs"},
		{"POST", "/", "", "query", ""},
		{"GET", "/?Action=GetCallerIdentity", "", "query", ""},
		{"GET", "/schedules", "", "scheduler", "scheduler"},
		{"GET", "/v1/functions", "", "own", ""},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if c.target != "" {
			r.Header.Set("X-Amz-Target", c.target)
		}
		w := httptest.NewRecorder()
		doors.ServeHTTP(w, r)
		if got, service := w.Body.String(), doors.signedFor(r); got != c.want || service != c.service {
			t.Errorf("%s %s %s went to %q signed for %q, want %q and %q", c.method, c.path, c.target, got, service, c.want, c.service)
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
