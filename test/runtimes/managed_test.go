package runtimes

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent"
	"lambent.dev/lambent/test/harness"
)

// language is what a runtime of each family is expected to say where they
// differ.
type language struct {
	name   string
	folder string // of its function, where that is not its name
	// exit is how a handler that exits ends, where that is not with its status.
	exit failure
	// thrown is the type of the error that the verb "error" makes; object checks
	// the rest of its error object.
	thrown string
	object func(t *testing.T, requestID string, m map[string]any)
	// outOfMemory is how too much memory ends.
	outOfMemory failure
	crash       bool // there is a verb that crashes the interpreter
	w3c         bool // the context tells of the caller's trace
	forms       map[string]form
	broken      map[string]failure // handlers that fail to start
	text        []string           // lines of the verb "say", as patterns
	json        []string
}

// form is a handler with an event and its answer.
type form struct{ event, want string }

var killed = failure{"Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: signal: killed"}

var exited = failure{"Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 3"}

var languages = []language{pythonLanguage, nodeLanguage, javaLanguage, providedLanguage, rubyLanguage, phpLanguage,
	webLanguage("deno"), webLanguage("bun"), bashLanguage, dotnetLanguage}

const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`

var pythonLanguage = language{
	name: "python", thrown: "Custom", outOfMemory: killed, crash: true, w3c: true,
	object: func(t *testing.T, id string, m map[string]any) {
		trace := strings.Join(texts(m["stackTrace"]), "")
		if m["requestId"] != id || !strings.HasPrefix(trace, `  File "/var/task/main.py", line `) ||
			!strings.Contains(trace, "in error\n    raise Custom(") || len(m) != 4 {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"nested/deep/mod.handler": {`{}`, `"nested"`},
		"nested.deep.mod.handler": {`{}`, `"nested"`},
	},
	broken: map[string]failure{
		"init_error.handler":     {"ValueError", "broken at start"},
		"missing_import.handler": {"Runtime.ImportModuleError", "Unable to import module 'missing_import': No module named 'no_such_package'"},
		"main.absent":            {"Runtime.HandlerNotFound", "Handler 'absent' missing on module 'main'"},
		"init_exit.handler":      exited,
	},
	text: []string{`print hello`, `stderr hello`, `\[ERROR\]\t` + stamp + `\tID\terror hello`, `\[WARNING\]\t` + stamp + `\tID\twarning hello`},
	json: []string{`\{.*"level": ?"ERROR".*"message": ?"error hello".*"requestId": ?"ID".*\}`},
}

var nodeLanguage = language{
	name: "nodejs", thrown: "Custom", outOfMemory: killed, crash: true, w3c: true,
	object: func(t *testing.T, _ string, m map[string]any) {
		trace := texts(m["trace"])
		if len(trace) < 2 || trace[0] != "Custom: boom é" || !strings.HasPrefix(trace[1], "    at Object.error (/var/task/index.js:") || len(m) != 3 {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"index.callback":            {`{}`, `{"style":"callback"}`},
		"index.nested.deep.handler": {`{}`, `"nested export"`},
		"nested/deep/mod.handler":   {`{}`, `"nested"`},
		"module.handler":            {`{}`, `"module"`},
		"common.handler":            {`{}`, `"common"`},
		"esm/app.handler":           {`{}`, `"awaited"`},
	},
	broken: map[string]failure{
		"init_error.handler":     {"TypeError", "broken at start"},
		"init_reject.handler":    {"Runtime.UnhandledPromiseRejection", "Error: rejected at start"},
		"missing_import.handler": {"Runtime.ImportModuleError", "Error: Cannot find module 'no-such-package'"},
		"index.absent":           {"Runtime.HandlerNotFound", "index.absent is undefined or not exported"},
		"init_exit.handler":      exited,
	},
	text: []string{`print hello`, `stderr hello`, stamp + `\tID\tINFO\tlog hello`, stamp + `\tID\tERROR\terror hello`},
	json: []string{`\{.*"level":"ERROR".*"message":"error hello".*\}`},
}

var javaLanguage = language{
	name: "java", thrown: "fn.Main$Custom", outOfMemory: failure{"java.lang.OutOfMemoryError", "Java heap space"},
	crash: true,
	object: func(t *testing.T, _ string, m map[string]any) {
		trace := strings.Join(texts(m["stackTrace"]), "\n")
		cause, _ := m["cause"].(map[string]any) // nil fails below
		if !strings.Contains(trace, "fn.Main.handleRequest(Main.java:") || cause["errorMessage"] != "the cause" ||
			cause["errorType"] != "java.lang.IllegalStateException" {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"fn.Main::handleRequest": {`[1]`, `[1]`},
		"fn.Forms$Text":          {`"low"`, `"LOW"`},
		"fn.Forms$Streams":       {`{"any":  1}`, `{"any":  1}`},
		"fn.Forms::length":       {`[1,2,3]`, `3`},
		"fn.Forms::fixed":        {`{"Name":"n","at":1480641523.5}`, `{"name":"n","at":1480641523500}`},
	},
	broken: map[string]failure{
		"fn.Absent":                          {"java.lang.ClassNotFoundException", "Class not found: fn.Absent"},
		"fn.Forms$BrokenConstructor::handle": {"java.lang.IllegalStateException", "broken at start"},
	},
	text: []string{`print hello`, `stderr hello`, `logger hello`, `\[ERROR\] error hello`, `\{"mine":"hello"\}`},
	json: []string{`\{.*"level":"ERROR","message":"error hello","AWSRequestId":"ID"\}`, `\{"mine":"hello"\}`},
}

var providedLanguage = language{
	name: "provided", thrown: "CustomError", outOfMemory: killed,
	object: func(t *testing.T, _ string, m map[string]any) {
		if len(m) != 2 {
			t.Errorf("error object %v", m)
		}
	},
	text: []string{`print "hello"`, `stderr "hello"`},
	json: []string{`print "hello"`},
}

func texts(v any) []string {
	list, _ := v.([]any) // nil is a failure of the caller's
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

// source is the folder of the language's function.
func (l language) source() string {
	if l.folder != "" {
		return l.folder
	}
	return l.name
}

// contract is a runtime under test.
type contract struct {
	*testing.T
	s       *harness.Server
	l       language
	runtime string
	name    string // of the function that most cases share
	zip     []byte
}

func TestManagedRuntimes(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, l := range languages {
		runtimes := []string{"provided.al2023", "provided.al2"}
		if l.name != "provided" {
			runtimes = some(ready(t, s, l.name))
		}
		if l.name == "ruby" && len(runtimes) == 0 {
			runtimes = []string{"ruby3.2"} // by whatever Ruby there is
		}
		if _, err := exec.LookPath("mcs"); l.name == "dotnet" && err != nil {
			runtimes = nil // its functions cannot be compiled
		}
		if len(runtimes) == 0 {
			t.Run(l.name, func(t *testing.T) { t.Skip("this host has no such runtime") })
		}
		for _, runtime := range runtimes {
			t.Run(runtime, func(t *testing.T) {
				t.Parallel()
				c := &contract{T: t, s: s, l: l, runtime: runtime, name: strings.ReplaceAll(runtime, ".", "-")}
				c.zip = harness.ZipDir(t, code(t, l.source()))
				c.run()
			})
		}
	}
}

func (c *contract) run() {
	c.create("", handlers[c.l.name], map[string]string{"OWN": "mine"})
	for _, part := range []struct {
		name string
		test func()
	}{
		{"values", c.values}, {"environment", c.environment}, {"context", c.context}, {"surroundings", c.surroundings},
		{"errors", c.errors}, {"ends", c.ends}, {"timeout", c.timeout}, {"payloads", c.payloads}, {"log", c.log},
		{"log as JSON", c.logJSON}, {"forms", c.forms}, {"broken starts", c.brokenStarts}, {"wrapper", c.wrapper},
	} {
		whole := c.T
		whole.Run(part.name, func(t *testing.T) {
			c.T = t
			defer func() { c.T = whole }()
			part.test()
		})
	}
}

// create makes another function of the runtime; "" is the one that is shared.
func (c *contract) create(suffix, handler string, env map[string]string) string {
	c.Helper()
	f := harness.Function{Name: c.name + suffix, Runtime: c.runtime, Handler: handler, Zip: c.zip, Memory: 512, Timeout: 30, Env: env}
	c.s.Create(c.T, f)
	return f.Name
}

func (c *contract) call(event string) *lambda.InvokeOutput {
	c.Helper()
	return c.s.Invoke(c.T, c.name, event)
}

// alive makes sure that what happened before has done no harm.
func (c *contract) alive() {
	c.Helper()
	wantPayload(c.T, c.call(`{"do":"echo","value":"alive"}`), `"alive"`)
}

var requestID = regexp.MustCompile(`START RequestId: ([0-9a-f-]{36}) Version: \$LATEST\n`)

// idOf is the request id, from the log.
func (c *contract) idOf(out *lambda.InvokeOutput) string {
	c.Helper()
	m := requestID.FindStringSubmatch(logOf(out))
	if m == nil {
		c.Errorf("no START line in %q", logOf(out))
		return ""
	}
	return m[1]
}

func (c *contract) values() {
	for _, v := range []string{`null`, `true`, `17`, `-0.5`, `[]`, `{}`, `"é世😀"`, `[1,{"a":[null]}]`} {
		if got := c.call(v); got.FunctionError != nil || !sameJSON(string(got.Payload), v) {
			c.Errorf("event %s answers %s", v, got.Payload)
		}
		if got := c.call(`{"do":"echo","value":` + v + `}`); got.FunctionError != nil || !sameJSON(string(got.Payload), v) {
			c.Errorf("value %s answers %s", v, got.Payload)
		}
	}
	c.eventually("use an instance again", func() bool {
		m := decode[map[string]float64](c.T, c.call(`{"do":"count"}`))
		return m["count"] > 1
	})
}

// eventually tries until ok: a call that comes before its predecessor's instance
// is ready may be answered by another one.
func (c *contract) eventually(what string, ok func() bool) {
	c.Helper()
	for range 20 {
		if ok() {
			return
		}
	}
	c.Errorf("%s: not in 20 calls", what)
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

// environment is that of the recorded functions on AWS, 24 variables, and
// AWS_EXECUTION_ENV of the managed ones.
func (c *contract) environment() {
	env := decode[map[string]string](c.T, c.call(`{"do":"env"}`))
	want := map[string]string{
		"OWN": "mine", "AWS_REGION": harness.Region, "AWS_DEFAULT_REGION": harness.Region,
		"AWS_LAMBDA_FUNCTION_NAME": c.name, "AWS_LAMBDA_FUNCTION_VERSION": `\$LATEST`, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/" + c.name,
		"AWS_LAMBDA_LOG_STREAM_NAME": `\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}`, "AWS_LAMBDA_RUNTIME_API": `[0-9.]+:\d+`,
		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "AWS_XRAY_DAEMON_ADDRESS": `[0-9.]+:2000`, "_AWS_XRAY_DAEMON_ADDRESS": `[0-9.]+`,
		"_AWS_XRAY_DAEMON_PORT": "2000", "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "LANG": "en_US.UTF-8",
		"LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib.*",
		"PATH":            "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin", "TZ": ":UTC", "_HANDLER": regexp.QuoteMeta(handlers[c.l.name]),
		"AWS_ACCESS_KEY_ID": `ASIA[A-Z0-9]{16}`, "AWS_SECRET_ACCESS_KEY": `\S{40}`, "AWS_SESSION_TOKEN": `\S{100,}`,
	}
	for _, service := range []string{"LAMBDA", "STS", "CLOUDWATCH_LOGS", "SCHEDULER"} { // AWS has no need for them
		want["AWS_ENDPOINT_URL_"+service] = `http://[0-9.]+:\d+`
	}
	if c.l.name != "java" { // which has a system property instead
		want["_X_AMZN_TRACE_ID"] = "Root=1-[0-9a-f]{8}-[0-9a-f]{24}.*"
	}
	if c.l.name != "provided" {
		want["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + c.runtime
	}
	for name, pattern := range want {
		if value, ok := env[name]; !ok || !regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) {
			c.Errorf("%s is %q (%v), want %s", name, value, ok, pattern)
		}
	}
	for name := range env {
		known := []string{"PYTHONPATH", "NODE_PATH", "GOMAXPROCS", "LC_CTYPE",
			"GEM_HOME", "GEM_PATH", "RUBYLIB", "DENO_DIR", "DENO_NO_UPDATE_CHECK", "PWD", "OLDPWD", "SHLVL", "_",
			"AWS_REQUEST_ID", "LAMBDA_DEADLINE_MS", "COMPlus_EnableDiagnostics", "COMPlus_GCHeapHardLimit",
			"DOTNET_EnableDiagnostics", "DOTNET_GCHeapHardLimit", "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "LAMBDA_INVOKED_FUNCTION_ARN", "LAMBDA_CLIENT_CONTEXT", "LAMBDA_COGNITO_IDENTITY"}
		if _, ok := want[name]; !ok && !slices.Contains(known, name) {
			c.Errorf("the function sees %s=%s too", name, env[name])
		}
	}
}

