package runtimes_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"lambent.dev/lambent"
)

// javaClasses compiles the shared Java function once, and skips the test where
// there is no compiler.
func javaClasses(t *testing.T) string {
	t.Helper()
	if _, err := host(); err != nil { // makes the folder that TestMain removes
		t.Fatal(err)
	}
	dir, err := compileJava()
	if err != nil {
		t.Skip(err)
	}
	return dir
}

var compileJava = sync.OnceValues(func() (string, error) {
	files, err := filepath.Glob("../../test/runtimes/functions/java/fn/*.java")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(hostDir, "classes")
	args := append([]string{"-cp", "../../runtimes/java/bootstrap.jar", "--release", "17", "-d", dir}, files...)
	out, err := exec.Command("javac", args...).CombinedOutput()
	_, _ = os.Stderr.Write(out) // a compiler that is there and fails shows why
	return dir, err
})

func javaStart(t *testing.T, handler string) *rig {
	r := start(t, function{runtime: "java17", handler: handler, dir: javaClasses(t)})
	r.expect("ready")
	return r
}

func TestJavaEcho(t *testing.T) {
	r := javaStart(t, "fn.Main")
	for _, payload := range []string{
		`{"a":[1,2.5,null,true,false,"x\ny\"\\"],"b":{"c":{}}}`, `"é世😀"`, `null`, `[]`, `17`, `9007199254740993`,
		`123456789012345678901234567890`, `-0.5`,
	} {
		if got := r.invoke("response", payload); got.body != payload {
			t.Errorf("echo of %s is %s", payload, got.body)
		}
	}
	if got := r.invoke("response", `{"do": "size", "value": "`+strings.Repeat("z", 6<<20)+`"}`); got.body != "6291456" {
		t.Errorf("size of a large event: %s", got.body)
	}
	if got := r.invoke("response", `{"do": "big", "bytes": 6291456}`); len(got.body) != 6<<20+2 {
		t.Errorf("large answer has %d bytes", len(got.body))
	}
}

func TestJavaErrors(t *testing.T) {
	r := javaStart(t, "fn.Main::handleRequest")
	got := r.invoke("error", `{"do": "error", "message": "boom é"}`)
	m := decode(t, got.body)
	if m["errorMessage"] != "boom é" || m["errorType"] != "fn.Main$Custom" {
		t.Errorf("error object %s", got.body)
	}
	trace, _ := m["stackTrace"].([]any) // nil fails below
	if len(trace) != 2 || !strings.HasPrefix(trace[1].(string), "fn.Main.handleRequest(Main.java:") {
		t.Errorf("stack trace %q", trace)
	}
	if cause, _ := m["cause"].(map[string]any); cause["errorMessage"] != "the cause" {
		t.Errorf("cause %v", cause)
	}
	if h := got.header.Get("Lambda-Runtime-Function-Error-Type"); h != "fn.Main$Custom" {
		t.Errorf("error type header %q", h)
	}
	r.logged("boom é: fn.Main$Custom\r")
	m = decode(t, r.invoke("error", `{"broken`).body)
	if m["errorType"] != "java.lang.RuntimeException" || m["errorMessage"] != "An error occurred during JSON parsing" {
		t.Errorf("broken event: %v", m)
	}
	m = decode(t, r.invoke("error", strings.Repeat("[", 100000)).body)
	if m["errorMessage"] != "An error occurred during JSON parsing" {
		t.Errorf("deep event: %v", m)
	}
	m = decode(t, r.invoke("error", `{"do": "unserialisable"}`).body)
	if m["errorMessage"] != "An error occurred during JSON serialization of response" {
		t.Errorf("unserialisable answer: %v", m)
	}
	m = decode(t, r.invoke("error", `{"do": "oom"}`).body)
	if m["errorType"] != "java.lang.OutOfMemoryError" {
		t.Errorf("out of memory: %v", m)
	}
	if s := r.expect("exit"); s.status != 1 {
		t.Errorf("exit status %d", s.status)
	}
}

