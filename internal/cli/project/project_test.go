package project

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"lambent.dev/lambent"
)

// files makes a tree of names and texts.
func files(pairs ...string) fstest.MapFS {
	tree := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		tree[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return tree
}

func TestLook(t *testing.T) {
	for name, tt := range map[string]struct {
		tree             fs.FS
		runtime, handler string // known
		want             Guess
	}{
		"python, AWS's own name": {tree: files("lambda_function.py", "import json\n\ndef lambda_handler(event, context):\n    pass\n"),
			want: Guess{Family: Python, Handler: "lambda_function.lambda_handler"}},
		"python app":     {tree: files("app.py", "def handler (e, c): return e"), want: Guess{Family: Python, Handler: "app.handler"}},
		"python async":   {tree: files("main.py", "async def handler(e, c): ..."), want: Guess{Family: Python, Handler: "main.handler"}},
		"python assign":  {tree: files("index.py", "handler = make()"), want: Guess{Family: Python, Handler: "index.handler"}},
		"python other":   {tree: files("util.py", "x = 1", "zebra.py", "def handler(e, c): 1"), want: Guess{Family: Python, Handler: "zebra.handler"}},
		"python version": {tree: files("app.py", "def handler(e, c): 1", ".python-version", "3.11.4\n"), want: Guess{Family: Python, Runtime: "python3.11", Handler: "app.handler"}},
		"python packages": {tree: files("app.py", "def handler(e, c): 1", "numpy/_core/_x.cpython-311-x86_64-linux-gnu.so", "", "cryptography/_rust.abi3.so", ""),
			want: Guess{Family: Python, Runtime: "python3.11", Handler: "app.handler"}},
		"python packages, version": {tree: files("app.py", "def handler(e, c): 1", "x.cpython-311-x86_64-linux-gnu.so", "", ".python-version", "3.12"),
			want: Guess{Family: Python, Runtime: "python3.12", Handler: "app.handler"}},
		"python packages for any": {tree: files("app.py", "def handler(e, c): 1", "x.cpython-311-x86_64-linux-gnu.so", "", "x.cpython-312-x86_64-linux-gnu.so", ""),
			want: Guess{Family: Python, Handler: "app.handler"}},
		"python environment": {tree: files("app.py", "def handler(e, c): 1", "env/pyvenv.cfg", "", "env/lib/x.cpython-311-x86_64-linux-gnu.so", ""),
			want: Guess{Family: Python, Handler: "app.handler"}},
		"python known runtime": {tree: files("app.py", "def handler(e, c): 1", ".python-version", "3.11\n"), runtime: "python3.9",
			want: Guess{Family: Python, Runtime: "python3.9", Handler: "app.handler"}},
		"node cjs":          {tree: files("index.js", "exports.handler = async () => 1"), want: Guess{Family: Node, Handler: "index.handler"}},
		"node module":       {tree: files("index.js", "module.exports.handler = () => 1"), want: Guess{Family: Node, Handler: "index.handler"}},
		"node object":       {tree: files("app.js", "const handler = 1\nmodule.exports = { handler }"), want: Guess{Family: Node, Handler: "app.handler"}},
		"node esm":          {tree: files("index.mjs", "import x from 'y'\nexport const handler = async (e) => e"), want: Guess{Family: Node, Handler: "index.handler"}},
		"node esm function": {tree: files("index.mjs", "export async function handler(e) {}"), want: Guess{Family: Node, Handler: "index.handler"}},
		"node esm list":     {tree: files("index.mjs", "function handler() {}\nexport { a, handler }"), want: Guess{Family: Node, Handler: "index.handler"}},
		"node main": {tree: files("package.json", `{"main": "./src/run.js", "engines": {"node": "20.x"}}`, "src/run.js", "exports.handler = 1"),
			want: Guess{Family: Node, Runtime: "nodejs20.x", Handler: "src/run.handler"}},
		"node open range":                    {tree: files("package.json", `{"engines": {"node": ">=18"}}`, "index.js", "exports.handler = 1"), want: Guess{Family: Node, Handler: "index.handler"}},
		"provided":                           {tree: files("bootstrap", "\x7fELF"), want: Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap"}},
		"provided wins":                      {tree: files("bootstrap", "\x7fELF", "go.mod", "module x"), want: Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap"}},
		"go":                                 {tree: files("go.mod", "module x", "main.go", ""), want: Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Build: BuildGo}},
		"go in a module":                     {tree: files("main.go", "// Command x.\npackage main\n"), want: Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Build: BuildGo}},
		"go, al2":                            {tree: files("go.mod", "module x"), runtime: "provided.al2", want: Guess{Family: Provided, Runtime: "provided.al2", Handler: "bootstrap", Build: BuildGo}},
		"both, one chosen":                   {tree: files("app.py", "def handler(e, c): 1", "index.js", "exports.handler = 1"), runtime: "nodejs20.x", want: Guess{Family: Node, Runtime: "nodejs20.x", Handler: "index.handler"}},
		"all known":                          {tree: files("x.txt", ""), runtime: "ruby3.3", handler: "a.b", want: Guess{Family: Ruby, Runtime: "ruby3.3", Handler: "a.b"}},
		"ruby":                               {tree: files("lambda_function.rb", "def lambda_handler(event:, context:)\nend\n"), want: Guess{Family: Ruby, Handler: "lambda_function.lambda_handler"}},
		"ruby class":                         {tree: files("app.rb", "module Shop\n  class Handler\n    def self.process(event:, context:)\n    end\n  end\nend\n"), runtime: "ruby3.2", handler: "app.Shop::Handler.process", want: Guess{Family: Ruby, Runtime: "ruby3.2", Handler: "app.Shop::Handler.process"}},
		"php":                                {tree: files("index.php", "<?php\nfunction handler($event) {}"), want: Guess{Family: PHP, Handler: "index.handler"}},
		"php closure":                        {tree: files("index.php", "<?php\nreturn function ($event) {};"), want: Guess{Family: PHP, Handler: "index.php"}},
		"bash":                               {tree: files("main.sh", "handler() {\n  cat\n}\n"), want: Guess{Family: Bash, Runtime: "bash", Handler: "main.handler"}},
		"typescript":                         {tree: files("src/index.ts", "export const handler: Handler = async () => 1", "package.json", `{"engines": {"node": "20"}}`), want: Guess{Family: Node, Runtime: "nodejs20.x", Handler: "src/index.handler", Build: BuildTypeScript, Entry: "src/index.ts"}},
		"typescript by handler":              {tree: files("src/run.ts", "x"), runtime: "nodejs22.x", handler: "src/run.go", want: Guess{Family: Node, Runtime: "nodejs22.x", Handler: "src/run.go", Build: BuildTypeScript, Entry: "src/run.ts"}},
		"compiled":                           {tree: files("index.ts", "export const handler = 1", "index.js", "exports.handler = 1"), want: Guess{Family: Node, Handler: "index.handler"}},
		"deno":                               {tree: files("main.ts", "export function handler() {}", "deno.json", "{}"), want: Guess{Family: Deno, Handler: "main.handler"}},
		"bun":                                {tree: files("index.ts", "export function handler() {}", "bunfig.toml", ""), want: Guess{Family: Bun, Handler: "index.handler"}},
		"bun by runtime":                     {tree: files("index.ts", "export function handler() {}"), runtime: "bun1", want: Guess{Family: Bun, Runtime: "bun1", Handler: "index.handler"}},
		"wasm":                               {tree: files("hello.wasm", ""), want: Guess{Family: Wasm, Runtime: "wasm", Handler: "hello.wasm"}},
		"go for wasm":                        {tree: files("go.mod", "module x"), runtime: "wasm", want: Guess{Family: Wasm, Runtime: "wasm", Handler: "bootstrap.wasm", Build: BuildGoWasm}},
		"rust":                               {tree: files("Cargo.toml", ""), want: Guess{Family: Provided, Runtime: "provided.al2023", Handler: "bootstrap", Build: BuildRust}},
		"maven":                              {tree: files("pom.xml", ""), want: Guess{Family: Java, Build: BuildMaven}},
		"python with its own infrastructure": {tree: files("app.py", "def handler(e, c): 1", "index.ts", "export const handler = 1"), want: Guess{Family: Python, Handler: "app.handler"}},
		"handler known":                      {tree: files("x.py", ""), runtime: "python3.12", handler: "x.go", want: Guess{Family: Python, Runtime: "python3.12", Handler: "x.go"}},
		"handler alone":                      {tree: files("src/run.py", "", "README", ""), handler: "src.run.go", want: Guess{Family: Python, Handler: "src.run.go"}},
		"handler alone, typescript":          {tree: files("src/run.ts", ""), handler: "src/run.go", want: Guess{Family: Node, Handler: "src/run.go", Build: BuildTypeScript, Entry: "src/run.ts"}},
		"java in lib":                        {tree: files("lib/a.jar", "", "example/H.class", string(classFile("example/H", 0x21, handlerInterfaces[0]))), want: Guess{Family: Java, Handler: "example.H::handleRequest"}},
		"java jar": {tree: files("META-INF/MANIFEST.MF", "", "H.class", string(classFile("H", 0x21, handlerInterfaces[1])), "I.class", string(classFile("I", 0x621, handlerInterfaces[1]))),
			want: Guess{Family: Java, Handler: "H::handleRequest"}},
		"java built": {tree: files("pom.xml", "", "target/x-sources.jar", strings.Repeat("x", 9999), "target/x.jar", string(zipOf(t, "a/H.class", string(classFile("a/H", 0x21, handlerInterfaces[0]))))),
			want: Guess{Family: Java, Handler: "a.H::handleRequest", Jar: "target/x.jar"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Look(tt.tree, tt.runtime, tt.handler)
			if err != nil {
				t.Fatal(err)
			}
			got.Because = nil
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestLookRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		tree             fs.FS
		runtime, handler string
		want             string
	}{
		"nothing":         {tree: files("README", ""), want: "cannot tell what to run"},
		"no handler":      {tree: files("app.py", "x = 1"), runtime: "python3.12", want: "name it with --handler, such as app.handler"},
		"two":             {tree: files("app.py", "def handler(e, c): 1", "index.js", "exports.handler = 1"), want: "suggest both python (app.handler) and nodejs (index.handler)"},
		"gradle":          {tree: files("build.gradle", ""), want: "gradle build"},
		"typescript":      {tree: files("index.ts", "export const run = 1"), want: "index.ts exports no handler"},
		"two sources":     {tree: files("go.mod", "", "pom.xml", ""), want: "suggest both java (not built yet) and provided (bootstrap)"},
		"damaged jar":     {tree: files("target/x.jar", "nope"), want: "target/x.jar is damaged"},
		"two java":        {tree: files("META-INF/MANIFEST.MF", "", "A.class", string(classFile("A", 1, handlerInterfaces[0])), "B.class", string(classFile("B", 1, handlerInterfaces[0]))), want: "--handler, such as example.Handler::handleRequest"},
		"another name":    {tree: files("lambda_function.py", "import os\n\ndef handle(event, context): pass"), want: "cannot tell what to run: lambda_function.py has no handler; if it is handle, say so with --handler lambda_function.handle"},
		"another export":  {tree: files("index.js", "exports.main = async () => 1"), want: "--handler index.main"},
		"no function":     {tree: files("app.rb", "puts 1"), want: "app.rb has no handler; name one with --handler, such as app.handler"},
		"further below":   {tree: files("README", "", "src/app.py", "def handler(e, c): 1"), want: "there is nothing to run at the top, but there is in src: deploy that directory"},
		"two below":       {tree: files("a/app.py", "def handler(e, c): 1", "b/app.py", "def handler(e, c): 1"), want: "there is no lambda_function.py"},
		"rack":            {tree: files("config.ru", "", "app.rb", ""), want: "name what starts it with --command, such as 'bundle exec puma"},
		"go package":      {tree: files("x.go", "package x"), want: "cannot tell what to run"},
		"docker":          {tree: files("Dockerfile", "FROM x", "x.c", ""), want: "deploy that with --image"},
		"handler of two":  {tree: files("app.py", "", "app.js", ""), handler: "app.run", want: "app.py has no handler"},
		"handler, no way": {tree: files("x", ""), handler: "a.b", want: "cannot tell what to run"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := Look(tt.tree, tt.runtime, tt.handler)
			if err == nil || !strings.Contains(err.Error(), tt.want) || lambent.CodeOf(err) != lambent.CodeInvalid {
				t.Errorf("got %+v, %v, want %q", g, err, tt.want)
			}
		})
	}
}

// classFile writes the beginning of a class file.
func classFile(name string, access uint16, interfaces ...string) []byte {
	var b bytes.Buffer
	u2 := func(n int) { b.Write([]byte{byte(n >> 8), byte(n)}) }
	b.Write([]byte{0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61})
	texts := append([]string{name, "java/lang/Object"}, interfaces...)
	u2(2*len(texts) + 3) // and a long, which takes two places
	for _, text := range texts {
		b.WriteByte(tagUTF8)
		u2(len(text))
		b.WriteString(text)
	}
	b.WriteByte(tagLong)
	b.Write(make([]byte, 8))
	for i := range texts {
		b.WriteByte(tagClass)
		u2(i + 1)
	}
	class := len(texts) + 3
	u2(int(access))
	u2(class)
	u2(class + 1)
	u2(len(interfaces))
	for i := range interfaces {
		u2(class + 2 + i)
	}
	return b.Bytes()
}

func FuzzHandlerClass(f *testing.F) {
	f.Add(classFile("a/H", 0x21, handlerInterfaces[0]))
	f.Add([]byte{0xCA, 0xFE, 0xBA, 0xBE})
	f.Fuzz(func(t *testing.T, data []byte) {
		name, ok := handlerClass(data)
		if ok && name == "" {
			t.Error("a handler without a name")
		}
	})
}

func zipOf(t *testing.T, pairs ...string) []byte {
	t.Helper()
	a, err := Pack(files(pairs...), &Ignore{})
	if err != nil {
		t.Fatal(err)
	}
	return a.Zip
}

func TestIgnore(t *testing.T) {
	tree := files(IgnoreFile, "# comment\n*.log\n!keep.log\n/build\ndocs/*.md\n**/tmp/**\ndata/\n\\#odd\n")
	g, err := ReadIgnore(tree, []string{"extra.txt"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"a.log": true, "x/y/a.log": true, "keep.log": false, "x/keep.log": false,
		"build": true, "x/build": false, "docs/a.md": true, "docs/x/a.md": false,
		"tmp/a": true, "x/tmp/y/z": true, "tmp": false, "data": false, "#odd": true, "extra.txt": true, "a/extra.txt": true,
		"a.pyc": true, "lambent.yaml": true, "x/lambent.yaml": false, "node_modules/x/index.js": false, "index.js": false,
	} {
		if got := g.Match(name, false); got != want {
			t.Errorf("Match(%q) = %t", name, got)
		}
	}
	for name, want := range map[string]bool{"data": true, ".git": true, "x/__pycache__": true, "node_modules": false, "node_modules/.cache": true} {
		if got := g.Match(name, true); got != want {
			t.Errorf("Match(%q, dir) = %t", name, got)
		}
	}
	if _, err := ReadIgnore(files(IgnoreFile, "[a"), nil); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("malformed pattern: %v", err)
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!a", "x/a.log")
	f.Add("**/a/**/b", "a/a/b/b")
	f.Fuzz(func(t *testing.T, patterns, name string) {
		if len(patterns) > 200 || len(name) > 100 {
			t.Skip("longer patterns only take longer")
		}
		if strings.Count(patterns, "**") > 4 {
			t.Skip("each ** multiplies the ways to match")
		}
		g, err := ReadIgnore(files(IgnoreFile, patterns), nil)
		if err == nil {
			g.Match(name, false)
		}
	})
}

func TestPackIsDeterministic(t *testing.T) {
	tree := files("b.py", "b", "a/x.py", "x", "__pycache__/b.pyc", "no", ManifestFile, "name: x")
	tree["run"] = &fstest.MapFile{Data: []byte("#!"), Mode: 0o700}
	tree["link"] = &fstest.MapFile{Data: []byte("a/x.py"), Mode: fs.ModeSymlink | 0o777}
	ignore, err := ReadIgnore(tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, err := Pack(tree, ignore)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tree {
		f.ModTime = stamp.AddDate(40, 0, 0)
	}
	two, err := Pack(tree, ignore)
	if err != nil || !bytes.Equal(one.Zip, two.Zip) {
		t.Fatalf("the same files made other bytes (%v)", err)
	}
	r, err := zip.NewReader(bytes.NewReader(one.Zip), int64(len(one.Zip)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.File {
		got = append(got, f.Name+" "+f.Mode().String())
	}
	want := []string{"a/x.py -rw-r--r--", "b.py -rw-r--r--", "link Lrwxrwxrwx", "run -rwxr-xr-x"}
	if !slices.Equal(got, want) || one.Files != 4 {
		t.Errorf("got %d files %q, want %q", one.Files, got, want)
	}
}

// Directories that have nothing to deploy are there all the same; those that are left
// out are not.
func TestPackEmptyDirectories(t *testing.T) {
	tree := files("app.py", "x", "storage/logs/.gitignore", "*", "kept/a.txt", "a", "node_modules/.cache/x", "x", "lib/__pycache__/a.pyc", "x")
	tree["uploads"] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
	ignore, err := ReadIgnore(tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Pack(tree, ignore)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(packed.Zip), int64(len(packed.Zip)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.File {
		got = append(got, f.Name)
	}
	if want := []string{"app.py", "kept/a.txt", "lib/", "node_modules/", "storage/logs/", "uploads/"}; !slices.Equal(got, want) || packed.Files != 2 {
		t.Errorf("packed %q, %d files", got, packed.Files)
	}
}

func TestPackRefuses(t *testing.T) {
	link := func(name, target string) fstest.MapFS {
		return fstest.MapFS{name: {Data: []byte(target), Mode: fs.ModeSymlink}}
	}
	for name, tt := range map[string]struct {
		tree fs.FS
		code lambent.Code
		want string
	}{
		"link up":       {link("a", "../x"), lambent.CodeInvalid, "a is a link to ../x"},
		"link absolute": {link("a/b", "/etc/passwd"), lambent.CodeInvalid, "not in the directory"},
		"link through":  {link("a/b", "c/../../../x"), lambent.CodeInvalid, "not in the directory"},
		"pipe":          {fstest.MapFS{"p": {Mode: fs.ModeNamedPipe}}, lambent.CodeInvalid, "p is not a file"},
		"empty":         {fstest.MapFS{}, lambent.CodeInvalid, "no file to deploy"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Pack(tt.tree, &Ignore{})
			if lambent.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := CheckSize(lambent.MaxZipUpload); err != nil {
		t.Error(err)
	}
	if err := CheckSize(lambent.MaxZipUpload + 1); lambent.CodeOf(err) != lambent.CodeTooLarge {
		t.Error(err)
	}
}

func TestLargest(t *testing.T) {
	ignore := &Ignore{}
	if err := ignore.add("/cache/"); err != nil {
		t.Fatal(err)
	}
	tree := files("app.py", "some text", "node_modules/small/a.js", "x", "node_modules/large/lib/a.js", strings.Repeat("x", 3<<20), "node_modules/large/b.js", "x",
		"cache/y", strings.Repeat("x", 4<<20))
	if got, want := largest(tree, ignore), "; node_modules/large has most, 3 MB"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestPackRealDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"app.py": 0o600, "tool": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("tool", filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	a, err := Pack(root.FS(), &Ignore{})
	if err != nil || a.Files != 3 {
		t.Fatalf("%d files, %v", a.Files, err)
	}
}

func TestManifest(t *testing.T) {
	m, err := ReadManifest(files(ManifestFile, "name: a\ntimeout: 2m\nmemory: 256\nenv: {A: '1', B: x}\nlayers: [l]\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := m.Over(Manifest{Name: "b", Env: map[string]string{"B": "y"}})
	want := Manifest{Name: "b", Timeout: 120, Memory: 256, Env: map[string]string{"A": "1", "B": "y"}, Layers: []string{"l"}}
	if got.Ignore = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if m.Env["B"] != "x" {
		t.Error("Over changed its receiver")
	}
	if empty, err := ReadManifest(files()); err != nil || !reflect.DeepEqual(empty, Manifest{}) {
		t.Errorf("no manifest: %+v, %v", empty, err)
	}
	for text, want := range map[string]string{
		"nmae: x\n":         "lambent.yaml:1: unknown field",
		"\ntimeout: soon\n": "want whole seconds",
		"timeout: 1.5s\n":   "want whole seconds",
	} {
		if _, err := ReadManifest(files(ManifestFile, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFunctionName(t *testing.T) {
	for base, want := range map[string]string{
		"hello": "hello", "hello.zip": "hello", "my app (2)": "my-app-2", "..": "", "ünï": "n", "a.b.jar": "a-b",
		strings.Repeat("x", 80): strings.Repeat("x", 64),
	} {
		if got := FunctionName(base); got != want {
			t.Errorf("FunctionName(%q) = %q, want %q", base, got, want)
		}
	}
}
