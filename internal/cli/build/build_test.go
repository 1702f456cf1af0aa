package build

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// project writes a source directory.
func project(t *testing.T, files map[string]string) *said {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &said{}
	s.Builder = Builder{
		Dir: dir, Environ: os.Environ(),
		Say: func(line string) { s.lines = append(s.lines, line) }, Busy: func(string) func() { return func() {} },
	}
	return s
}

// said is a builder that remembers what it said.
type said struct {
	Builder
	lines []string
}

func (s *said) text() string { return strings.Join(s.lines, "\n") }

func names(t *testing.T, out *Output) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(out.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantGone(t *testing.T, out *Output) {
	t.Helper()
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(out.dir); err == nil {
		t.Error("the build left its directory behind")
	}
}

const hello = "package main\n\nfunc main() { println(\"hello\") }\n"

func TestGo(t *testing.T) {
	for _, where := range []string{"main.go", "cmd/run/main.go"} {
		b := project(t, map[string]string{"go.mod": "module x\n\ngo 1.24\n", where: hello, "inner/inner.go": "package inner\n"})
		out, err := b.Go(t.Context(), false)
		if err != nil {
			t.Fatal(err, b.text())
		}
		if got := names(t, out); !slices.Equal(got, []string{"bootstrap"}) {
			t.Errorf("%s: built %q", where, got)
		}
		text, err := exec.Command(filepath.Join(out.dir, "bootstrap")).CombinedOutput()
		if string(text) != "hello\n" || err != nil {
			t.Errorf("%s: the program says %q, %v", where, text, err)
		}
		if !strings.Contains(b.text(), "CGO_ENABLED=0") || !strings.Contains(b.text(), "hint: nothing in it imports github.com/aws/aws-lambda-go") {
			t.Errorf("said %q", b.lines)
		}
		wantGone(t, out)
	}
}

func TestGoWasm(t *testing.T) {
	b := project(t, map[string]string{"go.mod": "module x\n\ngo 1.24\n", "main.go": hello})
	out, err := b.Go(t.Context(), true)
	if err != nil {
		t.Fatal(err, b.text())
	}
	module, err := fs.ReadFile(out.FS, "bootstrap.wasm")
	if err != nil || !strings.HasPrefix(string(module), "\x00asm") {
		t.Errorf("built %q, %v", names(t, out), err)
	}
	wantGone(t, out)
}

func TestGoFaults(t *testing.T) {
	mod := "module x\n\ngo 1.24\n"
	for name, tt := range map[string]struct {
		files      map[string]string
		said, want string
	}{
		"does not compile": {map[string]string{"go.mod": mod, "main.go": "package main\n\nfunc main() { undefined() }\n"}, "./main.go:3:15: undefined: undefined", "go build: exit status 1"},
		"no main":          {map[string]string{"go.mod": mod, "x.go": "package x\n"}, "", "has no main package"},
		"several":          {map[string]string{"go.mod": mod, "cmd/a/a.go": hello, "cmd/b/b.go": hello}, "", "several main packages: deploy the directory of one, ./cmd/a or ./cmd/b"},
		"broken go.mod":    {map[string]string{"go.mod": "modul x\n", "main.go": hello}, "unknown directive: modul", "go list: exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := project(t, tt.files)
			_, err := b.Go(t.Context(), false)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(b.text(), tt.said) {
				t.Errorf("error %v, want %q; said %q, want %q", err, tt.want, b.text(), tt.said)
			}
		})
	}
}

func TestVerb(t *testing.T) {
	for line, want := range map[string]string{
		"build -o x .": "build", "--batch-mode -DskipTests package": "package", "-m pip install --quiet": "-m pip install", "--version": "", "": "",
	} {
		if got := verb(strings.Fields(line)); got != want {
			t.Errorf("of %q the verb is %q, want %q", line, got, want)
		}
	}
}