func TestJavaHandlerForms(t *testing.T) {
	const order = `{"ID":"o1","count":40,"paid":true,"items":[{"name":"é","sizes":[1,2]},{"sizes":null}],` +
		`"prices":{"a":1},"when":"2026-11-22T10:00:00Z","colour":"GREEN","unknown":{"x":1}}`
	for handler, c := range map[string]struct{ event, want string }{
		"fn.Forms$Pojo": {order, `{"id":"o1","count":42,"paid":true,"items":[{"name":"é","sizes":[1,2]},` +
			`{"name":null,"sizes":null}],"prices":{"a":1.0},"when":"2026-11-22T10:00:00Z","colour":"GREEN"}`},
		"fn.Forms$Inherited": {`{"name":"n"}`, `"Item"`},
		"fn.Forms$Text":      {`"low"`, `"LOW"`},
		"fn.Forms$Streams":   {`{"any":  1}`, `{"any":  1}`},
		"fn.Forms::length":   {`[1,2,3]`, `3`},
		"fn.Forms::shout":    {`"hey"`, `"hey! fn"`},
		"fn.Forms::streams":  {`7`, `[7]`},
		"fn.Forms::fixed":    {`{"Name":"n","at":1480641523.5}`, `{"name":"n","at":1480641523500}`},
		"fn.Forms::nothing":  {`{}`, `"nothing needed"`},
	} {
		t.Run(handler, func(t *testing.T) {
			if got := javaStart(t, handler).invoke("response", c.event); got.body != c.want {
				t.Errorf("answer %s, want %s", got.body, c.want)
			}
		})
	}
}

func TestJavaInitErrors(t *testing.T) {
	for handler, want := range map[string]struct{ kind, message string }{
		"fn.Absent":                          {"java.lang.ClassNotFoundException", "Class not found: fn.Absent"},
		"fn.Forms::absent":                   {"java.lang.NoSuchMethodException", "No public method named absent with appropriate method signature found on class fn.Forms"},
		"fn.Forms$BrokenStatic::handle":      {"java.lang.ExceptionInInitializerError", "Error loading class fn.Forms$BrokenStatic: "},
		"fn.Forms$BrokenConstructor::handle": {"java.lang.IllegalStateException", "broken at start"},
		"::x":                                {"java.lang.IllegalArgumentException", "::x is not a valid handler name"},
	} {
		t.Run(handler, func(t *testing.T) {
			r := start(t, function{runtime: "java17", handler: handler, dir: javaClasses(t)})
			m := decode(t, r.expect("init").body)
			if m["errorType"] != want.kind || !strings.HasPrefix(m["errorMessage"].(string), want.message) {
				t.Errorf("init error %v, want %+v", m, want)
			}
			if s := r.expect("exit"); s.status != 1 {
				t.Errorf("exit status %d", s.status)
			}
		})
	}
}

func TestJavaContext(t *testing.T) {
	r := javaStart(t, "fn.Main")
	id := r.send(`{"do": "context"}`, map[string]string{
		"Lambda-Runtime-Client-Context":   `{"custom": {"k": "é"}, "client": {"app_title": "t"}}`,
		"Lambda-Runtime-Cognito-Identity": `{"cognitoIdentityId": "who"}`,
	})
	m := decode(t, r.expect("response").body)
	wantContext(t, m, id, 512.0)
	if custom, _ := m["custom"].(map[string]any); custom["k"] != "é" || m["title"] != "t" {
		t.Errorf("client context %v", m["custom"])
	}
	if s := r.invoke("exit", `{"do": "exit", "code": 7}`); s.status != 7 {
		t.Errorf("exit status %d", s.status)
	}
}

func TestJavaLog(t *testing.T) {
	r := javaStart(t, "fn.Main")
	r.invoke("response", `{"do": "say", "value": "é"}`)
	r.logged("error é\n")
	for _, want := range []string{"print é\n", "stderr é\n", "logger é\n", "two\rlines\n", "debug é\n"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("no line %q in\n%s", want, r.log)
		}
	}
	r = start(t, function{
		runtime: "java17", handler: "fn.Main", dir: javaClasses(t),
		logging: lambent.Logging{Format: "JSON", ApplicationLevel: "INFO"},
	})
	r.expect("ready")
	id := r.invoke("response", `{"do": "say"}`).id
	r.logged("error hello")
	want := regexp.MustCompile(`(?m)^\{"timestamp":"[-0-9T:.]+Z","level":"ERROR","message":"error hello","AWSRequestId":"` + id + `"\}$`)
	if !want.MatchString(r.log.String()) || strings.Contains(r.log.String(), "debug hello") {
		t.Errorf("log\n%s", r.log)
	}
}

