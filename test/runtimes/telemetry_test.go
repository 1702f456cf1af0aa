package runtimes

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/test/harness"
)

// told is an event of the Telemetry API.
type told struct {
	Time   time.Time
	Type   string
	Record json.RawMessage
}

// toldIn are the events that an extension says it was told, in a function's log.
func toldIn(t *testing.T, s *harness.Server, function string) []told {
	t.Helper()
	out, stderr, err := s.CLI("", "logs", function)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var all []told
	for line := range strings.Lines(out) {
		if _, text, ok := strings.Cut(line, "told: "); ok {
			var e told
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			all = append(all, e)
		}
	}
	return all
}

// awaitTold waits for an event of a type in the log.
func awaitTold(t *testing.T, s *harness.Server, function, kind string) []told {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		all := toldIn(t, s, function)
		if slices.ContainsFunc(all, func(e told) bool { return e.Type == kind }) {
			return all
		}
		if time.Since(began) > 10*time.Second {
			text, _, _ := s.CLI("", "logs", function)
			t.Fatalf("no event %s: %v, in the log:\n%s", kind, typesOf(all), text)
		}
	}
}

func typesOf(all []told) (types []string) {
	for _, e := range all {
		types = append(types, strings.TrimPrefix(e.Type, "platform."))
	}
	return types
}

func recordOf(t *testing.T, all []told, kind string) string {
	t.Helper()
	for _, e := range all {
		if e.Type == kind {
			return string(e.Record)
		}
	}
	t.Errorf("no event %s among %v", kind, typesOf(all))
	return ""
}

const subscription = `{"schemaVersion":"2022-12-13","types":[%s],"buffering":{"timeoutMs":25},"destination":%s}`

// TestTelemetry has an extension of a layer subscribe, beside runtimes of each kind.
func TestTelemetry(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	for name, f := range map[string]harness.Function{
		"provided": {Runtime: "provided.al2023", Handler: "h", Zip: harness.ZipDir(t, code(t, "provided"))},
		"python":   {Runtime: "python3.11", Handler: "f.handler", Zip: harness.Zip(t, map[string]string{"f.py": "def handler(event, context):\n    print('mine')\n    return event\n"})},
		"nodejs":   {Runtime: "nodejs20.x", Handler: "f.handler", Zip: harness.Zip(t, map[string]string{"f.js": "exports.handler = async (e) => { console.log('mine'); return e };"})},
	} {
		t.Run(name, func(t *testing.T) {
			f.Name, f.Layers = name, []string{layer}
			f.Env = map[string]string{"TELEMETRY": fmt.Sprintf(subscription, `"platform","function","extension"`, `{"protocol":"HTTP","URI":"http://sandbox.localdomain:4243"}`)}
			s.Create(t, f)
			out := s.Invoke(t, name, `{"do":"say","value":"mine"}`)
			if out.FunctionError != nil {
				t.Fatalf("%s", out.Payload)
			}
			all := awaitTold(t, s, name, "platform.report")
			types := typesOf(all)
			at := 0
			for _, want := range []string{"initStart", "extension", "telemetrySubscription", "initRuntimeDone", "initReport", "start", "function", "runtimeDone", "report"} {
				n := slices.Index(types, want)
				if n < 0 || n < at && want != "extension" && want != "telemetrySubscription" && want != "initRuntimeDone" {
					t.Errorf("%s is at %d in %v", want, n, types)
				}
				at = max(at, n)
			}
			for kind, want := range map[string]string{
				"platform.telemetrySubscription": `{"name":"witness","state":"Subscribed","types":["platform","function","extension"]}`,
				"platform.extension":             `{"name":"witness","state":"Ready","events":["INVOKE","SHUTDOWN"]}`,
				"platform.initRuntimeDone":       `{"initializationType":"on-demand","phase":"init","status":"success"}`,
			} {
				if got := recordOf(t, all, kind); got != want {
					t.Errorf("%s: %s, want %s", kind, got, want)
				}
			}
			for kind, members := range map[string][]string{
				"platform.initStart":   {`"initializationType":"on-demand"`, `"phase":"init"`, `"runtimeVersion":"`, `"runtimeVersionArn":"arn:`, `"functionName":"` + name + `"`},
				"platform.initReport":  {`"status":"success"`, `"metrics":{"durationMs":`},
				"platform.start":       {`"requestId":"`, `"version":"$LATEST"`, `"tracing":{"type":"X-Amzn-Trace-Id","value":"Root=`},
				"platform.runtimeDone": {`"requestId":"`, `"status":"success"`, `"durationMs":`, `"producedBytes":`},
				"platform.report":      {`"billedDurationMs":`, `"initDurationMs":`, `"maxMemoryUsedMB":`, `"memorySizeMB":`},
				"function":             {`mine`},
				"extension":            {`witness: `},
			} {
				for _, m := range members {
					if got := recordOf(t, all, kind); !strings.Contains(got, m) {
						t.Errorf("%s: %s has no %s", kind, got, m)
					}
				}
			}
		})
	}
}

// TestTelemetryDestinations: lines over TCP come, too; what was not delivered before
// the end is, then; and what cannot be subscribed to is refused while all else works.
func TestTelemetryDestinations(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	zip := harness.ZipDir(t, code(t, "provided"))
	deploy := func(name, body string) {
		s.Create(t, harness.Function{Name: name, Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer}, Env: map[string]string{"TELEMETRY": body}})
		if out := s.Invoke(t, name, `{"do":"echo","value":1}`); out.FunctionError != nil {
			t.Fatalf("%s: %s", name, out.Payload)
		}
	}
	deploy("lines", fmt.Sprintf(subscription, `"platform"`, `{"protocol":"TCP","port":4244}`))
	all := awaitTold(t, s, "lines", "platform.report")
	if types := typesOf(all); !slices.Contains(types, "runtimeDone") || slices.Contains(types, "function") {
		t.Errorf("told %v", types)
	}
	deploy("patient", strings.Replace(fmt.Sprintf(subscription, `"platform"`, `{"protocol":"HTTP","URI":"http://sandbox:4243/"}`), `:25`, `:30000`, 1))
	if all := toldIn(t, s, "patient"); len(all) > 0 {
		t.Errorf("told %v already", typesOf(all))
	}
	if _, err := s.Lambda().UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("patient"), Timeout: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	awaitTold(t, s, "patient", "platform.report")

	deploy("wrong", `{"schemaVersion":"2022-12-13","types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}`)
	text, _, err := s.CLI("", "logs", "wrong")
	if want := `witness: subscribed: {"errorMessage":"URI port is not provided; types should not be empty","errorType":"ValidationError"}`; err != nil || !strings.Contains(text, want) {
		t.Errorf("the log has no %s:\n%s", want, text)
	}
}
