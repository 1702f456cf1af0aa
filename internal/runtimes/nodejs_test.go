package runtimes_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

const node = "nodejs20.x"

func nodeMain(t *testing.T, handler string) *rig {
	r := start(t, function{runtime: node, handler: handler, dir: sources(t, "nodejs")})
	r.expect("ready")
	return r
}

func TestNodeEcho(t *testing.T) {
	r := nodeMain(t, "index.handler")
	for _, payload := range []string{
		`{"a":[1,2.5,null,true,false,"x\ny"],"b":{"c":{}}}`, `"é世"`, `null`, `[]`, `17`,
	} {
		got := r.invoke("response", payload)
		if got.body != payload {
			t.Errorf("echo of %s is %s", payload, got.body)
		}
		if ct := got.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("content type %q", ct)
		}
	}
}

func TestNodeHandlerForms(t *testing.T) {
	for handler, want := range map[string]string{
		"nested/deep/mod.handler":   `"nested"`,
		"index.nested.deep.handler": `"nested export"`,
		"module.handler":            `"module"`,
		"esm/app.handler":           `"awaited"`,
		"common.handler":            `"common"`,
		"index.callback":            `{"style":"callback"}`,
		"index.legacy":              `"succeeded"`,
	} {
		t.Run(handler, func(t *testing.T) {
			t.Parallel()
			if got := nodeMain(t, handler).invoke("response", `{}`); got.body != want {
				t.Errorf("answer %s, want %s", got.body, want)
			}
		})
	}
}

func TestNodeErrors(t *testing.T) {
	r := nodeMain(t, "index.handler")
	got := r.invoke("error", `{"do": "error", "message": "boom é"}`)
	m := decode(t, got.body)
	trace, _ := m["trace"].([]any) // nil fails below
	if m["errorMessage"] != "boom é" || m["errorType"] != "Custom" || len(trace) != 3 || trace[0] != "Custom: boom é" {
		t.Errorf("error object %s", got.body)
	}
	if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != "Custom" {
		t.Errorf("error type header %q", h)
	}
	r.logged(got.id + "\tERROR\tInvoke Error \t{\"errorType\":\"Custom\",\"errorMessage\":\"boom é\"")
	m = decode(t, r.invoke("error", `{"do": "throw_value"}`).body)
	if m["errorType"] != "string" || m["errorMessage"] != "only text" {
		t.Errorf("thrown text: %v", m)
	}
	m = decode(t, r.invoke("error", `{"do": "unserialisable"}`).body)
	if m["errorMessage"] != "Unable to stringify response body" {
		t.Errorf("unserialisable answer: %v", m)
	}
	m = decode(t, r.invoke("error", `{"broken`).body)
	if m["errorType"] != "SyntaxError" {
		t.Errorf("broken event: %v", m)
	}
	m = decode(t, r.invoke("error", `{"do": "never"}`).body)
	if m["errorType"] != "Runtime.NodeJsExit" {
		t.Errorf("promise that is never settled: %v", m)
	}
	r.invoke("response", `1`)
}

func TestNodeCallbacks(t *testing.T) {
	r := nodeMain(t, "index.callback")
	m := decode(t, r.invoke("error", `{"fail": "no"}`).body)
	if m["errorType"] != "Custom" || m["errorMessage"] != "no" {
		t.Errorf("callback with an error: %v", m)
	}
	if got := r.invoke("response", `{"forget": true}`); got.body != "null" {
		t.Errorf("forgotten callback answers %s", got.body)
	}
	begun := time.Now()
	r.invoke("response", `{"later": 50}`)
	if took := time.Since(begun); took < 50*time.Millisecond {
		t.Errorf("the answer came after %v, before the event loop was empty", took)
	}
	r.logged("later work is done")
	r = nodeMain(t, "index.callback")
	begun = time.Now()
	r.invoke("response", `{"later": 15000, "waits": false}`)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the answer came after %v: it waited for the event loop", took)
	}
	r = nodeMain(t, "index.legacy")
	m = decode(t, r.invoke("error", `{"fail": "no"}`).body)
	if m["errorType"] != "Custom" {
		t.Errorf("context.fail: %v", m)
	}
	if got := r.invoke("response", `{"done": true}`); got.body != `"done"` {
		t.Errorf("context.done answers %s", got.body)
	}
}

