package project

import (
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
)

// Guess is what the files of a tree suggest.
type Guess struct {
	Family  string // "python"
	Runtime string // "python3.12" where the files name the version, or ""
	Handler string
	Because []string // reasons, each a clause for the person who deploys
	// Jar is the path of a built archive that is the code, instead of the tree.
	Jar string
	// GoBuild tells that the tree is a Go program that has to be built first.
	GoBuild bool
}

// FamilyOf is the family of a runtime name: "python" of "python3.12".
func FamilyOf(runtime string) string {
	for _, family := range []string{Python, Node, Java, Provided} {
		if strings.HasPrefix(runtime, family) {
			return family
		}
	}
	return ""
}

// maxSource bounds how much of a file is looked at, in bytes.
const maxSource = 1 << 20

// guesser looks for one family. ok is false when there is no sign of it.
type guesser func(tree fs.FS) (g Guess, ok bool, err error)

// Look guesses the runtime and the handler of a tree. What the caller knows
// already, the name of the runtime and the handler, is taken as given. Its errors
// have CodeInvalid and say what to do.
func Look(tree fs.FS, runtime, handler string) (Guess, error) {
	family := FamilyOf(runtime)
	var found []Guess
	for _, look := range []guesser{guessProvided, guessPython, guessNode, guessJava, guessGo} {
		g, ok, err := look(tree)
		if err != nil {
			return Guess{}, err
		}
		if ok && (family == "" || family == g.Family) {
			found = append(found, g)
		}
	}
	if len(found) > 1 {
		// A program that is there already wins over the source it was built from.
		found = slices.DeleteFunc(found, func(g Guess) bool { return g.GoBuild })
	}
	g := Guess{Family: family}
	switch {
	case len(found) == 1 || len(found) > 1 && found[0].Family == Provided:
		g = found[0]
	case len(found) > 1:
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "the files suggest both %s (%s) and %s (%s): choose with --runtime and --handler",
			found[0].Family, found[0].Handler, found[1].Family, found[1].Handler)
	case runtime == "":
		return Guess{}, unknown(tree)
	}
	if runtime != "" {
		g.Runtime = runtime
	}
	if handler != "" {
		g.Handler = handler
	}
	if g.Handler == "" && g.Family == Provided {
		g.Handler = "bootstrap"
	}
	if g.Handler == "" {
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "no handler found in the files for %s: name it with --handler, %s", g.Family, handlerForms[g.Family])
	}
	return g, nil
}

var handlerForms = map[string]string{
	Python:   "such as app.handler for the function handler of app.py",
	Node:     "such as index.handler for the export handler of index.js",
	Java:     "such as example.Handler::handleRequest",
	Provided: "any text",
	"":       "in the form the runtime wants",
}

// unknown explains a tree that no guesser knows.
func unknown(tree fs.FS) error {
	for _, hint := range []struct{ file, text string }{
		{"Cargo.toml", "this is a Rust crate: build it for Linux (cargo build --release), put the program into a directory as the file bootstrap, and deploy that"},
		{"pom.xml", "there is no jar yet: run mvn package first"},
		{"build.gradle", "there is no jar yet: run gradle build first"},
		{"build.gradle.kts", "there is no jar yet: run gradle build first"},
		{"tsconfig.json", "this is TypeScript: compile it first, and deploy the directory with the .js files"},
		{"index.ts", "this is TypeScript: compile it first, and deploy the directory with the .js files"},
	} {
		if isFile(tree, hint.file) {
			return lambent.Errorf(lambent.CodeInvalid, "%s", hint.text)
		}
	}
	return lambent.Errorf(lambent.CodeInvalid, "cannot tell what to run: there is no %s with a handler, no jar and no program named bootstrap; name both --runtime and --handler",
		strings.Join([]string{pythonFiles[0], pythonFiles[1], nodeFiles[1]}, ", "))
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

func guessProvided(tree fs.FS) (Guess, bool, error) {
	if !isFile(tree, "bootstrap") {
		return Guess{}, false, nil
	}
	return Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Because: []string{"there is a program named bootstrap"}}, true, nil
}

func guessGo(tree fs.FS) (Guess, bool, error) {
	if !isFile(tree, "go.mod") {
		return Guess{}, false, nil
	}
	return Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", GoBuild: true, Because: []string{"go.mod makes it a Go program"}}, true, nil
}

var (
	pythonFiles   = []string{"lambda_function.py", "app.py", "main.py", "index.py", "handler.py", "function.py"}
	pythonHandler = regexp.MustCompile(`(?m)^(?:async[ \t]+)?(?:def[ \t]+(lambda_handler|handler)[ \t]*\(|(lambda_handler|handler)[ \t]*=[^=])`)
	versionNumber = regexp.MustCompile(`\d+(?:\.\d+)?`)
)

func guessPython(tree fs.FS) (Guess, bool, error) {
	files := slices.Concat(pythonFiles, others(tree, ".py", pythonFiles))
	for _, file := range files {
		m := pythonHandler.FindStringSubmatch(source(tree, file))
		if m == nil {
			continue
		}
		name := m[1] + m[2]
		g := Guess{Family: Python, Handler: strings.TrimSuffix(file, ".py") + "." + name, Because: []string{file + " defines " + name}}
		if v := versionNumber.FindString(source(tree, ".python-version")); strings.Contains(v, ".") {
			g.Runtime = Python + v
			g.Because = append(g.Because, ".python-version says "+v)
		}
		return g, true, nil
	}
	return Guess{}, false, nil
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

func guessNode(tree fs.FS) (Guess, bool, error) {
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
		g := Guess{Family: Node, Handler: strings.TrimSuffix(file, path.Ext(file)) + "." + name, Because: []string{file + " exports " + name}}
		for _, hint := range []struct{ from, text string }{{"engines in package.json", pkg.Engines.Node}, {".nvmrc", source(tree, ".nvmrc")}} {
			// ">=18" leaves the choice open; "20.x" does not.
			if v := versionNumber.FindString(hint.text); v != "" && !strings.ContainsAny(hint.text, "<>|*") {
				major, _, _ := strings.Cut(v, ".")
				g.Runtime = Node + major + ".x"
				g.Because = append(g.Because, fmt.Sprintf("%s says %s", hint.from, strings.TrimSpace(hint.text)))
				break
			}
		}
		return g, true, nil
	}
	return Guess{}, false, nil
}
