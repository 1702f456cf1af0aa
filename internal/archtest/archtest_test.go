package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "lambent.dev/lambent"

// floors places every room; imports go down only. A new package fails the tests
// until it is placed here.
var floors = map[string]int{
	"cmd/lambent": 10,
	"bench":       10,
	"bench/echo":  10,

	"internal/cli":         9,
	"internal/cli/project": 8,
	"internal/cli/build":   8,

	"internal/server": 8,

	"internal/lambdaapi": 7,
	"internal/logsapi":   7,
	"internal/stsapi":    7,
	"internal/iamapi":    7,
	"internal/httpapi":   7,
	"internal/trigger":   7,

	"internal/schedulerapi": 7,

	"internal/gateway": 7,

	"internal/gateway/proxy": 7,

	"internal/gateway/event": 2,
	"internal/gateway/route": 2,
	"internal/gateway/certs": 2,

	"internal/queryapi": 6,

	"internal/invoke": 6,
	"internal/scale":  6,

	"internal/rollout": 6,
	"internal/async":   6,

	"internal/scale/decide": 3,

	"internal/pool":    5,
	"internal/prepare": 5,

	"internal/sandbox/linux": 4,
	"internal/sandbox/fake":  4,
	"internal/sandbox/wasm":  4,

	"internal/predict": 2,

	"internal/runtimeapi/relay": 2,

	"internal/catalog":    3,
	"internal/image":      3,
	"internal/runtimeapi": 3,
	"internal/runtimes":   3,

	"internal/backup":   2,
	"internal/iam":      2,
	"internal/artifact": 2,
	"internal/sandbox":  2,
	"internal/logs":     2,
	"internal/auth":     2,
	"internal/client":   2,

	"internal/iam/policy": 1,

	"internal/store":     1,
	"internal/telemetry": 1,
	"internal/config":    1,
	"internal/httpwire":  1,
	"internal/cron":      1,
	"internal/chart":     1,
	"internal/filetree":  1,
	"runtimes":           1,

	"internal/eventstream": 1,

	".": 0,
}

// exceptions are imports on one floor, each with its reason.
var exceptions = map[string]string{}

// testing are packages that only tests import; they may know anything.
var testing_ = []string{"internal/sandbox/sandboxtest", "internal/store/storetest", "internal/artifact/s3test", "internal/image/imagetest", "internal/gateway/certs/acmetest", "internal/archtest", "test/"}

// fences say which packages may import a technology.
var fences = []struct {
	prefix  string
	allowed []string
	reason  string
}{
	{"modernc.org/sqlite", []string{"internal/store"}, "one owner of the database"},
	{"database/sql", []string{"internal/store"}, "one owner of the database"},
	{"github.com/jackc/pgx", []string{"internal/store"}, "one owner of the database"},
	{"github.com/google/nftables", []string{"internal/sandbox/linux"}, "the kernel belongs to the driver"},
	{"github.com/vishvananda/netlink", []string{"internal/sandbox/linux"}, "the kernel belongs to the driver"},
	{"github.com/evanw/esbuild", []string{"internal/cli/build"}, "one builder of bundles"},
	{"github.com/BurntSushi/toml", []string{"internal/cli/build"}, "what other tools configure is read in one place"},
	{"github.com/spf13/cobra", []string{"internal/cli"}, "commands live in one room"},
	{"github.com/prometheus/", []string{"internal/telemetry"}, "metrics are on one page"},
	{"go.opentelemetry.io/", []string{"internal/telemetry"}, "spans are made in one place"},
	{"github.com/aws/aws-sdk-go-v2/service/s3", []string{"internal/artifact"}, "code comes in through one door"},
	{"github.com/google/go-containerregistry", []string{"internal/image"}, "images come in through one room"},
	{"github.com/containerd/stargz-snapshotter/estargz", []string{"internal/artifact"}, "one reader of layers"},
	{"github.com/hanwen/go-fuse", []string{"internal/sandbox/linux"}, "the kernel belongs to the driver"},
	{"k8s.io/", []string{"internal/sandbox/kube"}, "clusters are a driver"},
	{"github.com/tetratelabs/wazero", []string{"internal/sandbox/wasm"}, "wasm is a driver"},
	{"github.com/caddyserver/certmagic", []string{"internal/gateway/certs"}, "certificates are got in one place"},
	{"github.com/andybalholm/brotli", []string{"internal/gateway"}, "answers are compressed in one place"},
	{"github.com/mholt/acmez", []string{"internal/gateway/certs"}, "certificates are got in one place"},
	{"go.uber.org/zap", []string{"internal/gateway/certs"}, "log/slog only, but for a library that wants another"},
	{"github.com/golang-jwt/", []string{"internal/gateway/route"}, "tokens are checked in one place"},
}

