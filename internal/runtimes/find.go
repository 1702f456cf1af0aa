package runtimes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	bootstraps "lambent.dev/lambent/runtimes"
)

// interpreter is a language implementation on this host.
type interpreter struct {
	family       family
	major, minor int
	version      string // "3.12.1"
	program      string // resolved path on the host
	prefix       string // what holds bin/ and lib/ on the host
	key          string // names this very file: path, size and time
}

// probeTimeout bounds one run of an interpreter that is asked for its version: an
// emulated machine takes more than ten seconds to read one from its disk.
const probeTimeout = 30 * time.Second

// DefaultSearch lists where distributions and version managers put
// interpreters. Each is a folder that holds bin/. Home directories other than
// root's are left out: programs found here are run, as root where the server is.
func DefaultSearch() []string {
	return []string{
		"/usr",
		"/usr/local",
		"/usr/lib/jvm/*",
		"/opt/python*", "/opt/node*", "/opt/jdk*", "/opt/java/*",
		"/root/.pyenv/versions/*",
		"/root/.local/share/uv/python/*",
		"/root/.nvm/versions/node/*",
		"/root/.local/share/fnm/node-versions/*/installation",
		"/root/.sdkman/candidates/java/*",
		"/usr/share/dotnet/dotnet", "/usr/lib/dotnet/dotnet", "/usr/lib64/dotnet/dotnet", "/opt/dotnet*/dotnet", "/root/.dotnet/dotnet",
		"/root/.rbenv/versions/*", "/root/.rubies/*", "/opt/rubies/*", "/root/.deno", "/root/.bun",
		"/root/.asdf/installs/python/*", "/root/.asdf/installs/nodejs/*", "/root/.asdf/installs/java/*",
		"/root/.local/share/mise/installs/python/*", "/root/.local/share/mise/installs/node/*",
		"/root/.local/share/mise/installs/java/*",
	}
}

var pythonProgram = regexp.MustCompile(`^python3\.([0-9]{1,2})$`)

// scan lists the interpreters under the patterns, best first, each once.
func (c *Catalog) scan(ctx context.Context) []interpreter {
	var all []interpreter
	seen := map[string]bool{}
	for _, pattern := range append([]string{filepath.Join(c.dir, "*")}, c.o.Search...) {
		places, err := filepath.Glob(pattern)
		if err != nil {
			continue // a malformed pattern matches nothing
		}
		for _, place := range places {
			for _, i := range candidates(place) {
				if !seen[i.key] {
					seen[i.key] = true
					all = append(all, i)
				}
			}
		}
	}
	return c.probeAll(ctx, all)
}

// probeAll fills in the versions, several at a time, and leaves out what does not
// run. What was learnt about the same files before is taken as it is.
func (c *Catalog) probeAll(ctx context.Context, all []interpreter) []interpreter {
	known := c.readCache()
	var group errgroup.Group
	group.SetLimit(4)
	ok := make([]bool, len(all))
	fresh := false
	for n := range all {
		i := &all[n]
		if version, found := known[i.key]; found && c.compiled(*i) {
			ok[n] = i.setVersion(version) == nil
			continue
		}
		fresh = true
		group.Go(func() error {
			err := c.probe(ctx, i)
			if err != nil {
				c.o.Log.Debug("cannot use a runtime", "program", i.program, "err", err)
			}
			ok[n] = err == nil
			return nil // one that does not run hinders no other
		})
	}
	_ = group.Wait() // no function fails
	var found []interpreter
	for n, i := range all {
		if ok[n] {
			found = append(found, i)
		}
	}
	if fresh {
		c.writeCache(found)
	}
	return found
}

// candidates are what looks like an interpreter: the program at place, or those
// in place/bin.
func candidates(place string) []interpreter {
	var out []interpreter
	bin, names := filepath.Dir(place), []string{filepath.Base(place)}
	if info, err := os.Stat(place); err != nil {
		return nil
	} else if info.IsDir() {
		bin = filepath.Join(place, "bin")
		names = list(bin)
	}
	for _, name := range names {
		c := interpreter{}
		switch m := pythonProgram.FindStringSubmatch(name); {
		case m != nil:
			c.family, c.major = familyPython, 3
			c.minor, _ = strconv.Atoi(m[1]) // the pattern lets only digits through
		case name == "node":
			c.family = familyNode
		case name == "java":
			c.family = familyJava
		default:
			if c.family = familyOf(name); c.family == "" {
				continue
			}
		}
		program, err := filepath.EvalSymlinks(filepath.Join(bin, name))
		if err != nil {
			continue
		}
		info, err := os.Stat(program)
		if err != nil || !trusted(info) {
			continue
		}
		c.program, c.prefix = program, filepath.Dir(filepath.Dir(program))
		c.key = fmt.Sprintf("%s %d %d", program, info.Size(), info.ModTime().UnixNano())
		if c.family == familyDotnet {
			out = append(out, dotnets(c)...)
			continue
		}
		out = append(out, c)
	}
	return out
}

