package wasm

import (
	"context"
	"testing"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// onModules gives the suite's probe as a module.
type onModules struct {
	sandbox.Driver
	code string
}

func (d onModules) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	if spec.Version != nil {
		v := *spec.Version
		v.Runtime, v.Handler = "wasm", "bootstrap"
		spec.Version = &v
	}
	spec.Code, spec.Runtime = d.code, sandbox.Runtime{Name: "wasm", Driver: "wasm"}
	return d.Driver.Start(ctx, spec)
}

func TestConformance(t *testing.T) {
	code := codeOf(t, "resident")
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(t *testing.T, dir string) sandbox.Driver {
			d, err := New(Options{DataDir: shared}) // compiled once
			if err != nil {
				t.Fatal(err)
			}
			return onModules{sandbox.Guard(d), code}
		},
		Writes: true,
	})
}