// longestChain is the longest chain of imports inside the module that a reader
// has to follow.
const longestChain = 8

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
	Incomplete bool
}

func (p pkg) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if !isTesting(p.name()) && len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func isTesting(name string) bool {
	return slices.ContainsFunc(testing_, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// generator tells whether a package only makes source files.
func generator(name string) bool { return strings.Contains(name, "/internal/") }

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		if generator(p.name()) {
			continue
		}
		from, placed := floors[p.name()]
		if !placed {
			t.Errorf("%s is on no floor: place it in floors", p.name())
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			to = strings.TrimPrefix(to, "/")
			if to == "" {
				to = "."
			}
			edge := p.name() + " > " + to
			if floors[to] >= from && exceptions[edge] == "" {
				t.Errorf("%s: imports go down only (floor %d to %d)", edge, from, floors[to])
			}
		}
	}
}

func TestFences(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range fences {
			for _, imp := range p.Imports {
				if strings.HasPrefix(imp, f.prefix) && !slices.Contains(f.allowed, p.name()) {
					t.Errorf("%s imports %s: %s (allowed: %v)", p.name(), imp, f.reason, f.allowed)
				}
			}
		}
	}
}

// What is shipped, and what measures it, links nothing that only tests need.
func TestNoTestLibraryIsLinked(t *testing.T) {
	for _, program := range []string{"./cmd/lambent", "./bench", "./bench/echo"} {
		cmd := exec.Command("go", "list", "-deps", program)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if slices.Contains(strings.Fields(string(out)), "testing") {
			t.Errorf("%s links package testing", program)
		}
	}
}

func TestRootUsesStandardLibraryOnly(t *testing.T) {
	for _, p := range packages(t) {
		if p.name() != "." {
			continue
		}
		for _, imp := range p.Imports {
			if strings.Contains(strings.Split(imp, "/")[0], ".") || imp == "net/http" || imp == "os" {
				t.Errorf("the vocabulary imports %s", imp)
			}
		}
	}
}

func TestLongestImportChain(t *testing.T) {
	imports := map[string][]string{}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if rest, ours := strings.CutPrefix(imp, module); ours {
				to := strings.TrimPrefix(rest, "/")
				if to == "" {
					to = "."
				}
				imports[p.name()] = append(imports[p.name()], to)
			}
		}
	}
	longest := map[string][]string{}
	var walk func(name string) []string
	walk = func(name string) []string {
		if chain, known := longest[name]; known {
			return chain
		}
		var best []string
		for _, to := range imports[name] {
			if chain := walk(to); len(chain) > len(best) {
				best = chain
			}
		}
		longest[name] = append([]string{name}, best...)
		return longest[name]
	}
	for name := range maps.Keys(imports) {
		// cmd and the chain's start are the ends of the walk, not links of it.
		if chain := walk(name); len(chain)-1 > longestChain+1 {
			t.Errorf("import chain of %d: %s", len(chain)-1, strings.Join(chain, " > "))
		}
	}
}

