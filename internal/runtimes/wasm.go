package runtimes

import "lambent.dev/lambent/internal/sandbox"

const (
	wasmName   = "wasm"
	wasmDriver = "wasm" // what the server calls the driver that runs modules
)

// wasmRuntime has no program: the driver runs the module that the function
// brings, which is the same on every processor.
func wasmRuntime(string) sandbox.Runtime {
	return sandbox.Runtime{Name: wasmName, Driver: wasmDriver}
}

var wasmBuiltIn = builtIn{
	launch:   wasmRuntime,
	note:     "The function brings a WebAssembly module (WASI preview 1).",
	install:  "the function brings its own module",
	portable: true,
}
