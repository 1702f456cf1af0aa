package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hello(t *testing.T) client.Deploy {
	return client.Deploy{Zip: code(t, "one"), Runtime: p("python3.12"), Handler: p("app.handler"), MemoryMB: p(256), Timeout: p(10.0), Env: &map[string]string{"A": "1"}}
}

func TestDeployLife(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	d, err := r.Deploy(ctx, "hello", hello(t))
	if err != nil {
		t.Fatal(err)
	}
	f := d.Function
	if !d.Created || len(d.Changed) != 0 || f.State != "Active" || f.Arch != lambent.HostArch() || f.MemoryMB != 256 || f.TimeoutSeconds != 10 || f.Env["A"] != "1" || len(d.Timings) == 0 {
		t.Errorf("created %+v", d)
	}
	again, err := r.Deploy(ctx, "hello", hello(t))
	if err != nil || again.Created || len(again.Changed) != 0 || again.Function.RevisionID != f.RevisionID {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	change := hello(t)
	change.Zip, change.MemoryMB, change.Env, change.Network = code(t, "two"), p(512), &map[string]string{"A": "2"}, p("loopback")
	next, err := r.Deploy(ctx, "hello", change)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"code", "memory", "environment", "network"}; !slices.Equal(next.Changed, want) || next.Function.CodeSHA256 == f.CodeSHA256 || next.Function.Network != "loopback" {
		t.Errorf("changed %q, want %q: %+v", next.Changed, want, next.Function)
	}
	only, err := r.Deploy(ctx, "hello", client.Deploy{Description: p("text")})
	if err != nil || !slices.Equal(only.Changed, []string{"description"}) || only.Function.MemoryMB != 512 {
		t.Errorf("configuration only: %+v, %v", only, err)
	}
	got, err := r.Function(ctx, "hello", "")
	if err != nil || got.Description != "text" || got.CodeSHA256 != next.Function.CodeSHA256 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := r.Delete(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Function(ctx, "hello", ""); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("after delete: %v", err)
	}
}

func TestDeployRefusesAndChangesNothing(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	before, err := r.Deploy(ctx, "hello", hello(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		function string
		d        client.Deploy
		code     lambent.Code
		want     string
	}{
		"no code":          {"new", client.Deploy{Runtime: p("python3.12")}, lambent.CodeInvalid, "needs code"},
		"runtime absent":   {"new", client.Deploy{Zip: code(t, "x"), Runtime: p("nodejs22.x"), Handler: p("a.b")}, lambent.CodeInvalid, "lambent runtime install nodejs22.x"},
		"no such runtime":  {"new", client.Deploy{Zip: code(t, "x"), Runtime: p("python9"), Handler: p("a.b")}, lambent.CodeInvalid, "there is no runtime \"python9\": `lambent runtime list` shows the names"},
		"not a zip":        {"hello", client.Deploy{Zip: []byte("nope"), MemoryMB: p(1024)}, lambent.CodeInvalid, "unzip"},
		"network":          {"hello", client.Deploy{Network: p("wide")}, lambent.CodeInvalid, "outbound, loopback or none"},
		"timeout":          {"hello", client.Deploy{Timeout: p(0.5)}, lambent.CodeInvalid, "whole number from 1 to 900"},
		"timeout too long": {"hello", client.Deploy{Timeout: p(1e300)}, lambent.CodeInvalid, "whole number"},
		"memory":           {"hello", client.Deploy{MemoryMB: p(1)}, lambent.CodeInvalid, ""},
		"arch alone":       {"hello", client.Deploy{Arch: p("arm64")}, lambent.CodeInvalid, "together with the code"},
		"name":             {"he llo", client.Deploy{}, lambent.CodeInvalid, "function name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Deploy(ctx, tt.function, tt.d)
			if lambent.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s %q", err, tt.code, tt.want)
			}
		})
	}
	after, err := r.Function(ctx, "hello", "")
	if err != nil || after.RevisionID != before.Function.RevisionID {
		t.Errorf("it changed: %+v, %v", after, err)
	}
	if _, err := r.Function(ctx, "new", ""); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("half a function is there: %v", err)
	}
}