func (c *contract) context() {
	custom := base64.StdEncoding.EncodeToString([]byte(`{"custom":{"k":"é"},"client":{"app_title":"t"},"w3c":{"traceparent":"00-1","other":"x"}}`))
	began := time.Now()
	out, err := c.s.Lambda().Invoke(c.Context(), &lambda.InvokeInput{
		FunctionName: &c.name, Payload: []byte(`{"do":"context"}`), LogType: types.LogTypeTail,
		ClientContext: &custom, Qualifier: aws.String("$LATEST"),
	})
	if err != nil {
		c.Fatal(err)
	}
	m := decode[map[string]any](c.T, out)
	for name, want := range map[string]string{
		"aws_request_id": c.idOf(out), "function_name": c.name, "function_version": "$LATEST", "memory_limit_in_mb": "512",
		"log_group_name":       "/aws/lambda/" + c.name,
		"invoked_function_arn": "arn:aws:lambda:us-east-1:" + account + ":function:" + c.name + ":$LATEST",
	} {
		if got := fmt.Sprint(m[name]); got != want {
			c.Errorf("context: %s is %s, want %s", name, got, want)
		}
	}
	left, _ := m["remaining"].(float64) // 0 fails
	if left > 30000 || left < float64(30000-time.Since(began).Milliseconds()-1) {
		c.Errorf("remaining time %v ms", left)
	}
	client := m
	if nested, ok := m["client_context"].(map[string]any); ok {
		client = nested
	}
	if got, _ := client["custom"].(map[string]any); got["k"] != "é" {
		c.Errorf("client context %v", m)
	}
	if got := fmt.Sprint(m["w3c"], client["w3c"]); c.l.w3c && got != "map[traceparent:00-1] <nil>" {
		c.Errorf("trace context of W3C %s", got)
	}
	if stream := fmt.Sprint(m["log_stream_name"]); !regexp.MustCompile(`^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$`).MatchString(stream) {
		c.Errorf("log stream %q", stream)
	}
	if trace := fmt.Sprint(m["trace"]); !strings.HasPrefix(trace, "Root=1-") {
		c.Errorf("trace %q", trace)
	}
	if m := decode[map[string]any](c.T, c.call(`{"do":"context"}`)); m["invoked_function_arn"] != "arn:aws:lambda:us-east-1:"+account+":function:"+c.name {
		c.Errorf("without a qualifier the function's ARN is %v", m["invoked_function_arn"])
	}
}

