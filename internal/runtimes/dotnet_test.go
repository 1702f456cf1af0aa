package runtimes_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"lambent.dev/lambent"
)

// dotnetSpoken is C#.
var dotnetSpoken = spoken{
	runtime: "dotnetcore3.1", folder: "dotnet", handler: "fn::Fn.Main::Handle", thrown: "Custom", trace: stackTrace,
	traceHas: "at Fn.Main.Handle(JsonElement e, ILambdaContext context)",
	raised:   `^` + clock + `Z\t[0-9a-f-]{36}\tfail\tFn.Custom: boom é\r? ---> System.InvalidOperationException: the cause\r`,
	exit:     exitsWith(`{"do": "exit", "code": 7}`, 7), memory: 512.0,
	inits: map[string]initFault{
		"fn::Fn.Main":                      {"LambdaValidationException", "Invalid lambda function handler: 'fn::Fn.Main'. The valid format is 'ASSEMBLY::TYPE::METHOD'.", 1},
		"fn::Fn.Main::":                    {"LambdaValidationException", "Invalid lambda function handler: 'fn::Fn.Main::', the method is missing. ", 1},
		"::Fn.Main::Handle":                {"LambdaValidationException", "Invalid lambda function handler: '::Fn.Main::Handle', the assembly is missing. ", 1},
		"absent::Fn.Main::Handle":          {"LambdaValidationException", "Could not find the specified handler assembly with the file name 'absent, Culture=neutral, PublicKeyToken=null'.", 1},
		"../dotnet/fn::Fn.Main::Handle":    {"LambdaValidationException", "Could not find the specified handler assembly", 1},
		"fn::Fn.Absent::Handle":            {"LambdaValidationException", "Unable to load type 'Fn.Absent' from assembly 'fn'.", 1},
		"fn::Fn.Main::Absent":              {"LambdaValidationException", "Unable to find method 'Absent' in type 'Fn.Main' from assembly 'fn': Found no methods", 1},
		"fn::Fn.Forms::Overloaded":         {"LambdaValidationException", "The method 'Overloaded' in type 'Fn.Forms' appears to have a number of overloads.", 1},
		"fn::Fn.Forms::AsyncVoid":          {"LambdaValidationException", "The method 'AsyncVoid' cannot be used as a Lambda Handler because it is an 'async void' method.", 1},
		"fn::Fn.Forms::Three":              {"LambdaValidationException", "Method 'Three' of type 'Fn.Forms' is not supported: the method has more than 2 parameters.", 1},
		"fn::Fn.Forms::Two":                {"LambdaValidationException", "Method 'Two' of type 'Fn.Forms' is not supported: the method has 2 parameters, but", 1},
		"fn::Fn.Forms::Generic":            {"LambdaValidationException", "The method 'Generic' cannot be used as a Lambda Handler because it is a generic method.", 1},
		"fn::Fn.Abstract::Handle":          {"LambdaValidationException", "The instance method 'Handle' cannot be used as a Lambda Handler because its type", 1},
		"fn::Fn.BrokenConstructor::Handle": {"TargetInvocationException", "Exception has been thrown by the target of an invocation.", 1},
		"fn::Fn.BrokenType::Handle":        {"TypeInitializationException", "The type initializer for 'Fn.BrokenType' threw an exception.", 1},
		"broken::Fn.Main::Handle":          {"LambdaValidationException", "Unable to load assembly 'broken'.", 1},
		"fn::Fn.Exits::Handle":             {"", "", 3},
		"fn::Fn.Forms::Hidden":             {},
		"fn::Fn.Derived::Nothing":          {},
	},
	say: []string{stampOf("info") + "print hello$", stampOf("fail") + "stderr hello$", stampOf("info") + "in parts hello$", stampOf("info") + "two\rlines$",
		stampOf("info") + "log hello$", stampOf("dbug") + "debug hello$", stampOf("crit") + "critical hello$",
		stampOf("warn") + "warning hello of 007$", stampOf("fail") + "error hello\rFn.Custom: odd"},
}

func stampOf(level string) string { return webStamp + level + "\t" }

// dotnetFunctions is the folder of the compiled functions; without a .NET Core 3.1 and
// a compiler for it the test is skipped.
func dotnetFunctions(t *testing.T) string {
	t.Helper()
	if _, err := host(); err != nil { // makes the folder that TestMain removes
		t.Fatal(err)
	}
	for _, program := range []string{"dotnet", "mcs"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir, err := compileDotnet()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var compileDotnet = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(hostDir, "dotnet")
	out, err := exec.Command("../../test/runtimes/functions/dotnet/build.sh", dir).CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return dir, os.WriteFile(filepath.Join(dir, "broken.dll"), []byte("no assembly"), 0o644)
})

