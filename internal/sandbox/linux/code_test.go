package linux

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// blankRun runs the function in a blank.
func blankRun(t *testing.T, d *Driver, spec sandbox.Spec) string {
	t.Helper()
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	r, answer := run(t, d, spec)
	if r.Origin == lambent.OriginStart {
		t.Fatalf("origin %s", r.Origin)
	}
	return answer
}

// failedRun starts an instance from the reserve and tells why it cannot be used.
func failedRun(t *testing.T, d *Driver, spec sandbox.Spec) *sandbox.Failure {
	t.Helper()
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	spec.Output = &sandboxtest.Lines{}
	i, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r, err := i.Init(t.Context())
	if err != nil || r.Failure == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	return r.Failure
}

func known(d *Driver, spec sandbox.Spec) []byte {
	return d.reserve.compiled(spec.Runtime.Blank.Key, codeKey(spec.Version))
}

const tellsItself = `
import linecache, sys
LIST = [__name__, __file__, __spec__.origin, __cached__, type(__loader__).__name__, __package__]
def handler(event, context):
    assert sys.modules["main"].handler is handler
    try:
        raise ValueError("no")
    except ValueError as error:
        code = error.__traceback__.tb_frame.f_code
    return LIST + [code.co_filename, code.co_firstlineno]
`

// TestCompiledOnce: a second start of the same code compiles nothing, and looks like
// the first.
func TestCompiledOnce(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, tellsItself, nil)
	spec.NoReserve = true
	_, own := run(t, d, spec)
	spec.NoReserve = false
	first := blankRun(t, d, spec)
	code := known(d, spec)
	if !bytes.HasPrefix(code, []byte("/var/task/main.py\x00")) {
		t.Fatalf("known is %.40q", code)
	}
	// Its file never changes; here that shows where the code comes from.
	if err := os.WriteFile(filepath.Join(spec.Code, "main.py"), []byte("def handler(event, context): return 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := blankRun(t, d, spec); again != first || first != own {
		t.Errorf("started %s, at first %s, later %s", own, first, again)
	}
	other := *spec.Version
	other.Namespace = "111111111111"
	spec.Version = &other
	if known(d, spec) != nil {
		t.Error("another tenant has it")
	}
	if got := blankRun(t, d, spec); got != "2" {
		t.Errorf("another tenant's answers %s", got)
	}
}

// TestCompiledBeforeTheFunction: nothing that a function writes is taken for its code.
func TestCompiledBeforeTheFunction(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	const source = `
import os
try:
    os.write(3, b"C\x00\x00\x00\x04evil")
except OSError:
    pass
def handler(event, context): return 1
`
	for name, files := range map[string]map[string]string{
		"file":               {"main.py": source},
		"package":            {"main.py": "", "main/__init__.py": source},
		"compiled by itself": {"main.py": source + "EVIL = '" + strings.Repeat("evil", 3) + "'\n"},
	} {
		spec := p.spec(t, "", nil)
		for path, text := range files {
			path = filepath.Join(spec.Code, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if got := blankRun(t, d, spec); got != "1" {
				t.Errorf("%s answers %s", name, got)
			}
			code := known(d, spec)
			if code == nil || len(code) > 0 && !bytes.HasPrefix(code, []byte("/var/task/main.py\x00")) {
				t.Errorf("%s is known as %.40q", name, code)
			}
		}
	}
}

// TestCompiledInDoubt: what a start has failed with is not used again.
func TestCompiledInDoubt(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, "def handler(event, context): return 1\n", nil)
	blankRun(t, d, spec)
	d.reserve.keepCode(spec.Runtime.Blank.Key, codeKey(spec.Version), []byte("/var/task/main.py\x00nothing"))
	failedRun(t, d, spec)
	if got := blankRun(t, d, spec); got != "1" {
		t.Errorf("afterwards it answers %s", got)
	}
}

// TestFailingCodeIsTraced: the trace of a module that fails begins in the module,
// whether the import system has loaded it or we have.
func TestFailingCodeIsTraced(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer d.Close()
	spec := p.spec(t, "raise ValueError('no')\n", nil)
	for range 2 {
		failure := failedRun(t, d, spec)
		if !bytes.Contains(failure.Payload, []byte(`"stackTrace": ["  File \"/var/task/main.py\", line 1, in <module>`)) {
			t.Errorf("%s", failure.Payload)
		}
	}
}

func TestCodesAreBounded(t *testing.T) {
	var c codes
	for range 2 * maxCodes / maxCode { // by starts that have come side by side
		c.keep("same", make([]byte, maxCode))
	}
	if want := maxCode + len("same"); c.size != want {
		t.Errorf("one handler counts with %d bytes, want %d", c.size, want)
	}
	c = codes{}
	c.keep("large", make([]byte, maxCode+1))
	if c.all["large"] != nil {
		t.Error("one is too large")
	}
	for i := range 2 * maxCodes / maxCode {
		c.keep(fmt.Sprint(i), make([]byte, maxCode))
		total := 0
		for key, code := range c.all {
			total += len(key) + len(code)
		}
		if total > maxCodes {
			t.Fatalf("%d bytes are kept", total)
		}
	}
}