func (c *contract) surroundings() {
	where := decode[map[string]any](c.T, c.call(`{"do":"where"}`))
	if where["cwd"] != "/var/task" || !strings.HasPrefix(fmt.Sprint(where["user"]), "sbx_user") || where["uid"] == 0.0 {
		c.Errorf("surroundings: %v", where)
	}
	if out := decode[string](c.T, c.call(`{"do":"run","command":["/usr/bin/stat","-c","%a","/tmp","/var/task","/opt"]}`)); out != "1777\n755\n755\n" {
		c.Errorf("modes of /tmp, /var/task, /opt: %q", out)
	}
	c.eventually("find in /tmp what another call has put there", func() bool {
		wantPayload(c.T, c.call(`{"do":"files","path":"/tmp/kept","write":"over"}`), `4`)
		return string(c.call(`{"do":"files","path":"/tmp/kept"}`).Payload) == `"over"`
	})
	for _, path := range []string{"/var/task/new", "/opt/new", "/new", "/var/runtime/new"} {
		if out := c.call(`{"do":"files","path":"` + path + `","write":"x"}`); out.FunctionError == nil {
			c.Errorf("%s can be written", path)
		}
	}
}

func (c *contract) errors() {
	out := c.call(`{"do":"error","message":"boom é"}`)
	wantFailure(c.T, out, c.l.thrown, "boom é")
	var m map[string]any
	if err := json.Unmarshal(out.Payload, &m); err != nil {
		c.Fatal(err)
	}
	c.l.object(c.T, c.idOf(out), m)
	if out.StatusCode != http.StatusOK || *out.ExecutedVersion != "$LATEST" {
		c.Errorf("status %d, version %v", out.StatusCode, out.ExecutedVersion)
	}
	c.alive()
}

