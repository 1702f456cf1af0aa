package runtimes_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
)

// spoken is what a language of the table says in its own way; everything else is
// the same for all.
type spoken struct {
	runtime, folder, handler string
	thrown                   string                        // type of the verb "error"
	trace                    func(m map[string]any) string // of its error object
	traceHas                 string
	raised                   string // log line of it, as a pattern
	exit                     func(t *testing.T, r *rig)
	inits                    map[string]initFault // by handler
	memory                   any                  // in the context
	say                      []string             // lines of the verb "say", with ID for the request's
	coarse                   bool                 // knows no JSON but as text
}

type initFault struct {
	kind, message string
	status        int
}

func stackTrace(m map[string]any) string {
	lines, _ := m["stackTrace"].([]any) // nil is empty
	var out []string
	for _, l := range lines {
		out = append(out, l.(string))
	}
	return strings.Join(out, "\n")
}

// exitsWith is an interpreter that ends without a word.
func exitsWith(event string, status int) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		if s := r.invoke("exit", event); s.status != status {
			t.Errorf("exit status %d, want %d", s.status, status)
		}
	}
}

const clock = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+`

var spokens = []spoken{
	{
		runtime: "ruby3.2", folder: "ruby", handler: "main.handler", thrown: "Function<Custom>", trace: stackTrace,
		traceHas: "main.rb:14:in ", raised: `^Error raised from handler method\r\{\r  "errorMessage": "boom é",\r`,
		exit: rubyExit, memory: "512",
		inits: map[string]initFault{
			"main":                         {"Init<LambentRuntime::Fault>", "Bad handler 'main'", 252},
			"a.b.c.d":                      {"Init<LambentRuntime::Fault>", "Bad handler 'a.b.c.d'", 252},
			"missing_import.handler":       {"Init<LoadError>", "cannot load such file -- no_such_library", 252},
			"absent.handler":               {"Init<LoadError>", "cannot load such file -- absent", 252},
			"syntax_error.handler":         {"Init<SyntaxError>", "", 252},
			"init_error.handler":           {"Init<RuntimeError>", "broken at start", 252},
			"init_exit.handler":            {"Init<SystemExit>", "exit", 252},
			"nested/deep/mod.handler":      {},
			"main.Nested::Handler.process": {},
		},
		say: []string{"^print hello$", "^stderr hello$", `^E, \[` + clock + ` #\d+\] ERROR ID -- named: error hello$`, "two\rlines$"},
	},
	{
		runtime: "php8.2", folder: "php", handler: "main.handler", thrown: "Custom", trace: stackTrace, traceHas: "main.php:25",
		raised: `^Invoke Error\t\{"errorType":"Custom","errorMessage":"boom é","stackTrace":\[".*main.php:25"\],"cause":\{"errorType":"RuntimeException",`,
		exit:   exitsWith(`{"do": "exit", "code": 7}`, 7), memory: 512.0,
		inits: map[string]initFault{
			"main":                    {"Runtime.MalformedHandlerName", "Bad handler 'main'", 1},
			"../main.handler":         {"Runtime.MalformedHandlerName", "Bad handler '../main.handler'", 1},
			"absent.handler":          {"Runtime.ImportModuleError", "There is no file absent.php", 1},
			"main.absent":             {"Runtime.HandlerNotFound", "Handler 'main.absent' is not something to call", 1},
			"missing_import.handler":  {"Error", "Failed opening required 'no_such_file.php'", 1},
			"syntax_error.handler":    {"ParseError", "syntax error, unexpected token", 1},
			"init_error.handler":      {"LogicException", "broken at start", 1},
			"init_exit.handler":       {"", "", 3},
			"nested/deep/mod.handler": {},
			"closure.php":             {},
			"main.Handlers::shared":   {},
			"main.Handlers::own":      {},
		},
		say: []string{"^print hello$", "^stderr hello$", "^error hello$", `^PHP Warning:  Undefined variable \$undefined in |^Warning: Undefined variable \$undefined in `},
	},
	{
		runtime: "deno2", folder: "web", handler: "main.handler", thrown: "Custom", trace: nodeTrace, traceHas: "main.ts:21:",
		raised: `^` + clock + `Z\t[0-9a-f-]{36}\tERROR\tInvoke Error \t\{"errorType":"Custom","errorMessage":"boom é","stack":\["`,
		exit:   exitsWith(`{"do": "exit", "code": 7}`, 7), memory: "512", inits: webInits, say: webSays,
	},
	{
		runtime: "bun1", folder: "web", handler: "main.handler", thrown: "Custom", trace: nodeTrace, traceHas: "main.ts:21:",
		raised: `^` + clock + `Z\t[0-9a-f-]{36}\tERROR\tInvoke Error \t\{"errorType":"Custom","errorMessage":"boom é","stack":\["`,
		exit:   exitsWith(`{"do": "exit", "code": 7}`, 7), memory: "512", inits: webInits, say: webSays,
	},
	{
		runtime: "bash", folder: "bash", handler: "main.handler", thrown: "ExitStatus3", trace: stackTrace,
		raised: `^\[ERROR\] [0-9a-f-]{36}\tstatus 3: boom é$`, exit: exitsWith(`{"do": "exit", "code": 7}`, 7), memory: "512", coarse: true,
		inits: map[string]initFault{
			"main":                    {"Runtime.MalformedHandlerName", "Bad handler 'main'", 1},
			"../main.handler":         {"Runtime.MalformedHandlerName", "Bad handler '../main.handler'", 1},
			"absent.handler":          {"Runtime.ImportModuleError", "There is no file absent.sh", 1},
			"main.absent":             {"Runtime.HandlerNotFound", "There is no function absent in main.sh", 1},
			"syntax_error.handler":    {"Runtime.UserCodeSyntaxError", "syntax_error.sh: line 3: syntax error near", 1},
			"init_error.handler":      {"Runtime.InitError", "init_error.handler: the file ended with status 1", 1},
			"init_exit.handler":       {"", "", 3},
			"nested/deep/mod.handler": {},
			"main.sh.handler":         {},
			"main.argument":           {},
		},
		say: []string{"^stderr hello$"},
	},
	dotnetSpoken,
}

