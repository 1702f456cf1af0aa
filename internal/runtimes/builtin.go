package runtimes

import "lambent.dev/lambent/internal/sandbox"

// builtIn is a family that needs nothing of the host.
type builtIn struct {
	launch   func(name string) sandbox.Runtime
	note     string // for the list
	install  string // why there is nothing to install
	portable bool   // its code runs whatever the processor is
}

var builtIns = map[family]builtIn{
	familyProvided: {
		launch:  providedRuntime,
		note:    "The function brings its own program, named bootstrap.",
		install: "the function brings its own program",
	},
	familyWasm: wasmBuiltIn,
}

// warning is that of [Catalog.Check].
func (b builtIn) warning(arch string) string {
	if b.portable {
		return ""
	}
	return foreign("code", arch)
}
