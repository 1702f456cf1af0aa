package runtimes

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/test/harness"
)

// TestRuntimeNames creates a function with every name that the server lists, and
// with some that it does not.
func TestRuntimeNames(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	out, errs, err := s.CLI("", "runtime", "list", "--json")
	if err != nil {
		t.Fatalf("list runtimes: %v %s", err, errs)
	}
	var list []struct{ Name, State, Version, Note string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		t.Run(r.Name, func(t *testing.T) {
			switch {
			case r.State == "installable" && r.Name == "dotnetcore3.1": // AWS has retired it
				wantRefused(t, s, harness.Function{Name: "absent", Runtime: r.Name}, "InvalidParameterValueException", "is no longer supported")
			case r.State == "installable":
				wantRefused(t, s, harness.Function{Name: "absent", Runtime: r.Name}, "InvalidParameterValueException",
					"The runtime "+r.Name+" is not installed on this host.", "lambent runtime install "+r.Name)
			case r.State != "ready":
				wantRefused(t, s, harness.Function{Name: "absent", Runtime: r.Name}, "InvalidParameterValueException",
					"The runtime "+r.Name+" is not installed on this host.", r.Note)
				if r.Note == "" {
					t.Error("no word on what to do")
				}
			case strings.HasPrefix(r.Name, "provided"), r.Name == "wasm":
				wantReason(t, s, r.Name, "")
			case r.Note != "":
				wantReason(t, s, r.Name, "The runtime "+r.Name+" is served by ", r.Version, "the nearest version on this host.")
			default:
				wantReason(t, s, r.Name, "")
			}
		})
	}
	for _, name := range []string{"python2.7", "nodejs14.x", "java8", "go1.x", "provided", "ruby2.7"} {
		wantRefused(t, s, harness.Function{Name: "retired", Runtime: name}, "InvalidParameterValueException",
			"The runtime parameter of "+name+" is no longer supported for creating or updating AWS Lambda functions. "+
				"We recommend you use a supported runtime while creating or updating functions.")
	}
	for _, name := range []string{"python9.9", "cobol", "Python3.12"} {
		wantRefused(t, s, harness.Function{Name: "unknown", Runtime: name}, "InvalidParameterValueException",
			"Value "+name+" at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [", "] or be a valid ARN")
	}
}

// wantReason makes a function and looks at what its state says.
func wantReason(t *testing.T, s *harness.Server, runtime string, words ...string) {
	t.Helper()
	name := "named-" + strings.ReplaceAll(runtime, ".", "-")
	s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: "f.handler", Zip: harness.Zip(t, map[string]string{
		"f.py": "def handler(event, context):\n    return 'runs'\n", "f.js": "exports.handler = async () => 'runs';\n",
		"bootstrap!": "#!/bin/sh\nexit 1\n"})})
	c, err := s.Lambda().GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil {
		t.Fatal(err)
	}
	reason := ""
	if c.StateReason != nil {
		reason = *c.StateReason
	}
	for _, w := range words {
		if !strings.Contains(reason, w) || w == "" && reason != "" {
			t.Errorf("%s: state reason %q lacks %q", runtime, reason, w)
		}
	}
	if strings.HasPrefix(runtime, "python") || strings.HasPrefix(runtime, "nodejs") {
		wantPayload(t, s.Invoke(t, name, `{}`), `"runs"`)
	}
}