var webInits = map[string]initFault{
	"main":                     {"Runtime.MalformedHandlerName", "Bad handler 'main'", 1},
	"../main.handler":          {"Runtime.MalformedHandlerName", "Bad handler '../main.handler'", 1},
	"absent.handler":           {"Runtime.ImportModuleError", "There is no module absent", 1},
	"main.absent":              {"Runtime.HandlerNotFound", "main.absent is undefined or not exported", 1},
	"main.text":                {"Runtime.HandlerNotFound", "main.text is not a function", 1},
	"missing_import.handler":   {"Runtime.ImportModuleError", "", 1},
	"syntax_error.handler":     {"Runtime.UserCodeSyntaxError", "", 1},
	"init_error.handler":       {"TypeError", "broken at start", 1},
	"init_reject.handler":      {"Runtime.UnhandledPromiseRejection", "Error: rejected at start", 1},
	"init_exit.handler":        {"", "", 3},
	"nested/deep/mod.handler":  {},
	"main.nested.deep.handler": {},
}

const webStamp = `^` + clock + `Z\tID\t`

var webSays = []string{"^print hello$", "^stderr hello$", webStamp + "INFO\tlog hello$", webStamp + "ERROR\terror hello$",
	webStamp + "WARN\twarn \\{ ?(\r *)?text: \"hello\",? ?\r?\\}$", webStamp + "INFO\ttwo\rlines$"}

func nodeTrace(m map[string]any) string { return stackTrace(map[string]any{"stackTrace": m["trace"]}) }

// On AWS an exit is an error like any other, and then the process ends.
func rubyExit(t *testing.T, r *rig) {
	m := decode(t, r.invoke("error", `{"do": "exit", "code": 7}`).body)
	if m["errorType"] != "Function<SystemExit>" {
		t.Errorf("exit: %v", m)
	}
	if s := r.expect("exit"); s.status != 255 {
		t.Errorf("exit status %d", s.status)
	}
}