func TestNodeInitErrors(t *testing.T) {
	for handler, want := range map[string]struct{ kind, message string }{
		"index":                  {"Runtime.MalformedHandlerName", "Bad handler"},
		"../index.handler":       {"Runtime.MalformedHandlerName", "'../index.handler' is not a valid handler name. "},
		"missing_import.handler": {"Runtime.ImportModuleError", "Error: Cannot find module 'no-such-package'\nRequire stack:\n- "},
		"absent.handler":         {"Runtime.ImportModuleError", "Error: Cannot find module 'absent'\nRequire stack:\n- "},
		"index.absent":           {"Runtime.HandlerNotFound", "index.absent is undefined or not exported"},
		"index.text":             {"Runtime.HandlerNotFound", "index.text is not a function"},
		"syntax_error.handler":   {"Runtime.UserCodeSyntaxError", "SyntaxError: "},
		"init_error.handler":     {"TypeError", "broken at start"},
		"init_reject.handler":    {"Runtime.UnhandledPromiseRejection", "Error: rejected at start"},
	} {
		t.Run(handler, func(t *testing.T) {
			t.Parallel()
			r := start(t, function{runtime: node, handler: handler, dir: sources(t, "nodejs")})
			got := r.expect("init")
			m := decode(t, got.body)
			if m["errorType"] != want.kind || !strings.HasPrefix(m["errorMessage"].(string), want.message) {
				t.Errorf("init error %s, want %+v", got.body, want)
			}
			if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != want.kind {
				t.Errorf("error type header %q", h)
			}
			if s := r.expect("exit"); s.status != 1 && s.status != 128 {
				t.Errorf("exit status %d", s.status)
			}
			r.logged("\tERROR\tUn") // caught Exception, or handled Promise Rejection
		})
	}
}

func TestNodeExits(t *testing.T) {
	r := nodeMain(t, "index.handler")
	if s := r.invoke("exit", `{"do": "exit", "code": 7}`); s.status != 7 {
		t.Errorf("exit status %d", s.status)
	}
	r = nodeMain(t, "index.handler")
	m := decode(t, r.invoke("error", `{"do": "throw_later"}`).body)
	if m["errorType"] != "Custom" || m["errorMessage"] != "later" {
		t.Errorf("uncaught exception: %v", m)
	}
	if s := r.expect("exit"); s.status != 129 {
		t.Errorf("exit status after an uncaught exception %d", s.status)
	}
	r = nodeMain(t, "index.handler")
	m = decode(t, r.invoke("error", `{"do": "reject_later"}`).body)
	if m["errorType"] != "Runtime.UnhandledPromiseRejection" || !strings.Contains(m["errorMessage"].(string), "rejected") {
		t.Errorf("unhandled rejection: %v", m)
	}
	if s := r.expect("exit"); s.status != 128 {
		t.Errorf("exit status after an unhandled rejection %d", s.status)
	}
	r = start(t, function{runtime: node, handler: "init_exit.handler", dir: sources(t, "nodejs")})
	if s := r.expect("exit"); s.status != 3 {
		t.Errorf("exit status of process.exit(3) at init %d", s.status)
	}
}

func TestNodeContext(t *testing.T) {
	r := nodeMain(t, "index.handler")
	id := r.send(`{"do": "context"}`, map[string]string{
		"Lambda-Runtime-Client-Context":   `{"custom": {"k": "é"}}`,
		"Lambda-Runtime-Cognito-Identity": `{"cognitoIdentityId": "who"}`,
	})
	m := decode(t, r.expect("response").body)
	wantContext(t, m, id, "512")
	client, _ := m["client_context"].(map[string]any) // nil fails below
	if custom, _ := client["custom"].(map[string]any); custom["k"] != "é" {
		t.Errorf("client context %v", client)
	}
}

func TestNodePayloads(t *testing.T) {
	r := nodeMain(t, "index.handler")
	if got := r.invoke("response", `{"do": "size", "value": "`+strings.Repeat("z", 6<<20)+`"}`); got.body != "6291456" {
		t.Errorf("size of a large event: %s", got.body)
	}
	if got := r.invoke("response", `{"do": "big", "bytes": 6291456}`); len(got.body) != 6<<20+2 {
		t.Errorf("large answer has %d bytes", len(got.body))
	}
}