// report checks the last line of an invocation's log.
func (c *contract) report(out *lambda.InvokeOutput, ending string) {
	c.Helper()
	id := c.idOf(out)
	pattern := `END RequestId: ` + id + `\nREPORT RequestId: ` + id + `\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\t` +
		`Memory Size: 512 MB\tMax Memory Used: \d+ MB\t(Init Duration: \d+\.\d\d ms\t)?(Cold Start: [a-z]+( [a-z]+=\d+\.\d\d){6} ms\t)?` + ending + `\n?$`
	if !regexp.MustCompile(pattern).MatchString(logOf(out)) {
		c.Errorf("log %q, want an end like %s", logOf(out), pattern)
	}
}

var crashed = regexp.MustCompile(`^RequestId: [0-9a-f-]{36} Error: Runtime exited with error: (signal: (aborted|segmentation fault)( \(core dumped\))?|exit status (127|134))$`)

func (c *contract) ends() {
	out := c.call(`{"do":"exit","code":3}`)
	if c.l.exit.Type != "" {
		wantFailure(c.T, out, c.l.exit.Type, c.l.exit.Message)
	} else {
		wantFailure(c.T, out, exited.Type, exited.Message)
		c.report(out, "Status: error\tError Type: Runtime.ExitError")
		c.alive()
		wantFailure(c.T, c.call(`{"do":"exit","code":0}`), "Runtime.ExitError", "RequestId: ID Error: Runtime exited without providing a reason")
	}
	c.alive()
	out = c.call(`{"do":"oom"}`)
	wantFailure(c.T, out, c.l.outOfMemory.Type, c.l.outOfMemory.Message)
	if c.l.outOfMemory == killed {
		c.report(out, "Status: error\tError Type: Runtime.OutOfMemory")
	}
	c.alive()
	if c.l.crash {
		// Which signal or status it is depends on the interpreter's own handlers.
		f := failureOf(c.T, c.call(`{"do":"crash"}`))
		if f.Type != "Runtime.ExitError" || !crashed.MatchString(f.Message) {
			c.Errorf("crash: %+v", f)
		}
		c.alive()
	}
}

