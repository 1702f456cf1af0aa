package runtimes_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

// Every CPython that the host has runs the same cases: the bootstrap promises
// 3.8 and up.
var pythons = []string{"python3.8", "python3.11", "python3.12", "python3.13"}

// pythonsFor leaves out most where blanks are started one by one, which takes long
// and differs little.
func pythonsFor(t *testing.T) []string {
	if originOf(t.Name()) == "Blank" {
		return []string{"python3.8", "python3.12"}
	}
	return pythons
}

func pythonMain(t *testing.T, runtime string) *rig {
	r := start(t, function{runtime: runtime, handler: "main.handler", dir: sources(t, "python")})
	r.expect("ready")
	return r
}

func TestPythonEcho(t *testing.T) {
	for _, name := range pythonsFor(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := pythonMain(t, name)
			for _, payload := range []string{
				`{"a": [1, 2.5, null, true, false, "x\ny"], "b": {"c": {}}}`,
				`"text"`, `12345678901234567890`, `null`, `[]`, ` {"padded": 1} `,
			} {
				wantEcho(t, payload, r.invoke("response", payload))
			}
		})
	}
}

func TestPythonNonASCII(t *testing.T) {
	for name, want := range map[string]string{
		"python3.11": `{"k": "\u00e9\u4e16"}`, "python3.12": `{"k": "é世"}`,
	} {
		r := pythonMain(t, name)
		if got := r.invoke("response", `{"k": "é世"}`); got.body != want {
			t.Errorf("%s answers %s, want %s", name, got.body, want)
		}
	}
}

func TestPythonError(t *testing.T) {
	for _, name := range pythonsFor(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := pythonMain(t, name)
			got := r.invoke("error", `{"do": "error", "message": "boom é"}`)
			m := decode(t, got.body)
			if m["errorMessage"] != "boom é" || m["errorType"] != "Custom" || m["requestId"] != got.id {
				t.Errorf("error object %s", got.body)
			}
			trace, _ := m["stackTrace"].([]any) // nil fails below
			if len(trace) != 2 || !strings.Contains(trace[1].(string), `main.py", line 23, in error`) {
				t.Errorf("stack trace %q", trace)
			}
			if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != "Custom" {
				t.Errorf("error type header %q", h)
			}
			r.logged("[ERROR] Custom: boom é\rTraceback (most recent call last):\r")
			r.invoke("response", `"still there"`)
		})
	}
}

// With no file left nothing can be imported: the error is told all the same.
func TestPythonOutOfFiles(t *testing.T) {
	r := pythonMain(t, "python3.12")
	m := decode(t, r.invoke("error", `{"do": "leak_files"}`).body)
	if m["errorType"] != "OSError" || !strings.Contains(m["errorMessage"].(string), "Too many open files") {
		t.Errorf("error object %v", m)
	}
	r.invoke("response", `"still there"`)
}

func TestPythonInitErrors(t *testing.T) {
	nested := "nested/deep/mod.handler"
	for handler, want := range map[string]struct{ kind, message string }{
		"main":                    {"Runtime.MalformedHandlerName", "Bad handler 'main': not enough values to unpack (expected 2, got 1)"},
		"missing_import.handler":  {"Runtime.ImportModuleError", "Unable to import module 'missing_import': No module named 'no_such_package'"},
		"absent.handler":          {"Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'"},
		"main.absent":             {"Runtime.HandlerNotFound", "Handler 'absent' missing on module 'main'"},
		"syntax_error.handler":    {"Runtime.UserCodeSyntaxError", "Syntax error in module 'syntax_error': "},
		"sys.exit":                {"Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"},
		"init_error.handler":      {"ValueError", "broken at start"},
		nested:                    {},
		"nested.deep.mod.handler": {},
	} {
		t.Run(handler, func(t *testing.T) {
			t.Parallel()
			r := start(t, function{runtime: "python3.12", handler: handler, dir: sources(t, "python")})
			if want.kind == "" {
				r.expect("ready")
				if got := r.invoke("response", `{}`); got.body != `"nested"` {
					t.Errorf("answer %s", got.body)
				}
				return
			}
			got := r.expect("init")
			m := decode(t, got.body)
			if m["errorType"] != want.kind || !strings.HasPrefix(m["errorMessage"].(string), want.message) {
				t.Errorf("init error %s, want %+v", got.body, want)
			}
			if m["requestId"] != "" {
				t.Errorf("request id %q", m["requestId"])
			}
			if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != want.kind {
				t.Errorf("error type header %q", h)
			}
			if want.kind == "ValueError" && !strings.Contains(got.body, `init_error.py\", line 1, in <module>`) {
				t.Errorf("stack trace in %s", got.body)
			}
			if s := r.expect("exit"); s.status != 1 {
				t.Errorf("exit status %d", s.status)
			}
		})
	}
}

