package project

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// Families of runtimes: a runtime's name without its version.
const (
	Python   = "python"
	Node     = "nodejs"
	Java     = "java"
	Provided = "provided"
	Ruby     = "ruby"
	PHP      = "php"
	Deno     = "deno"
	Bun      = "bun"
	Bash     = "bash"
	Wasm     = "wasm"
	Dotnet   = "dotnet"
)

// Build says how a tree becomes what can be deployed.
type Build string

// Builds of a tree; none where it is deployed as it is.
const (
	BuildGo         Build = "go"
	BuildGoWasm     Build = "go-wasm"
	BuildRust       Build = "rust"
	BuildMaven      Build = "maven"
	BuildTypeScript Build = "typescript"
	// BuildScript is what package.json calls so; its files come into the tree.
	BuildScript Build = "script"
)

// Guess is what the files of a tree suggest.
type Guess struct {
	Family  string // "python"
	Runtime string // "python3.12" where the files name the version, or ""
	Handler string
	Because []string // reasons, each a clause for the person who deploys
	// Jar is the path of a built archive that is the code, instead of the tree.
	Jar string
	// Libraries is the directory of the jars that go with it; "" where there are none.
	Libraries string
	// Build tells that the tree is source that has to be built first.
	Build Build
	// Development tells that it is started by packages that package.json has for
	// development.
	Development bool
	// Entry is the file that TypeScript is bundled from.
	Entry string
	// Site is the directory of what is built that alone is deployed, as a pattern for
	// [SiteOf]; "" is the tree.
	Site string
	// App is set where the tree is an HTTP application.
	App *App
}

// FamilyOf is the family of a runtime name: "python" of "python3.12".
func FamilyOf(runtime string) string {
	for _, family := range []string{Python, Node, Java, Provided, Ruby, PHP, Deno, Bun, Bash, Wasm, Dotnet} {
		if strings.HasPrefix(runtime, family) {
			return family
		}
	}
	return ""
}

// maxSource bounds how much of a file is looked at, in bytes.
const maxSource = 1 << 20

// guesser looks for one family, or some that have their files in common; family
// is the one that is known already, or "". ok is false when there is no sign of it.
type guesser func(tree fs.FS, family string) (g Guess, ok bool, err error)

var guessers = []guesser{guessProvided, guessWasm, guessPython, guessNode, guessRuby, guessPHP, guessBash, guessJava, guessDotnet, guessGo, guessRust}

// Look guesses the runtime and the handler of a tree. What the caller knows
// already, the name of the runtime and the handler, is taken as given. Its errors
// have CodeInvalid and say what to do.
func Look(tree fs.FS, runtime, handler string) (Guess, error) {
	family := FamilyOf(runtime)
	var found []Guess
	for _, look := range guessers {
		g, ok, err := look(tree, family)
		if err != nil {
			return Guess{}, err
		}
		if ok && (family == "" || family == g.Family) {
			found = append(found, g)
		}
	}
	if len(found) > 1 {
		// What can run as it is wins over the source it was built from.
		built := slices.DeleteFunc(slices.Clone(found), func(g Guess) bool { return g.Build != "" })
		if len(built) > 0 {
			found = built
		}
	}
	g := Guess{Family: family}
	switch {
	case len(found) == 1 || len(found) > 1 && found[0].Family == Provided:
		g = found[0]
	case len(found) > 1:
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "the files suggest both %s (%s) and %s (%s): choose with --runtime and --handler",
			found[0].Family, cmp.Or(found[0].Handler, "not built yet"), found[1].Family, cmp.Or(found[1].Handler, "not built yet"))
	case runtime == "":
		known, ok := byHandler(tree, handler)
		if !ok {
			return Guess{}, unknown(tree)
		}
		g = known
	}
	if runtime != "" {
		g.Runtime = runtime
	}
	if handler != "" {
		g.Handler = handler
	}
	if g.Family == Node && handler != "" && (g.Build == "" || g.Build == BuildTypeScript) {
		g.Build, g.Entry = "", ""
		if entry := typeScriptOf(tree, handler); entry != "" {
			g.Build, g.Entry = BuildTypeScript, entry
		}
	}
	if g.Handler == "" && g.Family == Provided {
		g.Handler = "bootstrap"
	}
	if g.Handler == "" && g.Build == "" {
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "no handler found in the files for %s: name it with --handler, %s", g.Family, handlerForms[g.Family])
	}
	return g, nil
}

