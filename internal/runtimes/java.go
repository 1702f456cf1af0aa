package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// javaMain is what a JVM runs, in every mode: the environment says which.
const javaMain = "lambent.runtime.Main"

// launchJava fills in how a JVM runs version v.
func (c *Catalog) launchJava(rt *sandbox.Runtime, v *lambent.Version, i interpreter, program string) {
	start := slices.Concat([]string{program}, javaFlags(v.MemoryMB), javaQuiet(i))
	what := []string{"-cp", guestRuntime + "/bootstrap.jar", javaMain}
	rt.Command = slices.Concat(start, what)
	plain := rt.Command
	if base := c.javaBase(i); exists(filepath.Join(c.layout, "java", base)) {
		rt.Command = slices.Concat(start, []string{"-XX:SharedArchiveFile=" + guestRuntime + "/" + base}, what)
	}
	if v.Env[execWrapper] != "" {
		return
	}
	rt.Control = true
	if ownJVM(v) || !exists(filepath.Join(c.layout, "java", "native-"+javaArch()+".so")) {
		return
	}
	r, _ := lookup(v.Runtime) // a name without a release has only the common part
	rt.Blank = &sandbox.Blank{Command: rt.Command, Env: blankEnvironment(v, r, nil)}
	// What has started without the archive is as good as what starts with it.
	rt.Blank.Key = blankKey(rt, i, &sandbox.Blank{Command: plain, Env: rt.Blank.Env})
}

// javaFlags suits a JVM to one small function: the serial collector, only the
// first compiler tier, class data from the shared archive. The heap takes 85 %
// of the memory, and never so much that the JVM itself, some 56 MB, has no room.
func javaFlags(memory int) []string {
	heap := min(memory*85/100, memory-56)
	return []string{
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData",
		fmt.Sprintf("-Xmx%dm", heap), "-Xss1m",
		// The sandbox has no locale but C, which would make it ASCII.
		"-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8",
		"-Djava.net.preferIPv4Stack=true",
	}
}

// javaQuiet keeps newer JVMs from warning about what the bootstrap does: it
// reaches into the JDK and loads a library of its own (JEP 498, JEP 472).
func javaQuiet(i interpreter) []string {
	if i.major < 24 {
		return nil
	}
	return []string{"--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"}
}

// ownJVM tells whether the function's environment has something that a JVM or
// its C library reads when it starts: a blank has read its own by then.
func ownJVM(v *lambent.Version) bool {
	for name := range v.Env {
		switch {
		case name == "JAVA_TOOL_OPTIONS", name == "JDK_JAVA_OPTIONS",
			name == "_JAVA_OPTIONS", name == "LANG", name == "LANGUAGE", name == "GLIBC_TUNABLES",
			strings.HasPrefix(name, "LD_"), strings.HasPrefix(name, "LC_"), strings.HasPrefix(name, "MALLOC_"):
			return true
		}
	}
	return false
}

// javaBase names the archive of class data that every function on interpreter i
// can use. It is beside the bootstrap, whose content names their folder.
func (c *Catalog) javaBase(i interpreter) string { return "base-" + shortHash(i.key) + ".jsa" }

// javaArch is the machine as the JDK calls it in os.arch.
func javaArch() string {
	if goruntime.GOARCH == "arm64" {
		return "aarch64"
	}
	return goruntime.GOARCH
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}