func TestNoDrawers(t *testing.T) {
	for _, p := range packages(t) {
		switch filepath.Base(p.name()) {
		case "util", "utils", "common", "helper", "helpers", "types", "models", "misc", "shared":
			t.Errorf("%s: a package is named for what it owns", p.name())
		}
	}
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	for _, p := range packages(t) {
		var docs []string
		eachFile(t, p, parser.ParseComments|parser.PackageClauseOnly, func(name string, _ *token.FileSet, f *ast.File) {
			if f.Doc != nil {
				docs = append(docs, name)
			}
		})
		if len(docs) != 1 {
			t.Errorf("%s: want one file with a package doc, have %v", p.name(), docs)
		}
	}
}

// Budgets, with the exempt by name. Generated files are exempt.
const (
	maxFileLines     = 500
	maxFunctionLines = 70
)

var longFiles = map[string]string{}

var longFunctions = map[string]string{}

func TestSizes(t *testing.T) {
	for _, p := range packages(t) {
		eachFile(t, p, parser.ParseComments, func(name string, fset *token.FileSet, f *ast.File) {
			if ast.IsGenerated(f) {
				return
			}
			rel := p.name() + "/" + name
			if lines := fset.Position(f.End()).Line; lines > maxFileLines && longFiles[rel] == "" {
				t.Errorf("%s has %d lines, more than %d", rel, lines, maxFileLines)
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
				key := rel + ":" + fn.Name.Name
				if lines > maxFunctionLines && longFunctions[key] == "" {
					t.Errorf("%s has %d lines, more than %d", key, lines, maxFunctionLines)
				}
			}
		})
	}
}

// spine is the function that tells the whole story; it stays on one screen.
func TestSpineFitsAScreen(t *testing.T) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "../invoke/invoke.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "Invoke" {
			if lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; lines > 60 {
				t.Errorf("Invoke has %d lines", lines)
			}
			return
		}
	}
	t.Error("no Invoke in internal/invoke/invoke.go")
}

func TestEnvironmentIsReadInOnePlace(t *testing.T) {
	for _, p := range packages(t) {
		if p.name() == "internal/config" || strings.HasPrefix(p.name(), "cmd/") || p.name() == "bench" || generator(p.name()) {
			continue
		}
		eachFile(t, p, 0, func(name string, fset *token.FileSet, f *ast.File) {
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" {
					switch sel.Sel.Name {
					case "Getenv", "LookupEnv", "Environ":
						if rel := p.name() + "/" + name; environment[rel] == "" {
							t.Errorf("%s: os.%s outside config and cmd", fset.Position(sel.Pos()), sel.Sel.Name)
						}
					}
				}
				return true
			})
		})
	}
}

// environment lists the files that may read it, with the reason.
var environment = map[string]string{
	"internal/cli/cli.go": "the one place where the command line meets the operating system",
	"bench/echo/main.go":  "a function",
}

func eachFile(t *testing.T, p pkg, mode parser.Mode, visit func(name string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	for _, name := range p.GoFiles {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		visit(name, fset, f)
	}
}

// TestReadmeIsShort keeps the README something that one reads: the rest is in docs.
func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 120 {
		t.Errorf("it has %d lines, 120 are allowed", n)
	}
}

// TestDocumentsNameWhatExists looks up every path in the written documents.
func TestDocumentsNameWhatExists(t *testing.T) {
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	for _, doc := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "RATIONALE.md"} {
		docs = append(docs, "../../"+doc)
	}
	for _, doc := range docs {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Errorf("read %s: %v", doc, err)
			continue
		}
		for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \n\t`()[],;|\"'", r) }) {
			word = strings.TrimRight(word, ".:/")
			first, _, deep := strings.Cut(word, "/")
			if !deep || !slices.Contains([]string{"internal", "cmd", "runtimes", "test", "bench", "scripts", "examples", "docs"}, first) {
				continue
			}
			if strings.ContainsAny(word, "*<>{}") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", word)); err != nil {
				t.Errorf("%s names %s: %v", doc, word, fmt.Sprint(err))
			}
		}
	}
}
