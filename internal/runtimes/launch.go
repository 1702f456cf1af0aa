package runtimes

import (
	"path/filepath"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Where things are in a sandbox, as on AWS.
const (
	guestRuntime  = "/var/runtime" // the bootstrap
	guestLanguage = "/var/lang"    // an interpreter that is not under the host's /usr
)

// launch says how interpreter i runs version v.
func (c *Catalog) launch(v *lambent.Version, i interpreter, r release) sandbox.Runtime {
	rt := sandbox.Runtime{
		Name:    v.Runtime,
		Version: i.version,
		Env:     []string{"AWS_EXECUTION_ENV=AWS_Lambda_" + v.Runtime},
		Mounts: []sandbox.Mount{
			{Host: filepath.Join(c.layout, string(i.family)), Guest: guestRuntime},
		},
	}
	program := i.program
	if !ownPlace(i) {
		rt.Mounts = append(rt.Mounts, sandbox.Mount{Host: i.prefix, Guest: guestLanguage})
		program = filepath.Join(guestLanguage, strings.TrimPrefix(i.program, i.prefix))
	}
	if l, ok := languages[i.family]; ok {
		rt.Mounts[0].Host = filepath.Join(c.layout, l.folder)
		l.launch(&rt, v, i, program)
	}
	switch i.family {
	case familyPython:
		// Without the site module: a third faster to start, and the host's own
		// packages stay out of sight.
		rt.Command = []string{program, "-S", guestRuntime + "/bootstrap.py"}
		if dir := c.packages(i); dir != "" {
			rt.Mounts = append(rt.Mounts, sandbox.Mount{Host: dir, Guest: guestPackages})
		}
	case familyNode:
		// import looks into these above the function's code, and not at NODE_PATH.
		above := []string{"/var/node_modules", "/node_modules"}
		for n, dir := range nodeLayers(r) {
			rt.Mounts = append(rt.Mounts, sandbox.Mount{Link: dir, Guest: above[n]})
		}
		rt.Command = append([]string{program}, nodeFlags(v.MemoryMB)...)
		rt.Command = append(rt.Command, guestRuntime+"/index.cjs")
	case familyJava:
		c.launchJava(&rt, v, i, program)
	}
	// "Modifying the runtime environment" (AWS Lambda developer guide): a wrapper
	// script starts managed runtimes and is given their command line.
	if wrapper := v.Env[execWrapper]; wrapper != "" {
		rt.Command = append([]string{wrapper}, rt.Command...)
	}
	c.control(&rt, v, i, r)
	return rt
}

// ownPlace tells whether the sandbox sees the interpreter where the host has it:
// in the distribution's /usr. What is in /usr/local needs its library path, and
// what is elsewhere is not visible at all.
func ownPlace(i interpreter) bool {
	return i.prefix == "/usr" || strings.HasPrefix(i.prefix, "/usr/lib/jvm/") ||
		i.family == familyDotnet && strings.HasPrefix(i.prefix, "/usr/") && !strings.HasPrefix(i.prefix, "/usr/local/")
}

// providedRuntime starts the program that the function or a layer brings.
func providedRuntime(name string) sandbox.Runtime {
	return sandbox.Runtime{
		Name:     name,
		Command:  []string{"/var/task/bootstrap"},
		Fallback: []string{"/opt/bootstrap"},
	}
}

// nodeLayers are where layers have packages for a release of Node.js, the first goes
// first.
func nodeLayers(r release) [2]string {
	return [2]string{"/opt/nodejs/node" + strconv.Itoa(r.major) + "/node_modules", "/opt/nodejs/node_modules"}
}

// nodeFlags bounds V8's heap by the function's memory in MB, as AWS's own
// bootstrap does, so that the collector works harder before the limit is met.
func nodeFlags(memory int) []string {
	return []string{
		"--max-old-space-size=" + strconv.Itoa(memory*9/10),
		"--max-semi-space-size=" + strconv.Itoa(max(1, memory/20)),
	}
}