func dotnetStart(t *testing.T, handler string) *rig {
	t.Helper()
	r := start(t, function{runtime: "dotnetcore3.1", handler: handler, dir: dotnetFunctions(t)})
	r.expect("ready")
	return r
}

func TestDotnetHandlerForms(t *testing.T) {
	const order = `{"name":"é","COUNT":1,"prices":[1.5],"other":0}`
	for handler, want := range map[string][2]string{
		"fn::Fn.Forms::Static":                  {`"low"`, `"LOW"`},
		"fn::Fn.Forms::Nothing":                 {`{"any":1}`, `1`},
		"fn::Fn.Derived::Nothing":               {`{"any":1}`, `1`},
		"fn::Fn.Forms::OnlyContext":             {`{}`, `"context"`},
		"fn::Fn.Forms::Poco":                    {order, `{"Name":"é","Count":2,"Prices":[1.5]}`},
		"fn::Fn.Forms::Void":                    {order, ``},
		"fn::Fn.Forms::Task":                    {order, ``},
		"fn::Fn.Forms::TaskOf":                  {order, `{"Name":"é","Count":1,"Prices":[1.5]}`},
		"fn::Fn.Forms::Streams":                 {`{"any":  1}`, `"11"`},
		"fn::Fn.Forms::Serialized":              {`raw`, `"<RAW>!"`},
		"fn::Fn.Forms::ByName":                  {`{}`, `true`},
		"fn::Fn.Forms::Hidden":                  {`{}`, `"hidden"`},
		"fn::Fn.Forms::Int32 Overloaded(Int32)": {`7`, `7`},
	} {
		t.Run(handler, func(t *testing.T) {
			t.Parallel()
			if got := dotnetStart(t, handler).invoke("response", want[0]); got.body != want[1] {
				t.Errorf("answer %s, want %s", got.body, want[1])
			}
		})
	}
}

// What goes wrong within a task or a serializer is the function's own exception.
func TestDotnetErrors(t *testing.T) {
	m := decode(t, dotnetStart(t, "fn::Fn.Forms::TaskFails").invoke("error", `{}`).body)
	if m["errorType"] != "Custom" || m["errorMessage"] != "late" || !strings.HasPrefix(stackTrace(m), "at Fn.Forms") {
		t.Errorf("error object %v", m)
	}
	m = decode(t, dotnetStart(t, "fn::Fn.Forms::Serialized").invoke("error", `{}`).body)
	if m["errorType"] != "FormatException" || m["errorMessage"] != "not for me" {
		t.Errorf("error object %v", m)
	}
	r := dotnetStart(t, "fn::Fn.Main::Handle")
	m = decode(t, r.invoke("error", `{"do": "error"}`).body)
	cause, _ := m["cause"].(map[string]any) // nil fails below
	if cause["errorType"] != "InvalidOperationException" || cause["errorMessage"] != "the cause" || strings.Contains(stackTrace(m), "Lambent") {
		t.Errorf("error object %v", m)
	}
	if m := decode(t, r.invoke("error", `{"do": "oom"}`).body); m["errorType"] != "OutOfMemoryException" {
		t.Errorf("error object %v", m)
	}
	r.expect("exit")
}

// A handler that names only an assembly is a program that speaks the Runtime API.
func TestDotnetProgram(t *testing.T) {
	r := start(t, function{runtime: "dotnetcore3.1", handler: "program", dir: dotnetFunctions(t)})
	r.expect("ready")
	id := r.send(`{"a":1}`, nil)
	if got := r.expect("response"); got.id != id || got.body != `{"program":{"a":1}}` {
		t.Errorf("answer %s to %s", got.body, got.id)
	}
}

func TestDotnetLogAsJSON(t *testing.T) {
	r := start(t, function{runtime: "dotnetcore3.1", handler: "fn::Fn.Main::Handle", dir: dotnetFunctions(t),
		logging: lambent.Logging{Format: "JSON", ApplicationLevel: "INFO"}})
	r.expect("ready")
	id := r.invoke("response", `{"do": "say"}`).id
	r.matches(`^\{"timestamp":"[-0-9T:.]+Z","level":"Information","requestId":"` + id + `","message":"print hello"\}$`)
	r.matches(`^\{"timestamp":"[-0-9T:.]+Z","level":"Error","requestId":"` + id + `","message":"error hello","errorType":"Custom","errorMessage":"odd",`)
	if strings.Contains(r.log.String(), "debug hello") {
		t.Errorf("log\n%s", r.log)
	}
}