var handlerForms = map[string]string{
	Python:   "such as app.handler for the function handler of app.py",
	Node:     "such as index.handler for the export handler of index.js",
	Java:     "such as example.Handler::handleRequest",
	Provided: "any text",
	Ruby:     "such as app.handler for the method handler of app.rb",
	PHP:      "such as index.handler for the function handler of index.php",
	Deno:     "such as main.handler for the export handler of main.ts",
	Bun:      "such as index.handler for the export handler of index.ts",
	Bash:     "such as main.handler for the function handler of main.sh",
	Wasm:     "the name of the module, such as bootstrap.wasm",
	Dotnet:   "such as Assembly::Namespace.Class::Method",
	"":       "in the form the runtime wants",
}

func isFile(tree fs.FS, name string) bool {
	info, err := fs.Stat(tree, name)
	return err == nil && info.Mode().IsRegular()
}

// source reads the beginning of a file; one that is not there is empty.
func source(tree fs.FS, name string) string {
	f, err := tree.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read from
	data := make([]byte, maxSource)
	n, _ := readFull(f, data) // what can be read is enough to guess by
	return string(data[:n])
}

func guessProvided(tree fs.FS, _ string) (Guess, bool, error) {
	if !isFile(tree, "bootstrap") {
		return Guess{}, false, nil
	}
	return Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Because: []string{"there is a program named bootstrap"}}, true, nil
}

// wasmModule is what the runtime wasm runs when the handler names no other.
const wasmModule = "bootstrap.wasm"

// guessWasm knows one module at the top.
func guessWasm(tree fs.FS, _ string) (Guess, bool, error) {
	modules, _ := fs.Glob(tree, "*.wasm") // the pattern is well formed
	switch {
	case isFile(tree, wasmModule):
		modules = []string{wasmModule}
	case len(modules) != 1:
		return Guess{}, false, nil
	}
	return Guess{Family: Wasm, Runtime: Wasm, Handler: modules[0], Because: []string{modules[0] + " is a module"}}, true, nil
}

// lambdaGo is what a Go program that is a function imports.
const lambdaGo = "github.com/aws/aws-lambda-go"

var goMain = regexp.MustCompile(`(?m)^package main\b`)

// goFiles are the Go files at the top, but for tests.
func goFiles(tree fs.FS) []string {
	files := slices.Concat([]string{"main.go"}, others(tree, ".go", []string{"main.go"}))
	return slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
}

// goProgram tells why a tree is a Go program; "" is that it is none. A program's own
// directory may be anywhere in its module.
func goProgram(tree fs.FS) string {
	if isFile(tree, "go.mod") {
		return "go.mod makes it a Go program"
	}
	for _, file := range goFiles(tree) {
		if goMain.MatchString(source(tree, file)) {
			return file + " makes it a Go program"
		}
	}
	return ""
}

// guessGo knows a Go program, or makes it a module for WebAssembly where that
// runtime is asked for.
func guessGo(tree fs.FS, family string) (Guess, bool, error) {
	because := goProgram(tree)
	if because == "" {
		return Guess{}, false, nil
	}
	g := Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Build: BuildGo, Because: []string{because}}
	if family == Wasm {
		g.Family, g.Runtime, g.Handler, g.Build = Wasm, Wasm, wasmModule, BuildGoWasm
	}
	return g, true, nil
}