func (s spoken) start(t *testing.T) *rig {
	t.Helper()
	r := start(t, function{runtime: s.runtime, handler: s.handler, dir: sources(t, s.folder)})
	r.expect("ready")
	return r
}

func eachLanguage(t *testing.T, test func(t *testing.T, s spoken)) {
	for _, s := range spokens {
		if originOf(t.Name()) == "Blank" && s.folder != "ruby" && s.folder != "php" && s.folder != "dotnet" {
			continue // their bootstraps are never blanks
		}
		t.Run(s.runtime, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func TestLanguageEcho(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		r := s.start(t)
		for _, payload := range []string{
			`{"a": [1, 2.5, null, true, false, "x\ny"], "b": {"c": {}}}`, `"é世😀"`, `17`, `null`, `[]`, `{}`, ` {"padded": 1} `,
		} {
			wantEcho(t, payload, r.invoke("response", payload))
		}
	})
}

func TestLanguageError(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		r := s.start(t)
		got := r.invoke("error", `{"do": "error", "message": "boom é"}`)
		m := decode(t, got.body)
		if m["errorMessage"] != "boom é" || m["errorType"] != s.thrown || !strings.Contains(s.trace(m), s.traceHas) {
			t.Errorf("error object %s", got.body)
		}
		if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != s.thrown {
			t.Errorf("error type header %q", h)
		}
		r.matches(s.raised)
		r.invoke("response", `"still there"`)
		if s.coarse {
			return
		}
		r.invoke("error", `{"do": "unserialisable"}`)
		r.invoke("error", `{"broken`)
		r.invoke("response", `"still there"`)
	})
}

func TestLanguageInitErrors(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		for handler, want := range s.inits {
			t.Run(handler, func(t *testing.T) {
				r := start(t, function{runtime: s.runtime, handler: handler, dir: sources(t, s.folder)})
				if want == (initFault{}) {
					r.expect("ready")
					r.invoke("response", `{}`)
					return
				}
				if want.kind != "" {
					got := r.expect("init")
					m := decode(t, got.body)
					if m["errorType"] != want.kind || !strings.HasPrefix(m["errorMessage"].(string), want.message) {
						t.Errorf("init error %s, want %+v", got.body, want)
					}
					if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != want.kind {
						t.Errorf("error type header %q", h)
					}
				}
				if s := r.expect("exit"); s.status != want.status {
					t.Errorf("exit status %d, want %d", s.status, want.status)
				}
			})
		}
	})
}

func TestLanguageExit(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) { s.exit(t, s.start(t)) })
}

func TestLanguageContext(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		r := s.start(t)
		id := r.send(`{"do": "context"}`, map[string]string{
			"Lambda-Runtime-Client-Context":   `{"custom": {"k": "é"}, "client": {"app_title": "t"}}`,
			"Lambda-Runtime-Cognito-Identity": `{"cognitoIdentityId": "who", "cognitoIdentityPoolId": "pool"}`,
		})
		m := decode(t, r.expect("response").body)
		wantContext(t, m, id, s.memory)
		client, _ := m["client_context"].(map[string]any) // nil fails below
		if custom, _ := client["custom"].(map[string]any); custom["k"] != "é" {
			t.Errorf("client context %v", client)
		}
	})
}

func TestLanguagePayloads(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		r := s.start(t)
		const size = 6 << 20
		if got := r.invoke("response", `{"do": "size", "value": "`+strings.Repeat("z", size)+`"}`); strings.TrimSpace(got.body) != "6291456" {
			t.Errorf("size of a large event: %.100s", got.body)
		}
		if got := r.invoke("response", `{"do": "big", "bytes": 6291456}`); len(got.body) != size+2 {
			t.Errorf("large answer has %d bytes", len(got.body))
		}
	})
}

// A late or too large answer is refused by the platform and must not end the
// runtime.
func TestLanguageRefusedAnswers(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		for _, status := range []int{410, 413} {
			r := start(t, function{runtime: s.runtime, handler: s.handler, dir: sources(t, s.folder), status: status})
			r.expect("ready")
			r.invoke("response", `1`)
			r.invoke("error", `{"do": "error"}`)
			r.invoke("response", `2`)
		}
	})
}