func TestPythonExits(t *testing.T) {
	r := pythonMain(t, "python3.12")
	if s := r.invoke("exit", `{"do": "exit", "code": 7}`); s.status != 7 {
		t.Errorf("sys.exit(7) in a handler: exit status %d", s.status)
	}
	r = start(t, function{runtime: "python3.12", handler: "init_exit.handler", dir: sources(t, "python")})
	if s := r.expect("exit"); s.status != 3 {
		t.Errorf("sys.exit(3) at init: exit status %d", s.status)
	}
}

func TestPythonContext(t *testing.T) {
	r := pythonMain(t, "python3.12")
	id := r.send(`{"do": "context"}`, map[string]string{
		"Lambda-Runtime-Client-Context":   `{"custom": {"k": "é"}, "env": {"e": "1"}, "client": {"app_title": "t"}, "w3c": {"traceparent": "00-1", "other": "x", "baggage": 1}}`,
		"Lambda-Runtime-Cognito-Identity": `{"cognitoIdentityId": "who", "cognitoIdentityPoolId": "pool"}`,
	})
	m := decode(t, r.expect("response").body)
	wantContext(t, m, id, "512")
	client, _ := m["client_context"].(map[string]any) // nil fails below
	if custom, _ := client["custom"].(map[string]any); custom["k"] != "é" || client["title"] != "t" {
		t.Errorf("client context %v", client)
	}
	if got := fmt.Sprint(m["w3c"]); got != "map[traceparent:00-1]" {
		t.Errorf("w3c() gives %s", got)
	}
}

func TestPythonPayloads(t *testing.T) {
	r := pythonMain(t, "python3.12")
	const size = 6 << 20
	if got := r.invoke("response", `{"do": "size", "value": "`+strings.Repeat("z", size)+`"}`); got.body != "6291456" {
		t.Errorf("size of a large event: %s", got.body)
	}
	if got := r.invoke("response", `{"do": "big", "bytes": 6291456}`); len(got.body) != size+2 {
		t.Errorf("large answer has %d bytes", len(got.body))
	}
	m := decode(t, r.invoke("error", `{"do": "unserialisable"}`).body)
	if m["errorType"] != "Runtime.MarshalError" ||
		m["errorMessage"] != "Unable to marshal response: Object of type set is not JSON serializable" {
		t.Errorf("unserialisable answer: %v", m)
	}
	m = decode(t, r.invoke("error", `{"broken`).body)
	if m["errorType"] != "Runtime.UnmarshalError" || !strings.HasPrefix(m["errorMessage"].(string), "Unable to unmarshal input: ") {
		t.Errorf("broken event: %v", m)
	}
}

