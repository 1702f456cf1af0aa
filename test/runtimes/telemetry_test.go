package runtimes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
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
			t.Fatalf("no event %s: %v", kind, typesOf(all))
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
				"platform.report":      {`"billedDurationMs":`, `"maxMemoryUsedMB":`, `"memorySizeMB":`},
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

// internalExtension is a handler whose module subscribes from inside the runtime's
// process, and which answers with the types of the events that have come.
const internalExtension = `
import http.client, http.server, json, os, threading
came = []
class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        came.extend(e["type"] for e in json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args): pass
threading.Thread(target=http.server.HTTPServer(("127.0.0.1", 4243), Taker).serve_forever, daemon=True).start()
def ask(method, path, headers, body=None):
    c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    c.request(method, path, body, headers)
    r = c.getresponse()
    return r.status, r.read(), r.headers["Lambda-Extension-Identifier"]
_, _, ident = ask("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "inner"}, '{"events":["INVOKE"]}')
ident = {"Lambda-Extension-Identifier": ident}
answer = ask("PUT", "/2022-07-01/telemetry", ident, os.environ["TELEMETRY"])[:2]
def follow():
    while True: ask("GET", "/2020-01-01/extension/event/next", ident)
threading.Thread(target=follow, daemon=True).start()
def handler(event, context):
    print("at work")
    return [*map(str, answer), " ".join(came)]
`

// TestTelemetryInside has an extension in the runtime's own process, which may come from
// the reserve, subscribe; and puts it to sleep between calls.
func TestTelemetryInside(t *testing.T) {
	s := harness.Start(t, harness.Options{Env: []string{
		"LAMBENT_INSTANCES_HIBERNATE_INIT=1us", "LAMBENT_INSTANCES_HIBERNATE_AFTER=1s"}})
	s.Create(t, harness.Function{Name: "inside", Runtime: "python3.11", Handler: "f.handler", Zip: harness.Zip(t, map[string]string{"f.py": internalExtension}),
		Env: map[string]string{"TELEMETRY": strings.Replace(fmt.Sprintf(subscription, `"platform","function"`, `{"protocol":"HTTP","URI":"http://sandbox:4243"}`), `:25`, `:10000`, 1)}})
	type answer [3]string
	if got := decode[answer](t, s.Invoke(t, "inside", `{}`)); got[0] != "200" || got[1] != `b'"OK"'` || got[2] != "" {
		t.Fatalf("the first answer is %q", got)
	}
	// The batch waits for ten seconds, and goes out before the instance is frozen.
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if frozen(t, s) {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("the instance is not frozen")
		}
	}
	got := decode[answer](t, s.Invoke(t, "inside", `{}`))
	for began := time.Now(); got[2] == "" && time.Since(began) < 5*time.Second; time.Sleep(100 * time.Millisecond) { // it may be slow
		got = decode[answer](t, s.Invoke(t, "inside", `{}`))
	}
	if want := "platform.initStart platform.telemetrySubscription platform.extension platform.initRuntimeDone platform.initReport platform.start function platform.runtimeDone platform.report"; sorted(got[2]) != sorted(want) {
		t.Errorf("told %q, want %q", got[2], want)
	}
}

// sorted has the words of a text in order: a thread of the extension may be late.
func sorted(text string) string {
	words := strings.Fields(text)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// frozen tells whether an instance hibernates.
func frozen(t *testing.T, s *harness.Server) bool {
	t.Helper()
	res, err := http.Get(s.API + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return frozenMemory.Match(text)
}

var frozenMemory = regexp.MustCompile(`(?m)^lambent_frozen_memory_bytes [1-9]`)

// TestLogs has an extension subscribe by the Telemetry API's predecessor.
func TestLogs(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	s.Create(t, harness.Function{Name: "older", Runtime: "provided.al2023", Handler: "h", Zip: harness.ZipDir(t, code(t, "provided")), Layers: []string{layer},
		Env: map[string]string{"LOGS": `{"schemaVersion":"2021-03-18","types":["platform","function"],"buffering":{"timeoutMs":25},"destination":{"protocol":"HTTP","URI":"http://sandbox:4243","method":"PUT"}}`}})
	if out := s.Invoke(t, "older", `{"do":"say","value":"mine"}`); out.FunctionError != nil {
		t.Fatalf("%s", out.Payload)
	}
	all := awaitTold(t, s, "older", "platform.report")
	types := typesOf(all)
	slices.Sort(types)
	if want := "end extension function function logsSubscription report runtimeDone start"; strings.Join(types, " ") != want {
		t.Errorf("told %v, want %s", types, want)
	}
	for kind, want := range map[string]string{
		"platform.logsSubscription": `{"name":"witness","state":"Subscribed","types":["platform","function"]}`,
		"function":                  `"print \"mine\"\n"`,
	} {
		if got := recordOf(t, all, kind); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	if out := s.Invoke(t, "older", `{"do":"exit","code":1}`); out.FunctionError == nil {
		t.Fatalf("%s", out.Payload)
	}
	awaitTold(t, s, "older", "platform.fault")
}
