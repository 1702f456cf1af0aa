package runtimes

import (
	"strings"
	"testing"

	"lambent.dev/lambent/test/harness"
	"lambent.dev/lambent/test/runtimes/clients"
)

// TestLog4j has AWS's appender log with the pattern of its documentation, which asks
// for the id of the request.
func TestLog4j(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, runtime := range some(ready(t, s, "java")) {
		name := "log4j-" + strings.ReplaceAll(runtime, ".", "-")
		s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: "Handler", Memory: 512, Timeout: 30,
			Zip: harness.ZipDir(t, clients.Build(t, "log4j"))})
		for range 2 { // the instance remembers the first one's id
			out := s.Invoke(t, name, `"hello"`)
			id := decode[string](t, out)
			if want := "\n" + id + " WARN  Handler - said hello\n"; !strings.Contains(logOf(out), want) {
				t.Errorf("%s: no line %q in\n%s", runtime, want, logOf(out))
			}
		}
	}
}
