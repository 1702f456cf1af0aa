package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// TestExtensionsLeaveNothing: instances with programs beside the runtime end with all
// that they had, whatever came of those.
func TestExtensionsLeaveNothing(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	d := newDriver(t, Options{DataDir: dir, NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	probe, err := os.ReadFile(filepath.Join(sandboxtest.Probe(t), "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	code := sandboxtest.Probe(t)
	start := func(id string, files map[string]string, want string) {
		t.Helper()
		spec := sandboxtest.Spec(id, code, nil)
		spec.Output, spec.Layers = &sandboxtest.Lines{}, []string{layerOf(t, files)}
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		switch r, err := i.Init(ctx); {
		case want == "" && err == nil:
			t.Errorf("%s: it is ready although nobody has registered: %+v", id, r)
		case want != "" && (err != nil || r.Failure == nil || r.Failure.Type != want):
			t.Errorf("%s: %+v, %v; want %s", id, r.Failure, err, want)
		}
		if err := i.Stop(context.Background()); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	once := func() {
		start("waits", map[string]string{"extensions/a": string(probe), "extensions/b": string(probe)}, "")
		start("broken", map[string]string{"extensions/a": string(probe), "extensions/b": "no program"}, "Extension.LaunchError")
	}
	once() // what is made once, is
	before := held(t, d, dir)
	once()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		more := map[string]int{}
		for kind, n := range held(t, d, dir) {
			if n > before[kind] && kind != "threads" { // Go makes them as it likes
				more[kind] = n - before[kind]
			}
		}
		if len(more) == 0 {
			return
		}
		if time.Since(began) > 5*time.Second {
			t.Fatalf("%v more than before: %v", more, before)
		}
	}
}

// TestAnchorIsSealed: what the first process of many sandboxes is made of cannot be
// changed, not even by root.
func TestAnchorIsSealed(t *testing.T) {
	f, err := openAnchorProgram()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		return // this kernel does not even let it be opened
	}
	defer func() { _ = again.Close() }()
	if _, err := again.WriteAt([]byte{0xcc}, 120); !errors.Is(err, os.ErrPermission) {
		t.Errorf("writing to it: %v", err)
	}
	if err := again.Truncate(0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("cutting it: %v", err)
	}
}
