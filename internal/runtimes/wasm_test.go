package runtimes_test

import (
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
)

// A module needs nothing of the host, whatever architecture the function names.
func TestWasmIsAlwaysThere(t *testing.T) {
	c := open(t, runtimes.Options{Search: []string{}})
	for _, arch := range []string{"", "x86_64", "arm64"} {
		if warning, err := c.Check("wasm", arch); warning != "" || err != nil {
			t.Errorf("check for %q: %q, %v", arch, warning, err)
		}
	}
	rt, err := c.Resolve(&lambent.Version{Runtime: "wasm"})
	if err != nil || rt.Name != "wasm" || rt.Driver != "wasm" || len(rt.Command) > 0 {
		t.Errorf("resolved to %+v, %v", rt, err)
	}
	if err := c.Install(t.Context(), "wasm", nil); err != nil {
		t.Errorf("install: %v", err)
	}
	for _, i := range c.List() {
		if i.Name == "wasm" && i.State == runtimes.StateReady && i.Note != "" {
			return
		}
	}
	t.Error("wasm is not in the list")
}
