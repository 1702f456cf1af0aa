package runtimes

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// interpreter is a language implementation on this host.
type interpreter struct {
	family       family
	major, minor int
	version      string // "3.12.1"
	program      string // resolved path on the host
	prefix       string // what holds bin/ and lib/ on the host
}

// probeTimeout bounds one run of an interpreter that is asked for its version.
const probeTimeout = 10 * time.Second

// DefaultSearch lists where distributions and version managers put
// interpreters. Each is a prefix that holds bin/. Home directories other than
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
		"/root/.asdf/installs/python/*", "/root/.asdf/installs/nodejs/*", "/root/.asdf/installs/java/*",
		"/root/.local/share/mise/installs/python/*", "/root/.local/share/mise/installs/node/*",
		"/root/.local/share/mise/installs/java/*",
	}
}

var pythonProgram = regexp.MustCompile(`^python3\.([0-9]{1,2})$`)

// scan lists the interpreters under the patterns, best first, each once. known
// spares the ones that were probed before.
func scan(ctx context.Context, patterns []string, known map[string]interpreter) []interpreter {
	var found []interpreter
	seen := map[string]bool{}
	for _, pattern := range patterns {
		prefixes, err := filepath.Glob(pattern)
		if err != nil {
			continue // a malformed pattern matches nothing
		}
		for _, prefix := range prefixes {
			for _, c := range candidates(prefix) {
				if seen[c.program] {
					continue
				}
				seen[c.program] = true
				if old, ok := known[c.program]; ok {
					found = append(found, old)
				} else if err := probe(ctx, &c); err == nil {
					found = append(found, c)
				}
			}
		}
	}
	return found
}

// candidates are the programs in prefix/bin that look like interpreters.
func candidates(prefix string) []interpreter {
	var out []interpreter
	entries, err := os.ReadDir(filepath.Join(prefix, "bin"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		c := interpreter{}
		switch m := pythonProgram.FindStringSubmatch(e.Name()); {
		case m != nil:
			c.family, c.major = familyPython, 3
			c.minor, _ = strconv.Atoi(m[1]) // the pattern lets only digits through
		case e.Name() == "node":
			c.family = familyNode
		case e.Name() == "java":
			c.family = familyJava
		default:
			continue
		}
		program, err := filepath.EvalSymlinks(filepath.Join(prefix, "bin", e.Name()))
		if err != nil || !trusted(program) {
			continue
		}
		c.program, c.prefix = program, filepath.Dir(filepath.Dir(program))
		out = append(out, c)
	}
	return out
}

// trusted tells whether only root or the server's own user could have put the
// program there: it will be run by the server.
func trusted(program string) bool {
	info, err := os.Stat(program)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || info.Mode()&0o002 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// probe fills in the version.
func probe(ctx context.Context, c *interpreter) error {
	switch c.family {
	case familyJava:
		return probeJava(c)
	case familyPython:
		text, err := output(ctx, c.program, "-S", "-E", "-c",
			"import sys; print('%d.%d.%d' % sys.version_info[:3])")
		if err != nil {
			return err
		}
		return c.setVersion(text)
	default:
		text, err := output(ctx, c.program, "--version")
		if err != nil {
			return err
		}
		return c.setVersion(strings.TrimPrefix(text, "v"))
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