func TestInvoke(t *testing.T) {
	r := newRig(t)
	var got *lambent.Invocation
	r.spine.answer = func(inv *lambent.Invocation) (*lambent.Result, error) {
		got = inv
		switch inv.Qualifier {
		case "bad":
			return &lambent.Result{ExecutedVersion: "1", FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout", Payload: []byte(`{"errorType":"Sandbox.Timedout","errorMessage":"Task timed out"}`)}, nil
		case "text":
			return &lambent.Result{Payload: []byte("\xff not json <b>")}, nil
		case "full":
			return nil, lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason("ReservedFunctionConcurrentInvocationLimitExceeded")
		case "broken":
			return nil, errors.New("the secret inside")
		}
		return &lambent.Result{ExecutedVersion: "$LATEST", Payload: inv.Payload, LogTail: []byte("START\n"), Report: lambent.Report{
			Duration: 1234 * time.Microsecond, Billed: 2 * time.Millisecond, Init: 5 * time.Millisecond, MemoryMB: 128, MaxMemoryMB: 30, Cold: true,
			Stages: []lambent.Stage{{Name: "fork", Took: time.Millisecond}},
		}}, nil
	}
	ctx := t.Context()
	res, err := r.Invoke(ctx, "hello", []byte(`{"a":"<1>"}`), client.InvokeOptions{Tail: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != "ok" || string(res.Payload) != `{"a":"<1>"}` || res.LogTail != "START\n" || res.RequestID != got.RequestID || !got.WantTail || got.Namespace != "000000000000" {
		t.Errorf("got %+v for %+v", res, got)
	}
	if rep := res.Report; rep.DurationMS != 1.234 || rep.BilledMS != 2 || rep.InitMS != 5 || !rep.Cold || len(rep.Stages) != 1 {
		t.Errorf("report %+v", rep)
	}
	if _, err := r.Invoke(ctx, "hello", nil, client.InvokeOptions{}); err != nil || string(got.Payload) != "{}" || got.WantTail {
		t.Errorf("no payload: %q, %v", got.Payload, err)
	}
	bad, err := r.Invoke(ctx, "hello", nil, client.InvokeOptions{Qualifier: "bad"})
	if err != nil || bad.Status != "function_error" || bad.Error == nil || *bad.Error != (client.FunctionError{Type: "Sandbox.Timedout", Message: "Task timed out"}) {
		t.Errorf("function error: %+v, %v", bad, err)
	}
	if text, err := r.Invoke(ctx, "hello", nil, client.InvokeOptions{Qualifier: "text"}); err != nil || text.Payload[0] != '"' {
		t.Errorf("text: %s, %v", text.Payload, err)
	}
	_, err = r.Invoke(ctx, "hello", nil, client.InvokeOptions{Qualifier: "full"})
	if lambent.CodeOf(err) != lambent.CodeThrottled || lambent.ReasonOf(err) != "ReservedFunctionConcurrentInvocationLimitExceeded" {
		t.Errorf("throttled: %v", err)
	}
	_, err = r.Invoke(ctx, "hello", nil, client.InvokeOptions{Qualifier: "broken"})
	if lambent.CodeOf(err) != lambent.CodeInternal || strings.Contains(err.Error(), "secret") || !strings.Contains(r.log.String(), "secret") {
		t.Errorf("internal: %v, log %s", err, r.log)
	}
	if _, err = r.Invoke(ctx, "hello", []byte("{"), client.InvokeOptions{}); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("not JSON: %v", err)
	}
	most := slices.Concat([]byte(`"`), bytes.Repeat([]byte("x"), lambent.MaxPayload-2), []byte(`"`))
	if _, err = r.Invoke(ctx, "hello", most, client.InvokeOptions{}); err != nil || len(got.Payload) != lambent.MaxPayload {
		t.Errorf("the largest payload: %v", err)
	}
	if _, err = r.Invoke(ctx, "hello", append(most, ' '), client.InvokeOptions{}); lambent.CodeOf(err) != lambent.CodeTooLarge {
		t.Errorf("one byte more: %v", err)
	}
}

func TestListPages(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	for _, name := range []string{"b", "a", "c"} {
		if _, err := r.Deploy(ctx, name, hello(t)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for f, err := range r.Functions(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("listed %q", names)
	}
}

func TestLogs(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	if _, err := r.Deploy(ctx, "hello", hello(t)); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	r.paper.events = []logs.Event{
		{ID: "1", Time: now.Add(-time.Hour), RequestID: "old", Message: "old\n"},
		{ID: "2", Time: now, RequestID: "new", Stream: "s", Message: "new\n"},
	}
	read := func(name string, o client.LogOptions) (got []string, err error) {
		for e, err := range r.Logs(ctx, name, o) {
			if err != nil {
				return got, err
			}
			got = append(got, strings.TrimSpace(e.Message))
		}
		return got, nil
	}
	all := r.paper.events
	r.paper.events = nil
	if got, err := read("hello", client.LogOptions{}); err != nil || got != nil {
		t.Errorf("of a function that was never called: %q, %v", got, err)
	}
	r.paper.events = all
	for name, tt := range map[string]struct {
		o    client.LogOptions
		want []string
	}{
		"all":     {client.LogOptions{}, []string{"old", "new"}},
		"since":   {client.LogOptions{Since: now.Add(-time.Minute)}, []string{"new"}},
		"request": {client.LogOptions{RequestID: "old"}, []string{"old"}},
		"none":    {client.LogOptions{RequestID: "x"}, nil},
	} {
		if got, err := read("hello", tt.o); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := read("gone", client.LogOptions{}); err != nil || len(got) != 2 {
		t.Errorf("of a deleted function: %q, %v", got, err)
	}
	if _, err := read("never", client.LogOptions{}); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("of no function: %v", err)
	}
	var follow sync.WaitGroup
	follow.Go(func() { // waited for below
		r.paper.more <- logs.Event{ID: "3", Time: now, Message: "live\n"}
		close(r.paper.more)
	})
	got, err := read("hello", client.LogOptions{Follow: true})
	follow.Wait()
	if !slices.Equal(got, []string{"old", "new", "live"}) || lambent.CodeOf(err) != lambent.CodeInternal || !strings.Contains(r.log.String(), "after 2") {
		t.Errorf("followed %q, %v", got, err)
	}
}

func TestFollowersAreLetGo(t *testing.T) {
	stopping := make(chan struct{})
	own := auth.Identity{AccountID: "000000000000", ARN: "arn:aws:iam::000000000000:root", Service: "lambent"}
	paper := &paper{more: make(chan logs.Event)}
	a := &api{o: Options{Logs: paper, Stopping: stopping}}
	w := httptest.NewRecorder()
	c := &call{Request: httptest.NewRequest(http.MethodGet, "/", nil), w: w, id: own}
	var follow sync.WaitGroup
	follow.Go(func() { a.stream(c, logs.Query{}, true) }) // waited for below
	paper.more <- logs.Event{Message: "live\n"}
	close(stopping)
	follow.Wait()
	if !strings.Contains(w.Body.String(), "live") || strings.Contains(w.Body.String(), "error") {
		t.Errorf("followed %s", w.Body)
	}
}

func TestRuntimes(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	list, err := r.Runtimes(ctx)
	if err != nil || len(list) != 3 || list[0] != (client.Runtime{Name: "python3.12", State: "ready", Version: "3.12.1", Path: "/usr/bin/python3.12"}) {
		t.Errorf("listed %+v, %v", list, err)
	}
	var steps []string
	note := func(s string) { steps = append(steps, s) }
	if err := r.InstallRuntime(ctx, "nodejs22.x", nil, note); err != nil || !slices.Equal(steps, []string{"fetching nodejs22.x", "unpacking"}) {
		t.Errorf("installed %q, %v", steps, err)
	}
	if err := r.InstallRuntime(ctx, "dotnet8", nil, note); lambent.CodeOf(err) != lambent.CodeUnsupported {
		t.Errorf("refused install: %v", err)
	}
	if err := r.InstallRuntime(ctx, "cobol", nil, note); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("unknown runtime: %v", err)
	}
	if v, err := r.Version(ctx); err != nil || v.Region != "us-east-1" || v.Account != "000000000000" || v.Version == "" {
		t.Errorf("version %+v, %v", v, err)
	}
}

func TestWhoMayCall(t *testing.T) {
	r := newRig(t)
	wrong := r.target
	wrong.Keys.SecretKey = "wrong"
	if _, err := client.New(wrong, nil).Version(t.Context()); lambent.CodeOf(err) != lambent.CodeDenied {
		t.Errorf("wrong key: %v", err)
	}
	resp, err := http.Get(r.url + "/v1/version")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("unsigned: %s", resp.Status)
	}
}

// ask speaks to the door without a signature, as the identity id.
func ask(id *auth.Identity, method, path, contentType, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	if id != nil {
		req = req.WithContext(auth.With(req.Context(), *id))
	}
	w := httptest.NewRecorder()
	New(Options{Runtimes: shelf{}, Region: "us-east-1"}).ServeHTTP(w, req)
	return w
}

func TestDoorRefuses(t *testing.T) {
	const account = "000000000000"
	own := &auth.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":root", Service: "lambent"}
	other := &auth.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":user/x", Service: "lambent"}
	lambda := &auth.Identity{AccountID: account, ARN: own.ARN, Service: "lambda"}
	for name, tt := range map[string]struct {
		id                              *auth.Identity
		method, path, contentType, body string
		status                          int
		want                            string
	}{
		"unsigned":       {nil, "GET", "/v1/version", "", "", 403, "not signed"},
		"other service":  {lambda, "GET", "/v1/version", "", "", 403, `for the service \"lambda\"`},
		"no permission":  {other, "GET", "/v1/version", "", "", 403, "may not read"},
		"unknown path":   {own, "GET", "/v1/nothing", "", "", 404, "nothing at this path"},
		"method":         {own, "PATCH", "/v1/functions/a", "", "", 405, "PATCH is not among"},
		"body too large": {own, "GET", "/v1/runtimes", "", strings.Repeat("x", maxControlBody+1), 413, "too_large"},
		"limit":          {own, "GET", "/v1/functions?limit=0", "", "", 400, "want a number from 1 to 1000"},
		"unknown member": {own, "PUT", "/v1/functions/a", "application/json", `{"memory": 1}`, 400, `unknown field \"memory\"`},
		"two values":     {own, "PUT", "/v1/functions/a", "application/json", `{} {}`, 400, "goes on"},
		"bad form":       {own, "PUT", "/v1/functions/a", "multipart/form-data; boundary=x", "--x\r\n", 400, "damaged"},
		"unknown part":   {own, "PUT", "/v1/functions/a", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"y\"\r\n\r\n\r\n--x--", 400, "unknown part"},
		"since":          {own, "GET", "/v1/functions/a/logs?since=soon", "", "", 400, "want a time"},
		"tail":           {own, "POST", "/v1/functions/a/invocations?tail=maybe", "", "", 400, "want true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(tt.id, tt.method, tt.path, tt.contentType, tt.body)
			var e client.Error
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code == "" || e.RequestID != w.Header().Get("X-Request-Id") {
				t.Errorf("not our error shape: %v %s", err, w.Body)
			}
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %q", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}