// The directory of one program is enough: its module is above.
func TestGoInModule(t *testing.T) {
	b := project(t, map[string]string{"go.mod": "module x\n\ngo 1.24\n", "cmd/a/a.go": hello, "cmd/b/b.go": hello})
	b.Dir = filepath.Join(b.Dir, "cmd", "b")
	out, err := b.Go(t.Context(), false)
	if err != nil {
		t.Fatal(err, b.text())
	}
	if !strings.Contains(b.text(), "be deployed with --port 8080") { // wherever go.mod is
		t.Errorf("said %q", b.lines)
	}
	wantGone(t, out)
}

// Without the tool, the error says what to do.
func TestNoTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b := project(t, map[string]string{"package.json": `{"dependencies": {"x": "1"}}`, "requirements.txt": "x\n"})
	ctx := t.Context()
	_, goErr := b.Go(ctx, false)
	_, rustErr := b.Rust(ctx)
	_, pipErr := b.PythonPackages(ctx)
	for want, err := range map[string]error{
		"there is no go command to build it with: install Go": goErr, "there is no cargo command": rustErr,
		"there is no mvn command": b.Maven(ctx, ""), "there is no npm command": b.NodePackages(ctx, false), "there is no python3 command": pipErr,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestRustProgram(t *testing.T) {
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("no cargo here")
	}
	b := project(t, map[string]string{"Cargo.toml": "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n", "src/main.rs": "fn main() { println!(\"hello\"); }\n"})
	out, err := b.Rust(t.Context())
	if err != nil {
		t.Fatal(err, b.text())
	}
	if text, err := exec.Command(filepath.Join(out.dir, "bootstrap")).Output(); string(text) != "hello\n" {
		t.Errorf("the program says %q, %v", text, err)
	}
	wantGone(t, out)
	if _, _, err := programOf(`{"packages": [{"targets": [{"name": "a", "kind": ["bin"]}, {"name": "b", "kind": ["bin"]}]}]}`); err == nil || !strings.Contains(err.Error(), "has 2 programs (a, b)") {
		t.Errorf("two programs: %v", err)
	}
	if name, _, err := programOf(`{"packages": [{"default_run": "b", "targets": [{"name": "a", "kind": ["bin"]}, {"name": "b", "kind": ["bin"]}]}]}`); name != "b" || err != nil {
		t.Errorf("two programs, of which one is named: %s, %v", name, err)
	}
	b.Arch = map[string]string{"amd64": "arm64", "arm64": "x86_64"}[Builder{}.goarch()]
	if _, err := b.Rust(t.Context()); err == nil || !strings.Contains(err.Error(), "which this host cannot build") {
		t.Errorf("another architecture: %v", err)
	}
}

var typeScript = map[string]string{
	"src/index.ts":      "import { shout } from '@lib/shout';\n\ninterface Event { name: string }\n\nexport const handler = async (event: Event) => {\n  return shout(event.name);\n};\n",
	"lib/shout.ts":      "export function shout(text: string): string {\n  if (!text) throw new TypeError('nothing to shout');\n  return text.toUpperCase();\n}\n",
	"tsconfig.json":     `{"compilerOptions": {"strict": true, "paths": {"@lib/*": ["./lib/*"]}}}`,
	"src/unrelated.txt": "not in the bundle",
}

// run calls a handler in Node.
func run(t *testing.T, dir, file, event string) string {
	t.Helper()
	script := `import(process.argv[1]).then((m) => (m.handler ?? m.default.handler)(JSON.parse(process.argv[2]))).then(console.log, (e) => console.log(e.stack))`
	out, err := exec.Command("node", "-e", script, filepath.Join(dir, file), event).CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	return string(out)
}