func TestLanguageLog(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		r := s.start(t)
		got := r.invoke("response", `{"do": "say"}`)
		for _, want := range s.say {
			r.matches(strings.ReplaceAll(want, "ID", got.id))
		}
	})
}

var languageSuites = map[string]func(*testing.T){
	"echo": TestLanguageEcho, "error": TestLanguageError, "init": TestLanguageInitErrors, "exit": TestLanguageExit,
	"context": TestLanguageContext, "payloads": TestLanguagePayloads, "log": TestLanguageLog,
	"environment": TestLanguageEnvironment, "gems": TestRubyGemsAreLate,
}

// What a blank becomes cannot be told from a fresh start.
func TestLanguageOverBlanks(t *testing.T) {
	for name, suite := range languageSuites {
		t.Run(name, suite)
	}
}

// The environment is the function's, whatever the process was started with.
func TestLanguageEnvironment(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		if s.folder == "bash" {
			return // its function makes no JSON of it that this could compare
		}
		r := start(t, function{runtime: s.runtime, handler: s.handler, dir: sources(t, s.folder), env: map[string]string{"OWN": "é=1"}})
		r.expect("ready")
		m := decode(t, r.invoke("response", `{"do": "env"}`).body)
		if m["OWN"] != "é=1" || m["_HANDLER"] != s.handler || m["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] != "512" {
			t.Errorf("environment %v", m)
		}
		for name := range m {
			if strings.HasPrefix(name, "LAMBENT_") {
				t.Errorf("the function sees %s", name)
			}
		}
	})
}

// Every bootstrap tells when it turns to the function's code, and hangs up before
// the first event.
func TestLanguageControl(t *testing.T) {
	eachLanguage(t, func(t *testing.T, s spoken) {
		ours, theirs := pair(t, unix.SOCK_STREAM)
		r := startControlled(t, s, theirs)
		text := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(ours) // an error cuts the text, which fails
			text <- string(b)
		}()
		r.expect("ready")
		select {
		case got := <-text:
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
				t.Fatal(err)
			}
			if stamp, ok := strings.CutPrefix(got, "T"); ok && len(stamp) == 8 {
				if age := time.Duration(uint64(now.Nano()) - binary.BigEndian.Uint64([]byte(stamp))); age < 0 || age > 5*time.Second {
					t.Errorf("the time that it said was %v ago", age)
				}
			} else if stamp, ok := strings.CutPrefix(got, "W"); ok && len(stamp) == 16 {
				us, err := strconv.ParseInt(stamp, 10, 64)
				if age := time.Since(time.UnixMicro(us)); err != nil || age < 0 || age > 5*time.Second {
					t.Errorf("the time that it said was %v ago, %v", age, err)
				}
			} else if got != "L" {
				t.Errorf("said %q, want L, or T or W and the time, and the end", got)
			}
		case <-time.After(5 * time.Second):
			t.Error("the control socket is still open")
		}
		r.invoke("response", `"works"`)
	})
}

// startControlled starts a language with a control socket, and no blank.
func startControlled(t *testing.T, s spoken, theirs *os.File) *rig {
	t.Helper()
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	v := &lambent.Version{Namespace: "000000000000", Function: "fn", Number: lambent.Latest, Runtime: s.runtime, Handler: s.handler, MemoryMB: 512}
	rt, err := c.Resolve(v)
	if err != nil {
		t.Skipf("no %s here: %v", s.runtime, err)
	}
	if !rt.Control {
		t.Errorf("%s is not known to tell when it turns to the function", s.runtime)
	}
	r := &rig{t: t, log: &syncBuffer{}, events: make(chan event), said: make(chan said, 16), exited: make(chan struct{})}
	server := httptest.NewServer(r.api(0))
	dir := sources(t, s.folder)
	toHost := strings.NewReplacer(append([]string{"/var/task", dir}, mounts(rt)...)...)
	env := append(runtimes.Environment(runtimes.Env{Version: v, Region: "us-east-1", LogStream: "stream"}),
		"AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(server.URL, "http://"), "LAMBENT_CONTROL=3")
	r.process = execute(t, r.log, program{
		command: strings.Split(toHost.Replace(strings.Join(rt.Command, "\x00")), "\x00"),
		env:     strings.Split(toHost.Replace(strings.Join(env, "\x00")), "\x00"), dir: dir, control: theirs,
	})
	_ = theirs.Close() // the process has its own
	go r.wait()
	t.Cleanup(func() {
		r.process.kill()
		<-r.exited
		server.CloseClientConnections()
		server.Close()
	})
	return r
}

// matches waits until a line of the output is like the pattern.
func (r *rig) matches(pattern string) {
	r.t.Helper()
	line := regexp.MustCompile("(?m)" + pattern)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if line.MatchString(r.log.String()) {
			return
		}
	}
	r.t.Errorf("no line like %s in\n%s", pattern, r.log)
}

