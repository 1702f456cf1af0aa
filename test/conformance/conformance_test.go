package conformance

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

const hello = `
def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "hello, world"}
`

// server serves a function at every host and path, with TLS for localhost, too.
func server(t *testing.T) (s *harness.Server, secure string) {
	t.Helper()
	s = harness.Start(t, harness.Options{Env: []string{"LAMBENT_TLS_LISTEN=127.0.0.1:0"}})
	_, chain, key := harness.Certificate(t, "localhost")
	s.Create(t, harness.Function{Name: "hello", Runtime: "python3.11", Handler: "index.handler", Zip: harness.Zip(t, map[string]string{"index.py": hello})})
	run(t, s, "domain", "add", "localhost", "--cert", chain, "--key", key)
	run(t, s, "route", "add", "/*", "hello", "--public")
	text, err := os.ReadFile(filepath.Join(s.Data, "endpoints.json"))
	if err != nil {
		t.Fatal(err)
	}
	var at struct{ TLS string }
	if err := json.Unmarshal(text, &at); err != nil {
		t.Fatal(err)
	}
	return s, at.TLS
}

func run(t *testing.T, s *harness.Server, args ...string) {
	t.Helper()
	if _, stderr, err := s.CLI("", args...); err != nil {
		t.Fatalf("lambent %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
}

// h2spec builds the tool once; its own module says which.
func h2spec(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(harness.CacheDir(), "h2spec")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/summerwind/h2spec/cmd/h2spec")
	cmd.Dir = "h2spec"
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build h2spec: %v\n%s", err, out)
	}
	return binary
}

// report is what h2spec writes, in JUnit's form.
type report struct {
	Suites []struct {
		Package string `xml:"package,attr"`
		Cases   []struct {
			Name    string  `xml:"classname,attr"`
			Failure *string `xml:"failure"`
			Error   *string `xml:"error"`
			Skipped *string `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// failing are the cases of h2spec that are known not to pass, each with its reason.
// HTTP/2 is net/http's.
var failing = map[string]string{
	"http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                          "a SETTINGS frame that names a setting twice ends the connection",
	"http2/8.1.2.2: Sends a HEADERS frame that contains the connection-specific header field":                     malformed,
	`http2/8.1.2.2: Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: malformed,
}

const malformed = "it is answered with 400, which RFC 9113, section 8.1.1, leaves to the server"

// failingPlain does not pass without TLS, where HTTP/1.1 is spoken too.
const failingPlain = "http2/3.5: Sends invalid connection preface"

// TestHTTP2 puts h2spec's cases (RFC 7540 and RFC 7541) to the gateway, over TLS and
// without.
func TestHTTP2(t *testing.T) {
	t.Parallel() // it is waiting that takes its time
	s, secure := server(t)
	tool := h2spec(t)
	for name, address := range map[string]string{"TLS": secure, "plain": s.Gateway} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			path := filepath.Join(t.TempDir(), "report.xml")
			args := []string{"--host", "localhost", "--port", u.Port(), "--timeout", "5", "--junit-report", path}
			if name == "TLS" {
				args = append(args, "--tls", "--insecure")
			}
			out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
			text, readErr := os.ReadFile(path)
			if readErr != nil {
				t.Fatalf("%v %v\n%s", err, readErr, out)
			}
			var r report
			if err := xml.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			passed, failed := 0, map[string]string{}
			for _, suite := range r.Suites {
				for _, c := range suite.Cases {
					switch {
					case c.Failure != nil:
						failed[suite.Package+": "+c.Name] = *c.Failure
					case c.Error != nil:
						failed[suite.Package+": "+c.Name] = *c.Error
					case c.Skipped == nil:
						passed++
					}
				}
			}
			t.Logf("%d cases pass, %d do not", passed, len(failed))
			if passed < 90 {
				t.Errorf("only %d cases pass:\n%s", passed, out)
			}
			known := maps.Clone(failing)
			if name == "plain" {
				known[failingPlain] = "what is no preface is read as HTTP/1.1, and answered with 400"
			}
			for _, name := range slices.Sorted(maps.Keys(failed)) {
				if known[name] == "" {
					t.Errorf("%s\n%s", name, failed[name])
				}
			}
			for name := range known {
				if failed[name] == "" {
					t.Errorf("%s passes now: take it from the list", name)
				}
			}
		})
	}
}