func TestTypeScript(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("no node here")
	}
	for kind, want := range map[string][]string{
		"commonjs": {"src/index.bundle.js", "src/index.bundle.js.map", "src/index.js"},
		"module":   {"src/index.bundle.mjs", "src/index.bundle.mjs.map", "src/index.mjs"},
	} {
		t.Run(kind, func(t *testing.T) {
			b := project(t, typeScript)
			if err := os.WriteFile(filepath.Join(b.Dir, "package.json"), []byte(`{"type": "`+kind+`"}`), 0o644); err != nil {
				t.Fatal(err)
			}
			b.Runtime = "nodejs20.x"
			out, err := b.TypeScript(t.Context(), "src/index.ts", "src/index.handler")
			if err != nil {
				t.Fatal(err, b.text())
			}
			if got := names(t, out); !slices.Equal(got, want) {
				t.Errorf("built %q, want %q", got, want)
			}
			if got := run(t, out.dir, want[2], `{"name": "low"}`); got != "LOW\n" {
				t.Errorf("answer %q", got)
			}
			stack := run(t, out.dir, want[2], `{}`)
			if !strings.Contains(stack, "lib/shout.ts:2:") || !strings.Contains(stack, "src/index.ts:6:") {
				t.Errorf("the stack does not name the lines of the source:\n%s", stack)
			}
			if !strings.Contains(b.text(), "types are not checked") {
				t.Errorf("said %q", b.lines)
			}
			wantGone(t, out)
		})
	}
}

func TestTypeScriptFaults(t *testing.T) {
	b := project(t, map[string]string{"index.ts": "import x from 'absent-package';\nexport const handler: = 1;\n"})
	_, err := b.TypeScript(t.Context(), "index.ts", "index.handler")
	if err == nil || !strings.Contains(err.Error(), "index.ts does not compile") || !strings.Contains(b.text(), "index.ts:2:22:") {
		t.Errorf("error %v, said %q", err, b.text())
	}
	b = project(t, map[string]string{"index.ts": "export const handler = 1;\n"})
	if _, err := b.TypeScript(t.Context(), "index.ts", "index"); err == nil || !strings.Contains(err.Error(), "names no export") {
		t.Errorf("error %v", err)
	}
}

func TestNodePackages(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil || testing.Short() {
		t.Skip("needs npm and a registry")
	}
	b := project(t, map[string]string{"package.json": `{"dependencies": {"is-odd": "3.0.1"}, "devDependencies": {"is-even": "1.0.0"}}`})
	for range 2 {
		if err := b.NodePackages(t.Context(), false); err != nil {
			t.Fatal(err, b.text())
		}
	}
	if !b.has("node_modules/is-odd/index.js") || b.has("node_modules/is-even") {
		t.Error("npm did not install what the project depends on, or more")
	}
	if len(b.lines) != 1 { // the second time they are there
		t.Errorf("said %q", b.lines)
	}
	b = project(t, map[string]string{"package.json": `{"devDependencies": {"is-odd": "3.0.1"}}`})
	if err := b.NodePackages(t.Context(), true); err != nil || !b.has("node_modules/is-odd/index.js") {
		t.Errorf("a project that is started by what is for development: %v", err)
	}
	b = project(t, map[string]string{"package.json": `{"name": "x"}`})
	if err := b.NodePackages(t.Context(), false); err != nil || b.has("node_modules") {
		t.Errorf("a project without packages: %v", err)
	}
}

