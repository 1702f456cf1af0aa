package schedulerapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/trigger"
)

const (
	account = "000000000000"
	valid   = `{"ScheduleExpression":"rate(1 hour)","FlexibleTimeWindow":{"Mode":"OFF"},"Target":{"Arn":"arn:aws:lambda:us-east-1:000000000000:function:f:live","RoleArn":"arn:aws:iam::000000000000:role/r"},"ClientToken":"one"`
)

// start serves the door to a caller who is known.
func start(t *testing.T) func(method, path, body string) (status int, exception, answer string) {
	t.Helper()
	room, err := trigger.Open(t.Context(), trigger.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	door := New(Options{Schedules: room, Groups: room, Region: "us-east-1"})
	return func(method, path, body string) (int, string, string) {
		t.Helper()
		r := httptest.NewRequestWithContext(auth.With(t.Context(), auth.Identity{AccountID: account}), method, path, strings.NewReader(body))
		if !Speaks(r) {
			t.Errorf("%s is not taken to be a path of this API", path)
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		text, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Errorf("%s %s: the answer is no JSON: %s", method, path, text)
		}
		return w.Code, w.Header().Get("X-Amzn-Errortype"), string(text)
	}
}

func TestAnswers(t *testing.T) {
	ask := start(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		exception, answer  string
	}{
		{"POST", "/schedules/s", valid + "}", 200, "", `{"ScheduleArn":"arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"}`},
		{"POST", "/schedules/s", valid + "}", 200, "", `schedule/default/s`}, // the same request again
		{"POST", "/schedules/s", strings.Replace(valid, "one", "two", 1) + "}", 409, "ConflictException", `{"Message":"Schedule s already exists."}`},
		{"GET", "/schedules/s", "", 200, "", `"Target":{"Arn":"arn:aws:lambda:us-east-1:000000000000:function:f:live","RoleArn":"arn:aws:iam::000000000000:role/r","RetryPolicy":{"MaximumEventAgeInSeconds":86400,"MaximumRetryAttempts":185}}`},
		{"GET", "/schedules/s?groupName=other", "", 404, "ResourceNotFoundException", `{"Message":"Schedule group other does not exist."}`},
		{"GET", "/schedules?NamePrefix=x", "", 200, "", `{"Schedules":[]}`},
		{"GET", "/schedules?MaxResults=0", "", 400, "ValidationException", "MaxResults"},
		{"GET", "/schedules?NextToken=!", "", 400, "ValidationException", "NextToken"},
		{"GET", "/schedules?State=ON", "", 400, "ValidationException", "[ENABLED, DISABLED]"},
		{"PUT", "/schedules/absent", valid + "}", 404, "ResourceNotFoundException", "Schedule absent does not exist."},
		{"PUT", "/schedules/s", valid + `,"EndDate":1e300}`, 400, "ValidationException", "out of range"},
		{"PUT", "/schedules/s", valid + `,"State":"ON"}`, 400, "ValidationException", "enum value set"},
		{"PUT", "/schedules/s", `{}`, 400, "ValidationException", "scheduleExpression"},
		{"PUT", "/schedules/s", `{`, 400, "SerializationException", "JSON"},
		{"PUT", "/schedules/s", strings.Replace(valid, `"RoleArn"`, `"SqsParameters":{},"RoleArn"`, 1) + "}", 400, "ValidationException", "another service"},
		{"PUT", "/schedules/s", strings.Replace(valid, `"Mode":"OFF"`, `"Mode":"OFF","MaximumWindowInMinutes":5`, 1) + "}", 400, "ValidationException", "MaximumWindowInMinutes"},
		{"DELETE", "/schedules/s", "", 200, "", "{}"},
		{"GET", "/schedule-groups/default", "", 200, "", `{"Arn":"arn:aws:scheduler:us-east-1:000000000000:schedule-group/default","Name":"default","State":"ACTIVE"}`},
		{"POST", "/schedule-groups/g", `{"Tags":[{"Key":"a","Value":""}]}`, 400, "ValidationException", "tag"},
		{"GET", "/tags/arn:aws:scheduler:us-east-1:000000000000:schedule-group%2Fdefault", "", 200, "", `{"Tags":[]}`},
		{"GET", "/tags/arn:aws:scheduler:us-east-1:111111111111:schedule-group%2Fdefault", "", 400, "ValidationException", "ARN"},
		{"PATCH", "/schedules/s", "", 404, "UnknownOperationException", "No operation"},
	} {
		status, exception, answer := ask(c.method, c.path, c.body)
		if status != c.status || exception != c.exception || !strings.Contains(answer, c.answer) {
			t.Errorf("%s %s %.60s: %d %s %s, want %d %s %s", c.method, c.path, c.body, status, exception, answer, c.status, c.exception, c.answer)
		}
	}
}

func TestUnknownCallerIsRefused(t *testing.T) {
	w := httptest.NewRecorder()
	New(Options{Region: "us-east-1"}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/schedules", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("status %d", w.Code)
	}
	if Speaks(httptest.NewRequest(http.MethodGet, "/schedulesx", nil)) {
		t.Error("another path is taken for one of this API")
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(valid+"}", "MaxResults=3&NextToken=YQ")
	f.Add(valid+`,"StartDate":1.5e9,"EndDate":2e9}`, "State=DISABLED")
	f.Fuzz(func(t *testing.T, body, query string) {
		ask := start(t)
		r := httptest.NewRequest(http.MethodGet, "/schedules", nil)
		r.URL.RawQuery = query
		for _, method := range []string{"POST", "GET", "PUT", "GET", "DELETE"} {
			if status, exception, answer := ask(method, "/schedules/s", body); status >= 500 || status >= 300 && exception == "" {
				t.Errorf("%s: %d %s", method, status, answer)
			}
		}
		if status, _, answer := ask("GET", "/schedules?"+r.URL.Query().Encode(), ""); status >= 500 {
			t.Errorf("list: %d %s", status, answer)
		}
	})
}