// The jar in the tree is what its sources make.
func TestJavaJarIsCurrent(t *testing.T) {
	version, err := exec.Command("javac", "-version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(version), "javac 17.") {
		t.Skipf("needs javac 17, has %q", version)
	}
	built := filepath.Join(t.TempDir(), "bootstrap.jar")
	if out, err := exec.Command("../../runtimes/java/build.sh", built).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	want, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../runtimes/java/bootstrap.jar")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, have) {
		t.Error("runtimes/java/bootstrap.jar is stale: run runtimes/java/build.sh")
	}
}

// All that holds for a JVM of its own holds for one that was a blank.
func TestJavaOverBlank(t *testing.T) {
	t.Run("Echo", TestJavaEcho)
	t.Run("Errors", TestJavaErrors)
	t.Run("HandlerForms", TestJavaHandlerForms)
	t.Run("InitErrors", TestJavaInitErrors)
	t.Run("Context", TestJavaContext)
	t.Run("Log", TestJavaLog)
	t.Run("Place", TestJavaPlace)
}

// TestJavaPlace looks at what a function sees of the process that it is in.
func TestJavaPlace(t *testing.T) {
	r := start(t, function{
		runtime: "java17", handler: "fn.Place", dir: javaClasses(t),
		env: map[string]string{"TZ": "Asia/Tokyo", "MINE": "é", "LAMBENT": "stays"},
	})
	r.expect("ready")
	m := decode(t, r.invoke("response", `{}`).body)
	// Sockets are the connection to the Runtime API and one that the JDK keeps for
	// itself; the control channel is gone.
	for name, want := range map[string]any{
		"mine": "é", "child": "é", "lambent": "stays", "hidden": []any{}, "zone": "Asia/Tokyo", "exists": true,
		"here": true, "sockets": 2.0, "threads": []any{}, "hooks": []any{},
		"classpath": true,
	} {
		if got := m[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// Resources are told of the snapshot that AWS would take.
func TestJavaHooks(t *testing.T) {
	r := start(t, function{
		runtime: "java17", handler: "fn.Place", dir: javaClasses(t), snapStart: true,
	})
	r.expect("ready")
	m := decode(t, r.invoke("response", `{}`).body)
	want := []any{"before b", "before a", "after a", "after b"}
	if got := m["hooks"]; !reflect.DeepEqual(got, want) {
		t.Errorf("hooks %v, want %v", got, want)
	}
}

// A blank's warming up fails silently; while the common archive is made, it shows.
func TestJavaWarmUp(t *testing.T) {
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	rt, err := c.Resolve(&lambent.Version{Runtime: "java17", MemoryMB: 512})
	if err != nil {
		t.Skip(err)
	}
	jar := filepath.Join(rt.Mounts[0].Host, "bootstrap.jar")
	for _, program := range javas(t) {
		t.Run(program, func(t *testing.T) {
			list := filepath.Join(t.TempDir(), "list")
			cmd := exec.Command(program, "-XX:DumpLoadedClassList="+list, "-cp", jar, "lambent.runtime.Main")
			cmd.Env = []string{"LAMBENT_PREPARE=runtime", "LANG=C"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			names, err := os.ReadFile(list)
			if err != nil || !strings.Contains(string(names), "lambent/runtime/Mapper") || !strings.Contains(string(names), "java/net/Socket") {
				t.Errorf("classes were not loaded: %v\n%.300s", err, names)
			}
		})
	}
}

// javas lists the JDKs of this host.
func javas(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("/usr/lib/jvm/*/bin/java")
	if err != nil {
		t.Fatal(err)
	}
	return all
}
