package runtimes

import (
	"regexp"
	goruntime "runtime"
	"strconv"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// The JavaScript engines other than Node share a bootstrap.

var denoLanguage = language{
	title:   "Deno",
	program: regexp.MustCompile(`^deno$`),
	probe:   []string{"--version"},
	folder:  "web",
	launch:  launchDeno,
	env:     denoEnv,
	npm:     denoPackage,
	put:     "the program deno into the folder runtimes/deno2/bin of the data directory",
}

// launchDeno lets a function do all that its sandbox lets it. Packages come with
// the function: nothing is fetched at its start, but for what it imports by URL.
func launchDeno(rt *sandbox.Runtime, v *lambent.Version, _ interpreter, program string) {
	rt.Command = []string{"/bin/sh", guestRuntime + "/deno.sh", program, "run", "--allow-all", "--no-prompt", "--no-lock",
		"--node-modules-dir=manual", "--v8-flags=--max-old-space-size=" + strconv.Itoa(v.MemoryMB*9/10)}
}

// denoEnv keeps what Deno compiles where it can write.
func denoEnv(*lambent.Version, release) map[string]string {
	return map[string]string{"DENO_DIR": "/tmp/.deno", "DENO_NO_UPDATE_CHECK": "1"}
}

// denoPackage and bunPackage are published by the projects themselves: "deno" and
// "bun" on npm depend on them.
func denoPackage() npmPackage {
	name := map[string]string{"amd64": "@deno/linux-x64-glibc", "arm64": "@deno/linux-arm64-glibc"}[goruntime.GOARCH]
	return npmPackage{title: "Deno", name: name, program: "deno", at: "bin/deno"}
}

var bunLanguage = language{
	title:   "Bun",
	program: regexp.MustCompile(`^bun$`),
	probe:   []string{"--version"},
	folder:  "web",
	launch:  launchBun,
	npm:     bunPackage,
	put:     "the program bun into the folder runtimes/bun1/bin of the data directory",
}

// launchBun keeps Bun from fetching packages at a function's start, as it does
// where there is no node_modules.
func launchBun(rt *sandbox.Runtime, _ *lambent.Version, _ interpreter, program string) {
	rt.Command = []string{program, "--no-install", "run", guestRuntime + "/bun.mjs"}
}

func bunPackage() npmPackage {
	name := map[string]string{"amd64": "@oven/bun-linux-x64", "arm64": "@oven/bun-linux-aarch64"}[goruntime.GOARCH]
	return npmPackage{title: "Bun", name: name, program: "bin/bun", at: "bin/bun"}
}