func (c *contract) timeout() {
	name := c.name + "-timeout"
	c.s.Create(c.T, harness.Function{Name: name, Runtime: c.runtime, Handler: handlers[c.l.name], Zip: c.zip, Memory: 512, Timeout: 1})
	out := c.s.Invoke(c.T, name, `{"do":"sleep","seconds":3600}`) // which counts as well
	wantFailure(c.T, out, "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 1.00 seconds")
	c.report(out, "Status: timeout")
	// Globals are lost, and the next environment works.
	if after := decode[map[string]float64](c.T, c.s.Invoke(c.T, name, `{"do":"count"}`)); after["count"] != 1 {
		c.Errorf("after a timeout the globals are still there: %v", after)
	}
}

func (c *contract) payloads() {
	head, foot := `{"do":"size","value":"`, `"}`
	n := lambent.MaxPayload - len(head) - len(foot)
	wantPayload(c.T, c.call(head+strings.Repeat("z", n)+foot), fmt.Sprint(n))
	out := c.call(fmt.Sprintf(`{"do":"big","bytes":%d}`, lambent.MaxPayload-2))
	wantPayload(c.T, out, `"`+strings.Repeat("x", lambent.MaxPayload-2)+`"`)
	wantFailure(c.T, c.call(fmt.Sprintf(`{"do":"big","bytes":%d}`, lambent.MaxPayload-1)),
		"Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes).")
	c.alive()
}