func TestInstaller(t *testing.T) {
	for name, c := range map[string]struct {
		files, tools, want string
		development        bool
	}{
		"nothing":      {"", "npm pnpm", "npm install --no-audit --no-fund --omit=dev", false},
		"all of it":    {"", "npm", "npm install --no-audit --no-fund", true},
		"lock":         {"package-lock.json", "npm", "npm ci --no-audit --no-fund --omit=dev", false},
		"pnpm":         {"pnpm-lock.yaml", "npm pnpm", "pnpm install --frozen-lockfile --prod", false},
		"no pnpm":      {"pnpm-lock.yaml", "npm", "npm install --no-audit --no-fund --omit=dev", false},
		"yarn":         {"yarn.lock", "npm yarn", "yarn install --frozen-lockfile", true},
		"newer yarn":   {"yarn.lock .yarnrc.yml", "npm yarn", "yarn install --immutable", false},
		"bun":          {"bun.lock", "npm bun", "bun install --frozen-lockfile --production", false},
		"npm and yarn": {"package-lock.json yarn.lock", "npm yarn", "npm ci --no-audit --no-fund --omit=dev", false},
	} {
		files := map[string]string{}
		for _, file := range strings.Fields(c.files) {
			files[file] = ""
		}
		b := project(t, files)
		program, args, err := b.installer(c.development, func(name string) (string, error) {
			if slices.Contains(strings.Fields(c.tools), name) {
				return name, nil
			}
			return "", errors.New("no " + name)
		})
		if got := strings.Join(append([]string{program}, args...), " "); got != c.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
		if name == "no pnpm" && !strings.Contains(b.text(), "pnpm-lock.yaml is not read: there is no pnpm command") {
			t.Errorf("said %q", b.lines)
		}
	}
	if _, _, err := project(t, nil).installer(true, func(name string) (string, error) { return "", errors.New("no " + name) }); err == nil {
		t.Error("there is nothing to install with")
	}
}

func TestNodeScript(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil || testing.Short() {
		t.Skip("needs npm")
	}
	b := project(t, map[string]string{"package.json": `{"scripts": {"build": "mkdir dist && echo 1 > dist/server.js"}}`})
	if err := b.NodeScript(t.Context()); err != nil || !b.has("dist/server.js") {
		t.Errorf("error %v, said %q", err, b.text())
	}
	// The directory is there already.
	if err := b.NodeScript(t.Context()); err == nil || !strings.Contains(err.Error(), "npm run: exit status 1") || !strings.Contains(b.text(), "dist") {
		t.Errorf("error %v, said %q", err, b.text())
	}
}

func TestPythonPackages(t *testing.T) {
	if exec.Command("python3", "-m", "pip", "--version").Run() != nil || testing.Short() {
		t.Skip("needs pip and an index")
	}
	b := project(t, map[string]string{"requirements.txt": "# numbers\nmarkupsafe==2.1.5\n"})
	b.Runtime = "python3.9"
	b.Environ = append(b.Environ, "XDG_CACHE_HOME="+t.TempDir())
	var dirs []string
	for range 2 {
		dir, err := b.PythonPackages(t.Context())
		if err != nil {
			t.Fatal(err, b.text())
		}
		dirs = append(dirs, dir)
	}
	if dirs[0] != dirs[1] || !strings.Contains(b.text(), "fetched before") {
		t.Errorf("fetched to %q, said %q", dirs, b.lines)
	}
	// Compiled code is for the function's Python, not for the one of this host.
	found, err := filepath.Glob(filepath.Join(dirs[0], "markupsafe", "_speedups.cpython-39-*.so"))
	if err != nil || len(found) != 1 {
		t.Errorf("compiled code %q, %v", found, err)
	}
	b = project(t, map[string]string{"pyproject.toml": "[project]\ndependencies = [\"markupsafe==2.1.5\"]\n"})
	b.Environ = append(b.Environ, "XDG_CACHE_HOME="+t.TempDir())
	if dir, err := b.PythonPackages(t.Context()); err != nil || !strings.Contains(b.text(), "for pyproject.toml") {
		t.Errorf("of a project: %v, said %q", err, b.lines)
	} else if _, err := os.Stat(filepath.Join(dir, "markupsafe")); err != nil {
		t.Error(err)
	}
	b = project(t, map[string]string{"requirements.txt": "no-such-package-in-any-index==1\n"})
	if _, err := b.PythonPackages(t.Context()); err == nil || !strings.Contains(b.text(), "no-such-package-in-any-index") {
		t.Errorf("error %v, said %q", err, b.text())
	}
}

