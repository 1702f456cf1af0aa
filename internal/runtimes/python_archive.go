package runtimes

import (
	"maps"
	"slices"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

const (
	pythonKind     = "python-"  // begins the keys of what is made for Python
	pythonBytecode = "bytecode" // the compiled modules (runtimes/python/lambent_bytecode.py)
	// pythonSmall is how much code, in bytes, is not worth the work: its handler's
	// module is compiled once anyway, by the first instance for the others.
	pythonSmall = 256 << 10
)

// pythonKey names the byte code of a version's modules, its own and those of its
// layers. Variables that the interpreter reads at its start have a say in it.
func (c *Catalog) pythonKey(v *lambent.Version, r release) (key string, ok bool) {
	size := v.Code.Unpacked
	for _, l := range v.Layers {
		size += l.Unpacked
	}
	if size < pythonSmall || v.App != nil || v.Env[execWrapper] != "" {
		return "", false
	}
	i, _, ok := pick(c.interpreters(), r)
	if !ok || i.minor < 8 {
		return "", false
	}
	parts := []string{v.Runtime, v.Namespace, string(v.Code.Digest), i.key, c.layout}
	for _, l := range v.Layers {
		parts = append(parts, string(l.Digest))
	}
	for _, name := range slices.Sorted(maps.Keys(v.Env)) {
		if strings.HasPrefix(name, "PYTHON") {
			parts = append(parts, name+"="+v.Env[name])
		}
	}
	return pythonKind + shortHash(parts...) + shortHash(append(parts, "2")...), true
}

// preparePython compiles all modules, and runs none of them.
func preparePython(rt sandbox.Runtime) []Making {
	rt.Control, rt.Blank = false, nil
	return []Making{{Runtime: rt, Env: []string{"LAMBENT_PREPARE=function"}, Files: []string{pythonBytecode}}}
}