func (c *contract) log() {
	out := c.call(`{"do":"say","value":"hello"}`)
	wantPayload(c.T, out, `"said"`)
	c.lines(out, c.l.text)
	c.report(out, "")
	plain, err := c.s.Lambda().Invoke(c.Context(), &lambda.InvokeInput{FunctionName: &c.name, Payload: []byte(`{}`)})
	if err != nil || plain.LogResult != nil {
		c.Errorf("a log that was not asked for: %v, %v", plain.LogResult, err)
	}
	if c.l.name == "provided" {
		return
	}
	// The tail is the last 4 KB.
	if text := logOf(c.call(`{"do":"log","bytes":100000}`)); len(text) > 4096 || len(text) < 4000 || !strings.Contains(text, "REPORT RequestId: ") {
		c.Errorf("tail of %d bytes: %.100q", len(text), text)
	}
}

// lines looks for whole lines by their patterns.
func (c *contract) lines(out *lambda.InvokeOutput, patterns []string) {
	c.Helper()
	text := logOf(out)
	id := regexp.MustCompile(`RequestId: ([0-9a-f-]{36})|"requestId": ?"([0-9a-f-]{36})"`).FindStringSubmatch(text)
	if id == nil {
		c.Fatalf("no request id in %q", text)
	}
	for _, p := range patterns {
		p = strings.ReplaceAll(p, "ID", id[1]+id[2])
		if !regexp.MustCompile("(?m)^" + p + "$").MatchString(text) {
			c.Errorf("no line like %s in\n%s", p, text)
		}
	}
}

// logAsJSON has a function log as JSON, from a level on.
func logAsJSON(t *testing.T, s *harness.Server, name string, level types.ApplicationLogLevel) {
	t.Helper()
	_, err := s.Lambda().UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &name,
		LoggingConfig: &types.LoggingConfig{LogFormat: types.LogFormatJson, ApplicationLogLevel: level, SystemLogLevel: types.SystemLogLevelInfo}})
	if err != nil {
		t.Fatal(err)
	}
	err = lambda.NewFunctionUpdatedV2Waiter(s.Lambda(), func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	}).Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
}