// AWS's runtime writes JSON by simplejson, which knows more types than json, and
// numbers of any length.
func TestPythonAnswers(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "main.py", `
import collections, decimal, enum
D, Row, Colour = decimal.Decimal, collections.namedtuple("Row", "id name"), enum.IntEnum("Colour", "RED")
circle = []
circle.append(circle)
def handler(event, context):
    return eval(event)
`)
	for _, name := range pythonsFor(t) {
		r := start(t, function{runtime: name, handler: "main.handler", dir: dir})
		r.expect("ready")
		for value, want := range map[string]string{
			`{'n': D('5'), 'price': D('1.10')}`:  `{"n": 5, "price": 1.10}`,
			`D('12345678901234567890.5')`:        `12345678901234567890.5`,
			`[D('NaN'), D('1E+3')]`:              `[NaN, 1E+3]`,
			`[Row(1, 'a'), (2, Row(D(3), 'b'))]`: `[{"id": 1, "name": "a"}, [2, {"id": 3, "name": "b"}]]`,
			`{'b': b'text'}`:                     `{"b": "text"}`,
			`{'c': Colour.RED, 1: None}`:         `{"c": 1, "1": null}`,
			`collections.OrderedDict(a='\"')`:    `{"a": "\""}`,
		} {
			if got := r.invoke("response", strconv.Quote(value)).body; got != want {
				t.Errorf("%s answers %s with %s, want %s", name, value, got, want)
			}
		}
		for value, want := range map[string]string{
			`[circle]`:  "Circular reference detected",
			`[D, D(1)]`: "Object of type type is not JSON serializable",
			`[b'\xff']`: "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
		} {
			m := decode(t, r.invoke("error", strconv.Quote(value)).body)
			if m["errorType"] != "Runtime.MarshalError" || m["errorMessage"] != "Unable to marshal response: "+want {
				t.Errorf("%s: %s: %v", name, value, m)
			}
		}
	}
}

// A late or too large answer is refused by the platform and must not end the
// runtime.
func TestPythonRefusedAnswers(t *testing.T) {
	for _, status := range []int{410, 413} {
		r := start(t, function{runtime: "python3.12", handler: "main.handler", dir: sources(t, "python"), status: status})
		r.expect("ready")
		r.invoke("response", `1`)
		r.invoke("error", `{"do": "error"}`)
		r.invoke("response", `2`)
	}
}

func TestPythonLogText(t *testing.T) {
	for _, name := range pythonsFor(t) {
		r := pythonMain(t, name)
		got := r.invoke("response", `{"do": "say"}`)
		r.logged("info hello")
		out := r.log.String()
		stamp := `\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t` + got.id + `\t`
		for _, want := range []string{
			"(?m)^print hello$", "(?m)^stderr hello$",
			`(?m)^\[WARNING\]` + stamp + "warning hello$",
			`(?m)^\[ERROR\]` + stamp + "error hello$",
			`(?m)^\[INFO\]` + stamp + "info hello$",
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("%s: no line like %s in\n%s", name, want, out)
			}
		}
		if strings.Contains(out, "debug hello") {
			t.Errorf("%s: a debug line at level INFO:\n%s", name, out)
		}
	}
}

func TestPythonLogJSON(t *testing.T) {
	r := start(t, function{
		runtime: "python3.12", handler: "main.handler", dir: sources(t, "python"),
		logging: lambent.Logging{Format: "JSON", ApplicationLevel: "ERROR"},
	})
	r.expect("ready")
	id := r.invoke("response", `{"do": "say"}`).id
	r.logged("info hello") // the function lowers the level after its warning
	levels := map[string]string{}
	for _, line := range strings.Split(r.log.String(), "\n") {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		m := decode(t, line)
		levels[m["level"].(string)] = m["message"].(string)
		if m["requestId"] != id || m["timestamp"] == nil || m["logger"] == nil {
			t.Errorf("log line %s", line)
		}
		if m["level"] == "INFO" && m["colour"] != "green" {
			t.Errorf("log line without its extra field: %s", line)
		}
	}
	if levels["WARNING"] != "" || levels["ERROR"] != "error hello" || levels["INFO"] != "info hello" {
		t.Errorf("log lines %v", levels)
	}
	r.invoke("error", `{"do": "error"}`)
	r.logged(`"level": "ERROR", "errorMessage": "went wrong"`)
	r.invoke("response", `{"do": "say_object", "value": [1]}`)
	r.logged(`"message": {"said": [1]}`)
}
