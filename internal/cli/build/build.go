// Package build turns source into what a function runs, with the tools that the
// language's own programmers use: go, cargo, mvn, npm, pip, and esbuild, which is
// linked in. It owns which of them is run and how, and refuses to guess what a
// directory is (package project) or to send anything (the deploy command, its only
// user). What it makes is in a temporary directory, what it fetches in the user's
// cache or where the tool puts it.
package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"strings"
	"sync"
)

// Builder builds one directory.
type Builder struct {
	// Web tells that the program is an HTTP application, not a function.
	Web     bool
	Dir     string   // of the source
	Environ []string // KEY=value, for the tools
	Arch    string   // that the function has, "x86_64" or "arm64"; "" is this host's
	Runtime string   // such as python3.12, "" where the language has no versions
	// Say takes a line for the person who deploys: what is run, and what it says
	// when it fails.
	Say func(line string)
	// Busy shows that something is under way until the function it returns is
	// called.
	Busy func(label string) (stop func())
}

// Output is what was built.
type Output struct {
	FS   fs.FS // to be packed
	root *os.Root
	dir  string
}

// Close removes it.
func (o *Output) Close() error {
	return errors.Join(o.root.Close(), os.RemoveAll(o.dir))
}

// output fills a temporary directory.
func output(fill func(dir string) error) (*Output, error) {
	dir, err := os.MkdirTemp("", "lambent-build-")
	if err != nil {
		return nil, fmt.Errorf("make a directory to build in: %w", err)
	}
	if err := fill(dir); err != nil {
		_ = os.RemoveAll(dir) // a leftover is in the temporary directory
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open what was built: %w", err)
	}
	return &Output{FS: root.FS(), root: root, dir: dir}, nil
}

// goarch is the architecture in Go's words.
func (b Builder) goarch() string {
	switch b.Arch {
	case "x86_64":
		return "amd64"
	case "arm64":
		return "arm64"
	default:
		return goruntime.GOARCH
	}
}

// tool finds a program; what to do without it is the error.
func tool(advice string, names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s command to build it with: %s", names[0], advice)
}

// command is one run of a tool.
type command struct {
	program string
	args    []string
	env     []string // over the builder's
	quiet   bool     // needs no word about it
}

// run runs a command in the source's directory and returns its standard output.
// When it fails, what it has printed is said as it is.
func (b Builder) run(ctx context.Context, c command) (string, error) {
	line := strings.Join(append([]string{filepath.Base(c.program)}, c.args...), " ")
	if !c.quiet {
		b.Say("running " + line)
	}
	stop := b.Busy(line)
	defer stop()
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	cmd.Dir = b.Dir
	cmd.Env = append(b.Environ[:len(b.Environ):len(b.Environ)], c.env...)
	var out bytes.Buffer
	var all transcript
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &all), &all
	err := cmd.Run()
	stop()
	if err != nil {
		if text := strings.TrimSpace(all.text.String()); text != "" {
			b.Say(text)
		}
		return "", fmt.Errorf("build %s: %s %s: %w", b.Dir, filepath.Base(c.program), verb(c.args), err)
	}
	return out.String(), nil
}

// transcript is what a tool says on both of its outputs, which come from a
// goroutine each.
type transcript struct {
	mu   sync.Mutex // guards text until the tool has ended
	text bytes.Buffer
}

// Write takes everything.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

// verb is what a tool was to do: the first of its arguments that is no flag.
func verb(args []string) string {
	if len(args) > 2 && args[0] == "-m" { // a module of Python, and what that was to do
		return strings.Join(args[:3], " ")
	}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			return arg
		}
	}
	return ""
}

// hints are dependencies that are not fetched here: of which file, where they would
// be, and what puts them there.
var hints = []struct{ file, where, command string }{
	{"Gemfile", "vendor/bundle", "bundle config set --local path vendor/bundle && bundle install"},
	{"composer.json", "vendor", "composer install --no-dev"},
}

// Hint says what is missing beside the source and has to be fetched by hand.
func (b Builder) Hint() {
	for _, h := range hints {
		if b.has(h.file) && !b.has(h.where) {
			b.Say("hint: there is a " + h.file + " and no " + h.where + ": what it names is not in the function; run " + h.command)
		}
	}
	if b.has("requirements.txt") {
		return
	}
	for _, lock := range []struct{ file, export string }{
		{"uv.lock", "uv export --no-emit-project -o requirements.txt"},
		{"poetry.lock", "poetry export -o requirements.txt"},
		{"pdm.lock", "pdm export -o requirements.txt"},
		{"Pipfile", "pipenv requirements > requirements.txt"},
	} {
		if b.has(lock.file) {
			b.Say("hint: " + lock.file + " is not read: run " + lock.export + " for what it names")
			return
		}
	}
	if ofPoetry.MatchString(b.read("pyproject.toml")) {
		b.Say("hint: of pyproject.toml only the dependencies of [project] are fetched, and not Poetry's own: run poetry export -o requirements.txt")
	}
}

// ofPoetry finds packages as Poetry 1 has them in a pyproject.toml.
var ofPoetry = regexp.MustCompile(`(?m)^\[tool\.poetry\.dependencies\]`)

// has tells whether the source has a file, or a directory, of that name.
func (b Builder) has(name string) bool {
	_, err := os.Stat(filepath.Join(b.Dir, name))
	return err == nil
}

func (b Builder) read(name string) string {
	data, err := os.ReadFile(filepath.Join(b.Dir, name))
	if err != nil {
		return "" // what is not there says nothing
	}
	return string(data)
}
