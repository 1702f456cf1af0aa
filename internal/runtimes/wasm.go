package runtimes

import "lambent.dev/lambent/internal/sandbox"

// Wasm is the name of the runtime that runs WebAssembly modules, a name of our
// own.
const Wasm = "wasm"

// wasmDriver is what the server calls the driver that runs modules.
const wasmDriver = "wasm"

// wasmRuntime has no program: the driver runs the module that the function
// brings, which is the same on every processor.
func wasmRuntime(string) sandbox.Runtime {
	return sandbox.Runtime{Name: Wasm, Driver: wasmDriver}
}

var wasmBuiltIn = builtIn{
	launch:   wasmRuntime,
	note:     "The function brings a WebAssembly module (WASI preview 1).",
	install:  "the function brings its own module",
	portable: true,
}