// A runtimeconfig.json that makes a difference is used, and one that makes none leaves
// the function its blank.
func TestDotnetRuntimeConfig(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(dotnetFunctions(t))); err != nil {
		t.Fatal(err)
	}
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	v := &lambent.Version{
		Namespace: "000000000000", Function: "fn", Number: lambent.Latest, Runtime: "dotnetcore3.1", Handler: "fn::Fn.Forms::Setting", MemoryMB: 512,
	}
	const framework = `{"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"}`
	for config, plain := range map[string]bool{
		"":               true,
		`{"runtimeOpt`:   true,
		framework + "}}": true,
		framework + `, "configProperties": {"System.GC.Server": false}}}`:                                true,
		`{"runtimeOptions": {"frameworks": [{"name": "Microsoft.AspNetCore.App", "version": "8.0.0"}]}}`: false,
		framework + `, "configProperties": {"System.GC.Server": true}}}`:                                 false,
		framework + `, "configProperties": {"Own.Setting": ["on"]}}}`:                                    false,
	} {
		write(t, dir, "fn.runtimeconfig.json", config)
		rt := resolved(t, v)
		if rt.Blank == nil {
			t.Fatal("there is no blank at first")
		}
		if c.Fit(&rt, v, dir, nil); (rt.Blank != nil) != plain || slices.Contains(rt.Command, "--runtimeconfig") == plain {
			t.Errorf("%s: %q, %v", config, rt.Command, rt.Blank)
		}
	}
	write(t, dir, "fn.runtimeconfig.json", framework+`, "configProperties": {"Own.Setting": "on"}}}`)
	rt := resolved(t, v)
	c.Fit(&rt, v, dir, nil)
	r := startWith(t, rt, v, dir, 0)
	r.expect("ready")
	if got := r.invoke("response", `{}`); got.body != `"on"` {
		t.Errorf("the setting is %s", got.body)
	}
}

// What the runtime reads first makes a function start from nothing.
func TestDotnetVariables(t *testing.T) {
	for name, blank := range map[string]bool{"OWN": true, "ASPNETCORE_ENVIRONMENT": true, "DOTNET_gcServer": false, "COMPlus_GCgen0size": false, "LANG": false} {
		rt := resolved(t, &lambent.Version{Runtime: "dotnetcore3.1", Handler: "a::b::c", MemoryMB: 512, Env: map[string]string{name: "1"}})
		if (rt.Blank != nil) != blank {
			t.Errorf("%s: blank %v", name, rt.Blank)
		}
	}
}

// The assembly in the tree is what its sources make.
func TestDotnetBootstrapIsCurrent(t *testing.T) {
	dotnetFunctions(t) // or skip
	version, err := exec.Command("mcs", "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), " 6.8.") {
		t.Skipf("needs mcs 6.8, has %q", version)
	}
	built := filepath.Join(t.TempDir(), "bootstrap.dll")
	if out, err := exec.Command("../../runtimes/dotnet/build.sh", built).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	want, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../runtimes/dotnet/bootstrap.dll")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, have) {
		t.Error("runtimes/dotnet/bootstrap.dll is stale: run runtimes/dotnet/build.sh")
	}
}

// What a blank has gone over before it has a function is not to be seen later.
func TestDotnetOverBlanks(t *testing.T) {
	t.Run("forms", TestDotnetHandlerForms)
	t.Run("errors", TestDotnetErrors)
	t.Run("log", TestDotnetLogAsJSON)
	t.Run("surroundings", dotnetSurroundings)
}

func TestDotnetSurroundings(t *testing.T) { dotnetSurroundings(t) }

func dotnetSurroundings(t *testing.T) {
	t.Helper()
	dir := dotnetFunctions(t)
	r := start(t, function{runtime: "dotnetcore3.1", handler: "fn::Fn.Main::Handle", dir: dir, env: map[string]string{"TZ": "Asia/Tokyo", "OWN": "é"}})
	r.expect("ready")
	if m := decode(t, r.invoke("response", `{"do": "where"}`).body); m["zone"] != "Asia/Tokyo" || m["cwd"] != dir {
		t.Errorf("surroundings %v", m)
	}
	m := decode(t, r.invoke("response", `{"do": "env"}`).body)
	for _, name := range []string{"REHEARSAL", "LAMBENT_BLANK", "LAMBENT_CONTROL"} {
		if _, ok := m[name]; ok {
			t.Errorf("the function sees %s", name)
		}
	}
	if m["OWN"] != "é" || m["TZ"] != "Asia/Tokyo" {
		t.Errorf("environment %v", m)
	}
	// Native code, and what a function starts, have the same.
	if got := decode(t, `{"out":`+r.invoke("response", `{"do": "run", "command": ["/usr/bin/env"]}`).body+`}`)["out"].(string); !strings.Contains(got, "OWN=é\n") ||
		strings.Contains(got, "REHEARSAL") {
		t.Errorf("a child's environment\n%s", got)
	}
	if strings.Contains(r.log.String(), "\tinfo\t") {
		t.Errorf("the rehearsal is in the log:\n%s", r.log)
	}
}