func TestMovePrograms(t *testing.T) {
	dir := t.TempDir()
	const rest = "import sys\nsys.exit(0)\n"
	for name, c := range map[string][2]string{
		"gunicorn": {"#!/root/.venv/bin/python3\n" + rest, "#!/usr/bin/env python3\n" + rest},
		"long":     {"#!/bin/sh\n'''exec' \"/a long/python3\" \"$0\" \"$@\"\n' '''\n" + rest, "#!/usr/bin/env python3\n" + rest},
		"script":   {"#!/bin/sh\necho python\n", "#!/bin/sh\necho python\n"},
		"compiled": {"\x7fELF#!python\n", "\x7fELF#!python\n"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c[0]), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := movePrograms(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != c[1] {
			t.Errorf("%s became %q, %v", name, got, err)
		}
	}
	if err := movePrograms(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}

func TestHint(t *testing.T) {
	b := project(t, map[string]string{"Gemfile": "", "composer.json": "{}", "vendor/autoload.php": ""})
	b.Hint()
	if len(b.lines) != 1 || !strings.Contains(b.text(), "hint: there is a Gemfile and no vendor/bundle") {
		t.Errorf("said %q", b.lines)
	}
}

func TestHintOfLocks(t *testing.T) {
	const poetry = "[tool.poetry.dependencies]\npython = \"^3.12\"\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"uv":           {map[string]string{"pyproject.toml": "[project]\ndependencies = [\"flask\"]\n", "uv.lock": ""}, "uv.lock is not read: run uv export"},
		"poetry":       {map[string]string{"pyproject.toml": poetry}, "not Poetry's own: run poetry export"},
		"poetry.lock":  {map[string]string{"pyproject.toml": poetry, "poetry.lock": ""}, "poetry.lock is not read: run poetry export"},
		"pipenv":       {map[string]string{"Pipfile": ""}, "run pipenv requirements > requirements.txt"},
		"requirements": {map[string]string{"pyproject.toml": poetry, "uv.lock": "", "requirements.txt": ""}, ""},
		"no lock":      {map[string]string{"pyproject.toml": "[project]\ndependencies = [\"flask\"]\n"}, ""},
	} {
		b := project(t, c.files)
		if b.Hint(); !strings.Contains(b.text(), c.want) || c.want == "" && len(b.lines) > 0 {
			t.Errorf("%s: said %q, want %q", name, b.lines, c.want)
		}
	}
}

func TestDependencies(t *testing.T) {
	for text, want := range map[string][]string{
		"[project]\ndependencies = [\n  \"flask>=3\", # the web\n  'uvicorn[standard] ; python_version > \"3.9\"',\n]\n": {"flask>=3", `uvicorn[standard] ; python_version > "3.9"`},
		"[project]\nname = \"x\"\n": nil, "[tool.ruff]\ndependencies = [\"x\"]\n": nil, "": nil,
	} {
		if got, err := dependencies(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("of %q %q, %v", text, got, err)
		}
	}
	if _, err := dependencies("[project\n"); err == nil {
		t.Error("what is no TOML is understood")
	}
}

func TestWantsPackages(t *testing.T) {
	vendored := map[string]string{"Some_Name-1.0.dist-info/METADATA": "", "other.thing-2.dist-info/METADATA": ""}
	for text, want := range map[string]bool{
		"": false, "# nothing\n\n": false, "some-name>=1\n": false, "some.name[extra]==1 ; python_version > '3'\nother-thing\n": false,
		"some-name\nmissing\n": true, "-r more.txt\n": false,
	} {
		if got := project(t, vendored).wantsPackages(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if !project(t, nil).wantsPackages("-r more.txt\n") {
		t.Error("an option may name packages")
	}
}

// What the manifest of a project says is read as npm does, or not at all.
func FuzzPackageJSON(f *testing.F) {
	f.Add(`{"type": "module", "dependencies": {"a": "1"}}`)
	f.Add(`{"dependencies": []}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if pkg := (Builder{Dir: dir}).packageJSON(); len(pkg.Dependencies) > 0 && !json.Valid([]byte(text)) {
			t.Error("dependencies of something that is no JSON")
		}
	})
}