// A blank waits for as long as it takes, whatever PHP thinks of sockets.
func TestPHPBlankIsPatient(t *testing.T) {
	rt := resolved(t, &lambent.Version{Runtime: "php8.2", Handler: "main.handler", MemoryMB: 128})
	command := append([]string{rt.Blank.Command[0], "-d", "default_socket_timeout=1"}, rt.Blank.Command[1:]...)
	text := strings.NewReplacer(mounts(rt)...).Replace(strings.Join(command, "\x00"))
	ours, theirs := pair(t, unix.SOCK_STREAM)
	e := execute(t, io.Discard, program{
		command: strings.Split(text, "\x00"), env: append(rt.Blank.Env, "LAMBENT_CONTROL=3", "LAMBENT_BLANK=1"), dir: "/", control: theirs,
	})
	_ = theirs.Close() // the process has its own
	c := &control{f: ours}
	c.hear(t, 'B')
	poll := []unix.PollFd{{Fd: int32(ours.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 1500); n != 0 && !errors.Is(err, unix.EINTR) {
		t.Errorf("the blank ended: %d, %v", n, err)
	}
	_ = ours.Close() // the end of the driver
	if status := e.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// Gems that bundle install --deployment has put beside a function are found.
func TestRubyBundledGems(t *testing.T) {
	dir := t.TempDir()
	gems := filepath.Join(dir, "vendor/bundle/ruby/3.2.0")
	spec := "Gem::Specification.new { |s| s.name = 'greeting'; s.version = '1.0'; s.summary = s.author = 'x'; s.files = ['lib/greeting.rb'] }\n"
	for path, text := range map[string]string{
		gems + "/gems/greeting-1.0/lib/greeting.rb":   "require 'json'\nGREETING = 'from a gem'\n",
		gems + "/specifications/greeting-1.0.gemspec": spec,
		dir + "/app.rb":      "require 'greeting'\nrequire_relative 'lib/part'\ndef handler(event:, context:) = [GREETING, PART, Gem.loaded_specs.key?('greeting')]\n",
		dir + "/lib/part.rb": "PART = 1\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, function{runtime: "ruby3.2", handler: "app.handler", dir: dir})
	r.expect("ready")
	if got := r.invoke("response", `{}`); got.body != `["from a gem",1,true]` {
		t.Errorf("answer %s", got.body)
	}
}

// RubyGems are there as soon as something needs them, and not before.
func TestRubyGemsAreLate(t *testing.T) {
	for _, event := range []string{`{"do": "gem_version"}`, `{"do": "gems"}`} {
		r := start(t, function{runtime: "ruby3.2", handler: "main.handler", dir: sources(t, "ruby"), logging: lambent.Logging{}})
		r.expect("ready")
		gems := func() any { return decode(t, r.invoke("response", `{"do": "where"}`).body)["gems"] }
		if gems() != false {
			t.Error("RubyGems are loaded for nothing")
		}
		if strings.Contains(event, "gem_version") {
			r.invoke("response", event)
		} else if m := decode(t, r.invoke("error", event).body); m["errorType"] != "Function<LoadError>" {
			t.Errorf("error %v", m)
		} else {
			r.expect("exit") // no StandardError: as on AWS
			continue
		}
		if gems() != true {
			t.Error("RubyGems are not there")
		}
	}
}
