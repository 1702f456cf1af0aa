package wasm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// builds are the modules of testdata, built once for each run of the tests.
var builds = map[string]func() ([]byte, error){
	"resident": sync.OnceValues(func() ([]byte, error) { return build("resident", "-buildmode=c-shared") }),
	"command":  sync.OnceValues(func() ([]byte, error) { return build("command") }),
}

func build(name string, flags ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "module-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "bootstrap.wasm")
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}, flags...), ".")...)
	cmd.Dir = filepath.Join("testdata", name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	return os.ReadFile(out)
}

// shared is a data directory for most tests, so that each module is compiled once.
var shared string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = os.MkdirTemp("", "wasm-"); err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(shared) }()
		return m.Run()
	}())
}

// codeOf gives a directory with a module as bootstrap.wasm.
func codeOf(t testing.TB, name string) string {
	t.Helper()
	b, err := builds[name]()
	if err != nil {
		t.Fatal(err)
	}
	return folder(t, map[string]string{"bootstrap.wasm": string(b)})
}

func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newDriver(t testing.TB, o Options) *Driver {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = shared // drivers come one after the other
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// specOf is one for the module in code. Modules of the same content have the same
// digest in all tests, as they would for a server.
func specOf(id, code string) sandbox.Spec {
	return sandbox.Spec{
		ID: id, Region: "us-east-1", Code: code, Output: &sandboxtest.Lines{},
		Version: &lambent.Version{Namespace: "000000000000", Function: "probe", Number: lambent.Latest,
			Runtime: "wasm", Handler: "bootstrap", MemoryMB: 128, EphemeralMB: 512, Timeout: 3 * time.Second},
		Runtime: sandbox.Runtime{Name: "wasm", Driver: "wasm"},
		Env:     []string{"GREETING=hello"},
	}
}

func startOf(t testing.TB, d sandbox.Driver, spec sandbox.Spec) *sandboxtest.Live {
	t.Helper()
	spec.Output = nil
	return sandboxtest.Start(t, d, spec)
}
