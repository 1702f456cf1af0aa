package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// TestManagedBlanks: the runtimes that have blanks run functions from them, again
// and again.
func TestManagedBlanks(t *testing.T) {
	needRoot(t)
	c, err := runtimes.Open(t.Context(), runtimes.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	for _, f := range []struct{ runtime, file, source string }{
		{"nodejs20.x", "index.js", "exports.handler = async () => process.env.MINE"},
		{"python3.11", "index.py", "import os\ndef handler(event, context): return os.environ['MINE']"},
	} {
		t.Run(f.runtime, func(t *testing.T) {
			if _, err := c.Check(f.runtime, ""); err != nil {
				t.Skip(err)
			}
			code := t.TempDir()
			if err := os.Chmod(code, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(code, f.file), []byte(f.source), 0o644); err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				spec := sandboxtest.Spec(fmt.Sprintf("managed-%d", n), code, nil)
				v := spec.Version
				v.Runtime, v.Handler, v.Env = f.runtime, "index.handler", map[string]string{"MINE": fmt.Sprint("value ", n)}
				if spec.Runtime, err = c.Resolve(v); err != nil {
					t.Fatal(err)
				}
				if spec.Runtime.Blank == nil {
					t.Skip("it has no blanks")
				}
				spec.Env = runtimes.Environment(runtimes.Env{Version: v, Region: "us-east-1"})
				sandboxtest.AwaitReserve(t, d, spec.Runtime)
				r, got := run(t, d, spec)
				if r.Origin != lambent.OriginBlank || got != fmt.Sprintf("%q", v.Env["MINE"]) {
					t.Errorf("start %d: origin %s, answer %s", n, r.Origin, got)
				}
			}
		})
	}
}
