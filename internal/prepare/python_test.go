package prepare_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// The modules of a Python function are compiled once for all of its starts, those
// that a start makes of a blank as well as the others, and a damaged file costs
// nothing but time.
func TestPythonBytecode(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	var large strings.Builder // enough to be worth it
	for n := range 12_000 {
		fmt.Fprintf(&large, "def f%d(x): return x + %d\n", n, n)
	}
	for name, text := range map[string]string{
		"large.py": large.String(),
		"says.py":  "x = 1 is 1\n", // a warning that whoever imports it shall see
		"wrong.py": "def\n",
		"main.py": `import sys
compiled = []
sys.addaudithook(lambda event, args: event == "compile" and str(args[1]).startswith("/var/task") and compiled.append(args[1]))
import large, says
try:
    import wrong
except SyntaxError:
    pass
def handler(event, context):
    return [large.f7(event), compiled, large.f7.__code__.co_filename, large.__file__]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := b.put(dir, "main.handler")
	v.Runtime = "python3.11"
	if _, err := b.runtimes.Resolve(v); err != nil {
		t.Skip(err)
	}
	answer := func(compiled string) string {
		return `[8, [` + compiled + `"/var/task/says.py", "/var/task/wrong.py"], "/var/task/large.py", "/var/task/large.py"]`
	}
	bare, prepared := answer(`"/var/task/large.py", `), answer("")
	if got := b.start(nil, v, "1"); got.answer != bare {
		t.Errorf("before: %s", got.answer)
	}
	r := b.room()
	b.wait(r, v)
	alone := *v
	alone.Env = map[string]string{"LC_TIME": "C"} // no blank
	for name, v := range map[string]*lambent.Version{"blank": v, "process of its own": &alone} {
		if got := b.start(r, v, "1"); got.answer != prepared {
			t.Errorf("%s: %s", name, got.answer)
		}
	}
	found, err := filepath.Glob(filepath.Join(b.dir, "prepared", "python-*", "bytecode"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.Truncate(found[0], 10_000); err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := r.Use(v, sandbox.Runtime{}); ok {
		t.Error("a truncated file is used")
	}
	small := *v
	small.Code.Unpacked = 1000
	if _, ok := b.runtimes.PrepareKey(&small); ok {
		t.Error("a small function is compiled ahead")
	}
}