// A level holds for what a function formats by itself, too.
func TestLogLevel(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "levels", Runtime: "bash", Handler: "main.handler", Zip: harness.Zip(t, map[string]string{
		"main.sh": `handler() {
  for level in DEBUG INFO WARN; do
    echo "{\"level\":\"$level\",\"timestamp\":\"2026-11-24T00:44:13Z\",\"msg\":\"own\"}" >&2
  done
  echo text >&2
  echo '{}'
}`})})
	for level, want := range map[types.ApplicationLogLevel]string{types.ApplicationLogLevelDebug: "DEBUG INFO WARN text", types.ApplicationLogLevelWarn: "WARN text"} {
		logAsJSON(t, s, "levels", level)
		log := logOf(s.Invoke(t, "levels", `{}`))
		if got := strings.Join(regexp.MustCompile(`DEBUG|INFO|WARN|text`).FindAllString(log, -1), " "); got != want {
			t.Errorf("at %s the log has %q, want %q:\n%s", level, got, want, log)
		}
	}
}

func (c *contract) logJSON() {
	name := c.create("-json", handlers[c.l.name], nil)
	logAsJSON(c.T, c.s, name, types.ApplicationLogLevelInfo)
	out := c.s.Invoke(c.T, name, `{"do":"say","value":"hello"}`)
	c.lines(out, append([]string{`\{"time":"[^"]+","type":"platform.start",.*\}`, `\{"time":"[^"]+","type":"platform.report",.*"status":"success".*\}`}, c.l.json...))
	if strings.Contains(logOf(out), "debug hello") || strings.Contains(logOf(out), "REPORT RequestId") {
		c.Errorf("log\n%s", logOf(out))
	}
}

func (c *contract) forms() {
	for n, handler := range slices.Sorted(maps.Keys(c.l.forms)) {
		name := c.create(fmt.Sprintf("-form-%d", n), handler, nil)
		if out := c.s.Invoke(c.T, name, c.l.forms[handler].event); out.FunctionError != nil || string(out.Payload) != c.l.forms[handler].want {
			c.Errorf("%s answers %s, want %s", handler, out.Payload, c.l.forms[handler].want)
		}
	}
}

func (c *contract) brokenStarts() {
	if c.l.name == "provided" {
		name := c.create("-broken", "bootstrap", map[string]string{"INIT_FAIL": "1"})
		wantFailure(c.T, c.s.Invoke(c.T, name, `{}`), "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 4")
		return
	}
	for n, handler := range slices.Sorted(maps.Keys(c.l.broken)) {
		want := c.l.broken[handler]
		name := c.create(fmt.Sprintf("-broken-%d", n), handler, nil)
		for range 2 { // the second one starts anew and fails in the same way
			out := c.s.Invoke(c.T, name, `{}`)
			f := failureOf(c.T, out)
			if want == exited {
				wantFailure(c.T, out, want.Type, want.Message)
			} else if f.Type != want.Type || !strings.HasPrefix(f.Message, want.Message) {
				c.Errorf("%s: error %s, want %+v", handler, out.Payload, want)
			}
		}
	}
}

func (c *contract) wrapper() {
	if c.l.name == "provided" {
		return // "Modifying the runtime environment": not for OS-only runtimes
	}
	dir := code(c.T, c.l.source())
	write(c.T, dir+"/wrap", "#!/bin/sh\nexport WRAPPED=\"$#\"\nexec \"$@\"\n", 0o755)
	c.s.Create(c.T, harness.Function{Name: c.name + "-wrapped", Runtime: c.runtime, Handler: handlers[c.l.name], Zip: harness.ZipDir(c.T, dir),
		Memory: 512, Env: map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}})
	env := decode[map[string]string](c.T, c.s.Invoke(c.T, c.name+"-wrapped", `{"do":"env"}`))
	if env["WRAPPED"] == "" || env["WRAPPED"] == "0" {
		c.Errorf("the wrapper was not used: %v", env)
	}
}
