// Package clients builds the runtime interface clients that lambent must run
// unmodified, each from its public registry, into directories that can be
// zipped and deployed as they are. The test beside it runs them as plain
// processes against the Runtime API; the end-to-end tests deploy the same
// directories. It owns no behaviour of the product.
package clients

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent/test/harness"
)

// Names are the clients, one folder each.
var Names = []string{"go", "rust", "nodejs", "python", "java"}

// Build makes the client ready and returns its directory, which holds an
// executable called bootstrap. What the function does is told by its event:
//
//	{"do":"echo"}             answers with the event
//	{"do":"error"}            fails with the message "boom"
//	{"do":"exit"}             ends the process with status 3
//	{"do":"sleep","ms":n}     waits, then echoes
//	{"do":"oom"}              takes memory until it is ended
//	{"do":"big","size":n}     answers with a JSON string of n bytes in all
//	{"do":"context"}          answers with requestId, functionArn, remainingMs,
//	                          traceId and clientContext
//
// INIT_FAIL=1 in the environment makes the initialisation fail. The first build
// downloads and compiles, later ones find the result in the cache; under
// go test -short it is skipped.
func Build(t testing.TB, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a client from its registry")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(harness.Root(), "test", "runtimes", "clients", name, "build.sh"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the %s client: %v\n%s", name, err, stderr.String())
	}
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		t.Fatalf("build the %s client: build.sh printed no directory\n%s", name, stderr.String())
	}
	return lines[len(lines)-1]
}