func TestNodeRefusedAnswers(t *testing.T) {
	for _, status := range []int{http.StatusGone, http.StatusRequestEntityTooLarge} {
		r := start(t, function{runtime: node, handler: "index.handler", dir: sources(t, "nodejs"), status: status})
		r.expect("ready")
		r.invoke("response", `1`)
		r.invoke("error", `{"do": "error"}`)
		r.invoke("response", `2`)
	}
}

func TestNodeStreaming(t *testing.T) {
	r := nodeMain(t, "index.stream")
	got := r.invoke("response", `{}`)
	if got.body != "first second" || got.header.Get("Lambda-Runtime-Function-Response-Mode") != "streaming" ||
		got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("stream %q with %v", got.body, got.header)
	}
	got = r.invoke("response", `{"http": true}`)
	if want := `{"statusCode":201,"headers":{"x-a":"b"}}` + strings.Repeat("\x00", 8) + "first second"; got.body != want {
		t.Errorf("HTTP stream %q, want %q", got.body, want)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/vnd.awslambda.http-integration-response" {
		t.Errorf("content type %q", ct)
	}
	if m := decode(t, r.invoke("error", `{"fail": "early"}`).body); m["errorMessage"] != "early" {
		t.Errorf("error before the first write: %v", m)
	}
	if got = r.invoke("response", `{"fail": "late"}`); got.body != "first " {
		t.Errorf("stream that fails late: %q", got.body)
	}
	r.logged("late")
	r.invoke("response", `{}`)
}

func TestNodeLogText(t *testing.T) {
	r := nodeMain(t, "index.handler")
	got := r.invoke("response", `{"do": "say"}`)
	r.logged("stderr hello")
	out := r.log.String()
	stamp := `(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t` + got.id + `\t`
	for _, want := range []string{
		stamp + "INFO\tlog hello$", stamp + "INFO\tinfo hello$", stamp + "DEBUG\tdebug hello$",
		stamp + "WARN\twarn hello$", stamp + "ERROR\terror hello$", stamp + "INFO\ttwo\rlines$", "(?m)^print hello$",
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no line like %s in\n%s", want, out)
		}
	}
}

func TestNodeLogJSON(t *testing.T) {
	r := start(t, function{
		runtime: node, handler: "index.handler", dir: sources(t, "nodejs"),
		logging: lambent.Logging{Format: "JSON", ApplicationLevel: "WARN"},
	})
	r.expect("ready")
	id := r.invoke("response", `{"do": "say"}`).id
	r.logged("stderr hello")
	var seen []string
	for _, line := range strings.Split(r.log.String(), "\n") {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		m := decode(t, line)
		seen = append(seen, m["level"].(string)+" "+m["message"].(string))
		if m["requestId"] != id || m["timestamp"] == nil {
			t.Errorf("log line %s", line)
		}
	}
	if got := strings.Join(seen, ", "); got != "WARN warn hello, ERROR error hello" {
		t.Errorf("log lines %s", got)
	}
	r.invoke("error", `{"do": "error"}`)
	r.logged(`"errorType":"Custom"`)
}

// An error in a JSON log has its class, the whole stack and what else it carries.
func TestNodeErrorsInLogJSON(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "index.js", `
class Unnamed extends TypeError {}
exports.handler = async (event) => {
  const error = Object.assign(new Unnamed(event), { code: event, inner: new RangeError('deep') });
  if (event === 'alone') console.error(error);
  else if (event === 'within') console.error({ error });
  else console.error('it is', error);
};
`)
	r := start(t, function{runtime: node, handler: "index.handler", dir: dir, logging: lambent.Logging{Format: "JSON"}})
	r.expect("ready")
	for event, before := range map[string]string{"alone": `"message":{`, "within": `"message":{"error":{`, "beside": ``} {
		r.invoke("response", strconv.Quote(event))
		r.logged(before + `"errorType":"Unnamed","errorMessage":"` + event + `","stackTrace":["TypeError: ` + event + `","    at exports.handler (`)
		carried := strings.Contains(r.log.String(), `"code":"`+event+`","inner":{"errorType":"RangeError","errorMessage":"deep"`)
		if carried != (event != "beside") {
			t.Errorf("%s: what it carries is shown: %t", event, carried)
		}
	}
}
