package runtimes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var dotnetLanguage = language{
	title:   ".NET",
	program: regexp.MustCompile(`^dotnet$`),
	probe:   []string{"--list-runtimes"},
	rolls:   true,
	folder:  "dotnet",
	launch:  launchDotnet,
	foreign: isAssembly,
	blank:   &ownStart{prefixes: []string{"DOTNET_", "COMPlus_", "CORECLR_"}},
	env:     dotnetEnv,
	apt:     dotnetPackage,
	wheel:   dotnetWheel,
	put:     "a .NET runtime of this version, or a newer one, into /usr/share/dotnet, or its dotnet and shared into the folder runtimes/dotnet/bin of the data directory",
}

// sharedFramework is where the versions of the runtime are, beside the dotnet
// program ("dotnet --list-runtimes" reads the same names).
const sharedFramework = "shared/Microsoft.NETCore.App"

var dotnetVersion = regexp.MustCompile(`^[1-9][0-9]?\.[0-9]+\.[0-9]+$`)

// oldestDotnet is what the bootstrap is made for.
const oldestDotnet = "3.1.0"

// dotnets are the runtimes that one dotnet program has, the newest first: the
// program itself has no version that matters.
func dotnets(program interpreter) []interpreter {
	dir := filepath.Dir(program.program)
	if filepath.Base(dir) != "bin" {
		program.prefix = dir
	}
	var out []interpreter
	for _, name := range list(filepath.Join(dir, sharedFramework)) {
		i := program
		if !dotnetVersion.MatchString(name) || compareVersions(name, oldestDotnet) < 0 || i.setVersion(name) != nil {
			continue // a preview, or too old for the bootstrap
		}
		i.key += " " + name
		out = append(out, i)
	}
	slices.SortStableFunc(out, func(a, b interpreter) int { return compareVersions(b.version, a.version) })
	return out
}

// compareVersions compares dotted numbers of equally many parts.
func compareVersions(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
}

// fxVersion names the one version of the runtime to start with ("dotnet" command,
// .NET documentation).
const fxVersion = "--fx-version"

// launchDotnet starts a class library by the bootstrap, on the very runtime that
// was picked, and a program of the function's own by what its runtimeconfig.json
// asks for ("Define Lambda function handler in C#", AWS Lambda developer guide).
func launchDotnet(rt *sandbox.Runtime, v *lambent.Version, i interpreter, program string) {
	if isAssembly(v) {
		rt.Command = []string{program, "exec", "--roll-forward", "Major", "/var/task/" + strings.TrimSuffix(v.Handler, ".dll") + ".dll"}
		return
	}
	rt.Command = []string{program, "exec", fxVersion, i.version, guestRuntime + "/bootstrap.dll"}
}

// isAssembly tells whether a handler names only an assembly: a program that speaks
// the Runtime API itself.
func isAssembly(v *lambent.Version) bool { return !strings.Contains(v.Handler, "::") }

// dotnetConfig is what matters of a runtimeconfig.json.
type dotnetConfig struct {
	Options struct {
		Framework  dotnetFramework   `json:"framework"`
		Frameworks []dotnetFramework `json:"frameworks"`
		Properties map[string]any    `json:"configProperties"`
	} `json:"runtimeOptions"`
}

type dotnetFramework struct {
	Name string `json:"name"`
}

// plainProperties are those of the bootstrap's own runtimeconfig.json, and what the
// SDK writes into every one.
var plainProperties = map[string]any{
	"System.GC.Server": false, "System.GC.Concurrent": false, "System.Runtime.TieredPGO": false,
	"System.Reflection.Metadata.MetadataUpdater.IsSupported":                false,
	"System.Runtime.Serialization.EnableUnsafeBinaryFormatterSerialization": false,
}

// plain tells that nothing in it makes a difference.
func (c dotnetConfig) plain() bool {
	for _, f := range append(c.Options.Frameworks, c.Options.Framework) {
		if f.Name != "" && f.Name != "Microsoft.NETCore.App" {
			return false
		}
	}
	for name, value := range c.Options.Properties {
		if want, ok := plainProperties[name]; !ok || value != want {
			return false
		}
	}
	return true
}

// fitDotnet starts a class library with its own runtimeconfig.json, as AWS does,
// where that asks for ASP.NET or for settings: the runtime reads them first.
func fitDotnet(rt *sandbox.Runtime, v *lambent.Version, code string) {
	at := slices.Index(rt.Command, fxVersion)
	if at < 0 {
		return // a program: dotnet reads its configuration
	}
	root, err := os.OpenRoot(code)
	if err != nil {
		return // the bootstrap says what is missing
	}
	defer func() { _ = root.Close() }() // read only
	assembly, _, _ := strings.Cut(v.Handler, "::")
	name := assembly + ".runtimeconfig.json"
	var config dotnetConfig
	if json.Unmarshal([]byte(readText(root, name)), &config) != nil || config.plain() {
		return // one that is damaged settles nothing
	}
	rt.Blank = nil
	rt.Command = slices.Concat(rt.Command[:at], []string{"--runtimeconfig", "/var/task/" + name, "--roll-forward", "Major"}, rt.Command[at+2:])
}

// dotnetEnv is what the runtime reads when it starts. It cannot see the sandbox's
// limit: the heap gets the share of the memory that it takes of a container's
// ("System.GC.HeapHardLimitPercent", .NET documentation). Its debugger's pipes
// would be in the function's /tmp.
func dotnetEnv(v *lambent.Version, r release) map[string]string {
	prefix := "DOTNET_"
	if r.major < 5 {
		prefix = "COMPlus_" // which newer ones know as well
	}
	vars := map[string]string{prefix + "EnableDiagnostics": "0"}
	if v.MemoryMB > 0 {
		vars[prefix+"GCHeapHardLimit"] = strconv.FormatInt(int64(v.MemoryMB)<<20*3/4, 16)
	}
	if !slices.ContainsFunc(icuVersions(), func(n int) bool { return r.major >= 5 || n <= 70 }) {
		vars["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "1"
	}
	return vars
}

// icuVersions are the releases of ICU on this host, where sandboxes see them. .NET
// Core 3.1 looks for 50 to 70, newer ones for any.
var icuVersions = sync.OnceValue(func() []int {
	var out []int
	for _, pattern := range []string{"/usr/lib/libicuuc.so.*", "/usr/lib64/libicuuc.so.*", "/usr/lib/*-linux-gnu/libicuuc.so.*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			continue // the patterns are well formed
		}
		for _, f := range files {
			if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(f), ".")); err == nil && n >= 50 {
				out = append(out, n)
			}
		}
	}
	return out
})

// dotnetReleases are the versions that the distributions have, by packages.ubuntu.com.
var dotnetReleases = map[distribution][]int{
	{"ubuntu", "22.04"}: {6, 8}, {"ubuntu", "24.04"}: {8},
}

func dotnetPackage(r release, d distribution) string {
	if slices.Contains(dotnetReleases[d], r.major) {
		return fmt.Sprintf("dotnet-runtime-%d.0", r.major)
	}
	return ""
}

// dotnetWheel is Microsoft's own package of the runtime on PyPI; there is none of
// a newer one, and none for other processors.
func dotnetWheel(r release) wheelPackage {
	if r.major != 3 || goruntime.GOARCH != "amd64" {
		return wheelPackage{}
	}
	return wheelPackage{title: ".NET Core", name: "dotnetcore2", version: "3.1.", platform: "manylinux1_x86_64",
		folder: "dotnetcore2/bin", at: "bin", program: "dotnet"}
}
