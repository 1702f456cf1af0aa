package runtimes

import (
	"strings"
	"testing"
)

// What the languages beyond the first four say in their own way.

const instant = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+`

var rubyLanguage = language{
	name: "ruby", thrown: "Function<Custom>", outOfMemory: killed, w3c: true,
	// On AWS an exit is an error like any other, and then the process ends.
	exit: failure{"Function<SystemExit>", "exit"},
	object: func(t *testing.T, _ string, m map[string]any) {
		trace := strings.Join(texts(m["stackTrace"]), "\n")
		if !strings.HasPrefix(trace, "/var/task/main.rb:14:in ") || strings.Contains(trace, "/var/runtime") || len(m) != 3 {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"nested/deep/mod.handler":      {`{}`, `"nested"`},
		"main.Nested::Handler.process": {`{}`, `"class method"`},
	},
	broken: map[string]failure{
		"init_error.handler":     {"Init<RuntimeError>", "broken at start"},
		"missing_import.handler": {"Init<LoadError>", "cannot load such file -- no_such_library"},
		"init_exit.handler":      {"Init<SystemExit>", "exit"},
	},
	text: []string{`print hello`, `stderr hello`, `E, \[` + instant + ` #\d+\] ERROR ID -- named: error hello`},
	json: []string{`\{"timestamp":"` + instant + `Z","level":"ERROR","message":"error hello","requestId":"ID","logger":"named"\}`,
		`\{.*"level":"WARN","message":"odd","requestId":"ID","logger":"named","errorType":"Custom","errorMessage":"odd","stackTrace":\["/var/task/main.rb:\d+:in .*\],"location":"/var/task/main.rb:.*:\d+"\}`},
}

var phpLanguage = language{
	name: "php", thrown: "Custom", outOfMemory: failure{"FatalError", "Allowed memory size of 456130560 bytes exhausted (tried to allocate 8392704 bytes)"},
	object: func(t *testing.T, _ string, m map[string]any) {
		cause, _ := m["cause"].(map[string]any) // nil fails below
		if strings.Join(texts(m["stackTrace"]), "\n") != "/var/task/main.php:25" || cause["errorMessage"] != "the cause" || len(m) != 4 {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"nested/deep/mod.handler": {`{}`, `"nested"`},
		"closure.php":             {`{"a":1}`, `{"closure":{"a":1}}`},
		"main.Handlers::shared":   {`{}`, `"static"`},
		"main.Handlers::own":      {`{ "raw":1}`, `["{ \"raw\":1}",1]`},
	},
	broken: map[string]failure{
		"init_error.handler":   {"LogicException", "broken at start"},
		"syntax_error.handler": {"ParseError", "syntax error"},
		"main.absent":          {"Runtime.HandlerNotFound", "Handler 'main.absent' is not something to call"},
		"init_exit.handler":    exited,
	},
	text: []string{`print hello`, `stderr hello`, `error hello`, `Warning: Undefined variable \$undefined in .*`},
}

func webLanguage(name string) language {
	return language{
		name: name, folder: "web", thrown: "Custom", outOfMemory: killed,
		crash: name == "deno", // Bun ends by an illegal instruction
		object: func(t *testing.T, _ string, m map[string]any) {
			trace := strings.Join(texts(m["trace"]), "\n")
			if !strings.HasPrefix(trace, "Custom: boom é\n") || !strings.Contains(trace, "/var/task/main.ts:21:") || len(m) != 3 {
				t.Errorf("error object %v", m)
			}
		},
		forms: map[string]form{
			"main.nested.deep.handler": {`{}`, `"nested export"`},
			"nested/deep/mod.handler":  {`{}`, `"nested"`},
		},
		broken: map[string]failure{
			"init_error.handler":     {"TypeError", "broken at start"},
			"init_reject.handler":    {"Runtime.UnhandledPromiseRejection", "Error: rejected at start"},
			"missing_import.handler": {"Runtime.ImportModuleError", ""},
			"main.absent":            {"Runtime.HandlerNotFound", "main.absent is undefined or not exported"},
			"init_exit.handler":      exited,
		},
		text: []string{`print hello`, `stderr hello`, instant + `Z\tID\tINFO\tlog hello`, instant + `Z\tID\tERROR\terror hello`},
		json: []string{`\{.*"level":"ERROR".*"message":"error hello".*\}`},
	}
}

var dotnetLanguage = language{
	name: "dotnet", thrown: "Custom", crash: true,
	outOfMemory: failure{"OutOfMemoryException", "Exception of type 'System.OutOfMemoryException' was thrown."},
	object: func(t *testing.T, _ string, m map[string]any) {
		trace := strings.Join(texts(m["stackTrace"]), "\n")
		cause, _ := m["cause"].(map[string]any) // nil fails below
		if trace != "at Fn.Main.Handle(JsonElement e, ILambdaContext context)" || cause["errorMessage"] != "the cause" || len(m) != 4 {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"fn::Fn.Forms::Static":     {`"low"`, `"LOW"`},
		"fn::Fn.Forms::TaskOf":     {`{"name":"é"}`, `{"Name":"é","Count":0}`},
		"fn::Fn.Forms::Streams":    {`{"any":  1}`, `"11"`},
		"fn::Fn.Forms::Serialized": {`"raw"`, `"<"RAW">!"`},
		"program":                  {`{"a":1}`, `{"program":{"a":1}}`},
	},
	broken: map[string]failure{
		"fn::Fn.BrokenConstructor::Handle": {"TargetInvocationException", "Exception has been thrown by the target of an invocation."},
		"fn::Fn.Absent::Handle":            {"LambdaValidationException", "Unable to load type 'Fn.Absent' from assembly 'fn'."},
		"absent::Fn.Main::Handle":          {"LambdaValidationException", "Could not find the specified handler assembly with the file name 'absent, "},
		"fn::Fn.Exits::Handle":             exited,
	},
	text: []string{instant + `Z\tID\tinfo\tprint hello`, instant + `Z\tID\tfail\tstderr hello`, instant + `Z\tID\tcrit\tcritical hello`},
	json: []string{`\{.*"level":"Information","requestId":"ID","message":"print hello"\}`},
}

var bashLanguage = language{
	name: "bash", thrown: "ExitStatus3", outOfMemory: killed,
	object: func(t *testing.T, _ string, m map[string]any) {
		if len(texts(m["stackTrace"])) > 0 || len(m) != 3 {
			t.Errorf("error object %v", m)
		}
	},
	forms: map[string]form{
		"nested/deep/mod.handler": {`{}`, `"nested"`},
		"main.argument":           {`{"a":1}`, `{"a":1}`},
	},
	broken: map[string]failure{
		"init_error.handler":   {"Runtime.InitError", "init_error.handler: the file ended with status 1"},
		"syntax_error.handler": {"Runtime.UserCodeSyntaxError", "syntax_error.sh: line 3: "},
		"main.absent":          {"Runtime.HandlerNotFound", "There is no function absent in main.sh"},
		"init_exit.handler":    exited,
	},
	text: []string{`stderr hello`},
}