// list names what is in a folder, in order; nothing if it cannot be read.
func list(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// trusted tells whether only root or the server's own user could have put the
// program there: it will be run by the server.
func trusted(info os.FileInfo) bool {
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || info.Mode()&0o002 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// probePython prints the version and, for a Python that the bootstrap supports,
// leaves its byte code beside it: the folder is read-only in a sandbox, so that
// every start would compile it again. Byte code that is not checked against its
// source spares a stat, and the folder's name vouches for it.
const probePython = `
import sys
print("%d.%d.%d" % sys.version_info[:3])
if sys.version_info >= (3, 8):
    import py_compile
    for name in sys.argv[2:]:
        py_compile.compile(sys.argv[1] + "/" + name + ".py", dfile="/var/runtime/" + name + ".py",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
`

// pythonModules are the bootstrap's parts that are worth compiling: all but the
// script.
var pythonModules = sync.OnceValue(func() []string {
	entries, err := bootstraps.Files.ReadDir("python")
	if err != nil {
		return nil // it is embedded
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".py"); ok && name != "bootstrap" {
			out = append(out, name)
		}
	}
	return out
})

// probe fills in the version.
func (c *Catalog) probe(ctx context.Context, i *interpreter) error {
	if l, ok := languages[i.family]; ok {
		return l.ask(ctx, i)
	}
	switch i.family {
	case familyJava:
		return probeJava(i)
	case familyPython:
		args := append([]string{"-S", "-E", "-c", probePython, filepath.Join(c.layout, "python")}, pythonModules()...)
		text, err := output(ctx, i.program, args...)
		if err != nil {
			return err
		}
		return i.setVersion(text)
	default:
		text, err := output(ctx, i.program, "--version")
		if err != nil {
			return err
		}
		return i.setVersion(strings.TrimPrefix(text, "v"))
	}
}

// compiled tells whether an interpreter's byte code of the bootstrap is there.
func (c *Catalog) compiled(i interpreter) bool {
	if i.family != familyPython || i.minor < 8 {
		return true
	}
	for _, module := range pythonModules() {
		name := fmt.Sprintf("%s.cpython-3%d.pyc", module, i.minor)
		if _, err := os.Stat(filepath.Join(c.layout, "python", "__pycache__", name)); err != nil {
			return false
		}
	}
	return true
}

// cacheFile keeps versions over a restart: to run every interpreter on the host
// takes about a second.
func (c *Catalog) cacheFile() string { return filepath.Join(c.dir, ".found.json") }

func (c *Catalog) readCache() map[string]string {
	known := map[string]string{}
	if data, err := os.ReadFile(c.cacheFile()); err == nil {
		if err := json.Unmarshal(data, &known); err != nil {
			return nil // it will be written anew
		}
	}
	return known
}

func (c *Catalog) writeCache(found []interpreter) {
	known := map[string]string{}
	for _, i := range found {
		known[i.key] = i.version
	}
	data, err := json.Marshal(known)
	if err == nil {
		tmp := c.cacheFile() + ".tmp"
		err = errors.Join(os.WriteFile(tmp, data, 0o600), os.Rename(tmp, c.cacheFile()))
	}
	if err != nil {
		c.o.Log.Warn("cannot keep what is known of the runtimes", "err", err)
	}
}

// probeJava reads the release file that every JDK since 9, and most of 8, have.
func probeJava(c *interpreter) error {
	f, err := os.Open(filepath.Join(c.prefix, "release"))
	if err != nil {
		return fmt.Errorf("read Java's release file: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "JAVA_VERSION="); ok {
			// Java 8 calls itself 1.8.0_402.
			return c.setVersion(strings.TrimPrefix(strings.Trim(v, `"`), "1."))
		}
	}
	return fmt.Errorf("%s names no JAVA_VERSION", f.Name())
}

func (c *interpreter) setVersion(text string) error {
	parts := strings.SplitN(text, ".", 3)
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return fmt.Errorf("parse the version of %s: %w", c.program, err)
	}
	c.major, c.version = major, text
	c.setMinor()
	return nil
}

// output runs an interpreter in an empty environment, so that nothing of the
// server's own leaks into it, and returns the first line of what it prints.
func output(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", program, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// pick chooses the interpreter for a release: the same version, else the nearest
// newer one. exact tells which.
func pick(found []interpreter, r release) (best interpreter, exact, ok bool) {
	if l, ok := languages[r.family]; ok {
		return l.pickOf(found, r)
	}
	for _, c := range found {
		if c.family != r.family {
			continue
		}
		if c.major == r.major && (r.family != familyPython || c.minor == r.minor) {
			return c, true, true
		}
		if newer(c, r.major, r.minor) && (!ok || newer(best, c.major, c.minor)) {
			best, ok = c, true
		}
	}
	return best, false, ok
}

// newer compares minor versions only for Python, whose major one never moves.
func newer(c interpreter, major, minor int) bool {
	if c.family == familyPython {
		return c.major == major && c.minor > minor
	}
	return c.major > major
}