// guessRust knows a crate.
func guessRust(tree fs.FS, _ string) (Guess, bool, error) {
	if !isFile(tree, "Cargo.toml") {
		return Guess{}, false, nil
	}
	return Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Build: BuildRust, Because: []string{"Cargo.toml makes it a Rust program"}}, true, nil
}

var (
	pythonFiles   = []string{"lambda_function.py", "app.py", "main.py", "index.py", "handler.py", "function.py"}
	pythonHandler = regexp.MustCompile(`(?m)^(?:async[ \t]+)?(?:def[ \t]+(lambda_handler|handler)[ \t]*\(|(lambda_handler|handler)[ \t]*=[^=])`)
	versionNumber = regexp.MustCompile(`\d+(?:\.\d+)?`)
)

func guessPython(tree fs.FS, _ string) (Guess, bool, error) {
	files := slices.Concat(pythonFiles, others(tree, ".py", pythonFiles))
	for _, file := range files {
		m := pythonHandler.FindStringSubmatch(source(tree, file))
		if m == nil {
			continue
		}
		name := m[1] + m[2]
		g := Guess{Family: Python, Handler: strings.TrimSuffix(file, ".py") + "." + name, Because: []string{file + " defines " + name}}
		g.pythonVersion(tree)
		return g, true, nil
	}
	return Guess{}, false, nil
}

// pythonModule is the file of a module in C, which one version of Python can load
// (PEP 3149). What is built against the stable interface has another name.
var pythonModule = regexp.MustCompile(`\.cpython-3(\d{1,2})-[^/]*\.so$`)

// maxModuleSearch bounds how many files are looked at for modules in C.
const maxModuleSearch = 20000

// pythonVersion finds the version that the tree is for: said, or that of the
// packages which pip has put there.
func (g *Guess) pythonVersion(tree fs.FS) {
	if v := versionNumber.FindString(source(tree, ".python-version")); strings.Contains(v, ".") {
		g.Runtime = Python + v
		g.Because = append(g.Because, ".python-version says "+v)
		return
	}
	modules := map[string]string{} // one of each version
	seen := 0
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if seen++; seen > maxModuleSearch {
			return fs.SkipAll
		}
		switch {
		case err != nil || !d.IsDir():
		case d.Name() == ".git" || isFile(tree, path.Join(name, "pyvenv.cfg")): // nothing that is deployed
			return fs.SkipDir
		}
		if m := pythonModule.FindStringSubmatch(name); m != nil {
			modules[m[1]] = path.Base(name)
		}
		return nil
	})
	if len(modules) != 1 {
		return // for none, or for any
	}
	for minor, name := range modules {
		g.Runtime = Python + "3." + minor
		g.Because = append(g.Because, name+" is for Python 3."+minor)
	}
}

// others lists the top-level files with an extension that are not named yet.
func others(tree fs.FS, ext string, named []string) []string {
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		if path.Ext(e.Name()) == ext && e.Type().IsRegular() && !slices.Contains(named, e.Name()) {
			files = append(files, e.Name())
		}
	}
	return files
}

var (
	nodeFiles   = []string{"index.mjs", "index.js", "index.cjs", "handler.mjs", "handler.js", "handler.cjs", "app.mjs", "app.js", "lambda.js", "lambda.mjs"}
	nodeHandler = regexp.MustCompile(`(?m)(?:^|[^\w.]|module\.)exports\.(handler|lambdaHandler)\s*=|^\s*export\s+(?:const|let|var|(?:async\s+)?function)\s+(handler|lambdaHandler)\b|(?:module\.exports\s*=|^\s*export)\s*\{[^}]*\b(handler|lambdaHandler)\b`)
)

// packageJSON is what matters of a package.json.
type packageJSON struct {
	Main    string `json:"main"`
	Engines struct {
		Node string `json:"node"`
	} `json:"engines"`
}

// engine is the family that runs a tree's JavaScript: the known one, else what its
// configuration is of.
func engine(tree fs.FS, family string) string {
	switch {
	case family == Deno || family == Bun:
		return family
	case family == "" && (isFile(tree, "deno.json") || isFile(tree, "deno.jsonc")):
		return Deno
	case family == "" && isFile(tree, "bunfig.toml"):
		return Bun
	default:
		return Node
	}
}

// guessNode knows JavaScript and TypeScript, for Node.js, Deno and Bun. Only the
// first of them has to have TypeScript bundled.
func guessNode(tree fs.FS, family string) (Guess, bool, error) {
	runner := engine(tree, family)
	if runner == Node {
		if g, ok := guessJavaScript(tree); ok {
			return g, true, nil
		}
	}
	for _, file := range slices.Concat(typeScriptFiles, nodeFiles) {
		m := nodeHandler.FindStringSubmatch(source(tree, file))
		if m == nil || runner == Node && path.Ext(file) != ".ts" && path.Ext(file) != ".mts" {
			continue
		}
		name := m[1] + m[2] + m[3]
		g := Guess{Family: runner, Handler: strings.TrimSuffix(file, path.Ext(file)) + "." + name, Because: []string{file + " exports " + name}}
		if runner != Node && family == "" {
			g.Because = append(g.Because, "there is a configuration of "+runner)
		}
		if runner == Node {
			g.Build, g.Entry = BuildTypeScript, file
			var pkg packageJSON
			_ = json.Unmarshal([]byte(source(tree, "package.json")), &pkg) // as below
			pkg.version(tree, &g)
		}
		return g, true, nil
	}
	return Guess{}, false, nil
}

// typeScriptOf is the file that a handler is in, if only TypeScript can be meant.
func typeScriptOf(tree fs.FS, handler string) string {
	base := path.Base(handler)
	file, _, _ := strings.Cut(base, ".")
	at := path.Join(path.Dir(handler), file)
	for _, ext := range []string{"", ".js", ".mjs", ".cjs"} {
		if isFile(tree, at+ext) {
			return ""
		}
	}
	for _, ext := range []string{".ts", ".mts"} {
		if isFile(tree, at+ext) {
			return at + ext
		}
	}
	return ""
}

var typeScriptFiles = []string{"index.ts", "handler.ts", "src/index.ts", "src/handler.ts", "index.mts", "app.ts", "main.ts", "lambda.ts", "src/app.ts", "src/main.ts"}

func guessJavaScript(tree fs.FS) (g Guess, ok bool) {
	var pkg packageJSON
	// A package.json that cannot be read says nothing; Node will say what is wrong.
	_ = json.Unmarshal([]byte(source(tree, "package.json")), &pkg)
	var files []string
	if pkg.Main != "" && fs.ValidPath(path.Clean(pkg.Main)) {
		main := path.Clean(pkg.Main)
		files = append(files, main, main+".js")
	}
	for _, file := range append(files, nodeFiles...) {
		m := nodeHandler.FindStringSubmatch(source(tree, file))
		if m == nil {
			continue
		}
		name := m[1] + m[2] + m[3]
		g = Guess{Family: Node, Handler: strings.TrimSuffix(file, path.Ext(file)) + "." + name, Because: []string{file + " exports " + name}}
		pkg.version(tree, &g)
		return g, true
	}
	return Guess{}, false
}

// version puts the runtime into the guess where the tree says which.
func (p packageJSON) version(tree fs.FS, g *Guess) {
	for _, hint := range []struct{ from, text string }{{"engines in package.json", p.Engines.Node}, {".nvmrc", source(tree, ".nvmrc")}} {
		// ">=18" leaves the choice open; "20.x" does not.
		if v := versionNumber.FindString(hint.text); v != "" && !strings.ContainsAny(hint.text, "<>|*") {
			major, _, _ := strings.Cut(v, ".")
			g.Runtime = Node + major + ".x"
			g.Because = append(g.Because, fmt.Sprintf("%s says %s", hint.from, strings.TrimSpace(hint.text)))
			return
		}
	}
}
