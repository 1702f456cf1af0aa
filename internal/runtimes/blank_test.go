package runtimes_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// testdata is a folder of this package's own functions.
func testdata(t *testing.T, path string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func probe(t *testing.T, runtime string, env map[string]string) *rig {
	t.Helper()
	r := start(t, function{runtime: runtime, handler: "probe.handler", dir: testdata(t, "python/plain"), env: env})
	r.expect("ready")
	return r
}

// What is drawn or kept by a process is not the same in two forks of a zygote.
func TestPythonOverForksIsFresh(t *testing.T) {
	for _, name := range pythonsFor(t) {
		t.Run(name, func(t *testing.T) {
			forks := 50
			if testing.Short() || name != "python3.12" {
				forks = 8
			}
			seen := map[string]bool{}
			for range forks {
				begun := time.Now()
				r := probe(t, name, nil)
				m := decode(t, r.invoke("response", `{"do": "fresh"}`).body)
				for _, what := range []string{"random", "seeded", "uuid4", "urandom", "ssl", "authkey", "tempname"} {
					value := fmt.Sprint(what, m[what])
					if seen[value] {
						t.Fatalf("two forks have the same %s", value)
					}
					seen[value] = true
				}
				if m["pid"] != 1.0 || m["native_id"] != true || m["main_thread"] != true {
					t.Fatalf("fork is %v", m)
				}
				if age, now := m["age"].(float64), m["now"].(float64); age < 0 || age > time.Since(begun).Seconds() ||
					now < float64(begun.Unix()) {
					t.Fatalf("fork of %v is %v s old at %v", begun, age, now)
				}
				r.process.kill()
			}
		})
	}
}

// A fork does everything that a process which was started does.
func TestPythonOverForksWorks(t *testing.T) { everythingWorks(t) }

func TestPythonOverBlanksWorks(t *testing.T) { everythingWorks(t) }

func everythingWorks(t *testing.T) {
	t.Helper()
	want := `{"threads":[0,1,2,3,4,5,6,7],"pool":[3,2,1],"asyncio":[[1,2],"hi"],"subprocess":"hi","signal":[14],` +
		`"multiprocessing":[{"from":"child"},null,0],"fork":7,"sqlite3":42,"ssl":true,"ctypes":5}`
	for _, name := range pythonsFor(t) {
		t.Run(name, func(t *testing.T) {
			got := probe(t, name, nil).invoke("response", `{"do": "works"}`)
			if have := decode(t, got.body); !reflect.DeepEqual(have, decode(t, want)) {
				t.Errorf("got %s\nwant %s", got.body, want)
			}
		})
	}
}

// A function sees its own environment and nothing of the blank's or ours, wherever
// it looks.
func TestPythonOverForksEnvironment(t *testing.T)  { environmentIsOwn(t) }
func TestPythonOverBlanksEnvironment(t *testing.T) { environmentIsOwn(t) }

func environmentIsOwn(t *testing.T) {
	t.Helper()
	r := probe(t, "python3.12", map[string]string{"OWN": "é=1", "PATH": "/mine:/usr/bin", "TZ": "Asia/Tokyo"})
	m := decode(t, r.invoke("response", `{"do": "env"}`).body)
	for place, vars := range m {
		vars := vars.(map[string]any)
		if vars["OWN"] != "é=1" || vars["PATH"] != "/mine:/usr/bin" || vars["_HANDLER"] != "probe.handler" {
			t.Errorf("%s has %v", place, vars)
		}
		for name := range vars {
			if strings.HasPrefix(name, "LAMBENT_") {
				t.Errorf("%s shows %s", place, name)
			}
		}
	}
	fresh := freshEnvironment(t)
	have := m["os"].(map[string]any)
	for name := range have {
		if _, ok := fresh[name]; !ok && name != "OWN" {
			t.Errorf("a process that was started has no %s", name)
		}
	}
	for name := range fresh {
		if _, ok := have[name]; !ok {
			t.Errorf("a process that was started has %s", name)
		}
	}
}

func freshEnvironment(t *testing.T) map[string]any {
	t.Helper()
	return decode(t, probeFresh(t, "python3.12").invoke("response", `{"do": "env"}`).body)["os"].(map[string]any)
}

// probeFresh starts the probe from nothing, in a test that starts others otherwise.
func probeFresh(t *testing.T, runtime string) *rig {
	t.Helper()
	var r *rig
	originOverride = "fresh"
	defer func() { originOverride = "" }()
	r = probe(t, runtime, nil)
	return r
}

// Whatever a function can look at is as if its process had been started for it.
func TestPythonOverForksLooksFresh(t *testing.T)  { looksFresh(t) }
func TestPythonOverBlanksLooksFresh(t *testing.T) { looksFresh(t) }

func looksFresh(t *testing.T) {
	t.Helper()
	for _, name := range pythonsFor(t) {
		t.Run(name, func(t *testing.T) {
			fresh := decode(t, probeFresh(t, name).invoke("response", `{"do": "state"}`).body)
			have := decode(t, probe(t, name, nil).invoke("response", `{"do": "state"}`).body)
			for what := range fresh {
				if !reflect.DeepEqual(have[what], fresh[what]) {
					t.Errorf("%s is %v, in a process that was started %v", what, have[what], fresh[what])
				}
			}
		})
	}
}

// A blank that does not suit its function starts over, and the function never knows.
func TestPythonOverForksStartsOver(t *testing.T) {
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	v := &lambent.Version{Namespace: "000000000000", Function: "fn", Number: "1", Runtime: "python3.12", Handler: "probe.handler", MemoryMB: 256}
	rt, err := c.Resolve(v)
	if err != nil {
		t.Skip(err)
	}
	v.Env = map[string]string{"PYTHONHASHSEED": "1", "PYTHONUNBUFFERED": "1"}
	if own, err := c.Resolve(v); err != nil || own.Blank != nil {
		t.Fatalf("blank %v, %v", own.Blank, err)
	}
	r := startWith(t, rt, v, testdata(t, "python/plain"), 0)
	r.expect("ready")
	m := decode(t, r.invoke("response", `{"do": "env"}`).body)["os"].(map[string]any)
	if m["PYTHONHASHSEED"] != "1" || m["LAMBENT_CONTROL"] != nil {
		t.Errorf("environment %v", m)
	}
	flags := decode(t, r.invoke("response", `{"do": "state"}`).body)
	if fmt.Sprint(flags["cmdline"]) == "" || !slices.Contains(flags["flags"].([]any), any(1.0)) {
		t.Errorf("the process is %v", flags)
	}
}

// The modules that the function's import has brought in are told, and nothing else.
func TestPythonOverForksTellsModules(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "main.py", "import json, sqlite3, uuid, main_helper, xml.etree.ElementTree, _strptime\ndef handler(e, c): pass\n")
	write(t, dir, "main_helper.py", "import csv\n")
	r := start(t, function{runtime: "python3.12", handler: "main.handler", dir: dir})
	r.expect("ready")
	f := r.process.(*forked)
	<-f.done
	got := f.told()
	for name, want := range map[string]bool{"sqlite3": true, "uuid": false, "xml": true, "json": false, "csv": false,
		"main": false, "main_helper": false, "_strptime": false, "lambent_log": false, "xml.etree": false} {
		if slices.Contains(got, name) != want {
			t.Errorf("told %q: %s is there: %v, want %v", got, name, !want, want)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	at := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func resolved(t *testing.T, v *lambent.Version) sandbox.Runtime {
	t.Helper()
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	rt, err := c.Resolve(v)
	if err != nil {
		t.Skip(err)
	}
	return rt
}

// What a version's variables say about its start.
func TestBlankGoesByTheEnvironment(t *testing.T) {
	for _, tt := range []struct {
		runtime, name string
		blank         bool
	}{
		{"python3.12", "MY_SETTING", true}, {"python3.12", "PATH", true}, {"python3.12", "TZ", true}, {"python3.12", "SSL_CERT_FILE", true},
		{"python3.12", "PYTHONPATH", false}, {"python3.12", "PYTHONHASHSEED", false}, {"python3.12", "LD_PRELOAD", false},
		{"python3.12", "LD_LIBRARY_PATH", false}, {"python3.12", "MALLOC_ARENA_MAX", false}, {"python3.12", "LANG", false},
		{"python3.12", "LC_ALL", false}, {"python3.12", "GLIBC_TUNABLES", false}, {"python3.12", "OPENSSL_CONF", false},
		{"python3.12", "AWS_LAMBDA_EXEC_WRAPPER", false}, {"python3.12", "NODE_OPTIONS", true},
		{"nodejs20.x", "NODE_ENV", true}, {"nodejs20.x", "NODE_OPTIONS", false}, {"nodejs20.x", "NODE_PATH", false},
		{"nodejs20.x", "NODE_EXTRA_CA_CERTS", false}, {"nodejs20.x", "UV_THREADPOOL_SIZE", false}, {"nodejs20.x", "PYTHONPATH", true},
	} {
		rt := resolved(t, &lambent.Version{Runtime: tt.runtime, MemoryMB: 256, Env: map[string]string{tt.name: "/x"}})
		if (rt.Blank != nil) != tt.blank {
			t.Errorf("%s with %s: there is a blank: %v, want %v", tt.runtime, tt.name, rt.Blank != nil, tt.blank)
		}
		if rt.Control != (tt.name != "AWS_LAMBDA_EXEC_WRAPPER") {
			t.Errorf("%s with %s: control %v", tt.runtime, tt.name, rt.Control)
		}
	}
}

// Blanks are shared by functions whose processes start alike, and by no others.
func TestBlankKey(t *testing.T) {
	key := func(runtime string, memory int) string {
		return resolved(t, &lambent.Version{Runtime: runtime, MemoryMB: memory, Handler: "a.b", Function: "f"}).Blank.Key
	}
	if key("python3.12", 128) != key("python3.12", 1024) {
		t.Error("Python's blank depends on the memory size")
	}
	if key("python3.12", 128) == key("python3.11", 128) {
		t.Error("two versions of Python have one key")
	}
	if key("nodejs20.x", 128) == key("nodejs20.x", 1024) {
		t.Error("V8 sizes its heap at its start, but the blanks of two sizes have one key")
	}
	if first, second := key("nodejs20.x", 512), key("nodejs20.x", 512); first != second {
		t.Errorf("the key is %s, then %s", first, second)
	}
}

func TestFit(t *testing.T) {
	c, err := host()
	if err != nil {
		t.Fatal(err)
	}
	code, layer, native := t.TempDir(), t.TempDir(), t.TempDir()
	for _, f := range []string{"main.py", "requests/__init__.py", "json.py", "fast.cpython-312-x86_64-linux-gnu.so", "lib/notes.txt",
		"data.csv", "my-tool.py", ".hidden.py", "numpy-1.0.dist-info/METADATA"} {
		write(t, code, f, "")
	}
	write(t, layer, "python/from_layer.py", "")
	write(t, layer, "python/lib/python3.12/site-packages/deep/__init__.py", "")
	write(t, layer, "top.py", "")
	write(t, native, "lib/libx.so.1", "")
	v := &lambent.Version{Runtime: "python3.12", MemoryMB: 256}
	rt := resolved(t, v)
	shared := rt.Blank
	c.Fit(&rt, v, code, []string{layer})
	want := []string{"deep", "fast", "from_layer", "lib", "main", "requests"}
	if rt.Blank == nil || !slices.Equal(rt.Blank.Avoid, want) {
		t.Fatalf("avoid %v, want %q", rt.Blank, want)
	}
	if shared.Avoid != nil || rt.Blank.Key != shared.Key {
		t.Errorf("the blank was written to: %+v", shared)
	}
	rt = resolved(t, v)
	if c.Fit(&rt, v, code, []string{layer, native}); rt.Blank != nil {
		t.Error("a layer with libraries of its own has a blank")
	}
	for _, v := range []*lambent.Version{
		{Runtime: "python3.12", MemoryMB: 4096},
		{Runtime: "python3.12", MemoryMB: 256, Env: map[string]string{"OPENBLAS_NUM_THREADS": "2"}},
	} {
		rt = resolved(t, v)
		if c.Fit(&rt, v, t.TempDir(), nil); !slices.Contains(rt.Blank.Avoid, "numpy") {
			t.Errorf("avoid %q lacks numpy", rt.Blank.Avoid)
		}
	}
	v = &lambent.Version{Runtime: "nodejs20.x", MemoryMB: 256}
	rt = resolved(t, v)
	if c.Fit(&rt, v, code, nil); rt.Blank == nil || rt.Blank.Avoid != nil {
		t.Errorf("Node.js: %+v", rt.Blank)
	}
	c.Fit(&sandbox.Runtime{}, v, "/nowhere", nil) // no blank, nothing to do
}

// A function's own modules and layers hide what AWS lets them hide, and nothing of
// the platform's own.
func TestPythonShadowing(t *testing.T)           { shadowing(t) }
func TestPythonOverForksShadowing(t *testing.T)  { shadowing(t) }
func TestPythonOverBlanksShadowing(t *testing.T) { shadowing(t) }

func shadowing(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "main.py", `
import json, logging, traceback, ctypes, sqlite3, hashlib
def handler(event, context):
    if event == "fail":
        raise ValueError({1: 2})
    if event == "log":
        logging.getLogger().error("said")
    return {"json": json.dumps([1]), "ctypes": getattr(ctypes, "MINE", None), "sqlite3": getattr(sqlite3, "MINE", None),
        "hashlib": getattr(hashlib, "MINE", None)}
`)
	// These are loaded before the function on AWS, too, or are the platform's own.
	for _, name := range []string{"json", "logging", "traceback", "re", "socket", "lambent_runtime", "lambent_log", "lambent_json", "lambent_blank",
		"lambent_zygote", "bootstrap", "os", "io", "_socket", "_json", "types", "signal"} {
		write(t, dir, name+".py", "raise SystemExit('the platform was shadowed by "+name+"')\n")
	}
	// These are not.
	write(t, dir, "ctypes.py", "MINE = True\n")
	write(t, dir, "sqlite3/__init__.py", "MINE = True\n")
	write(t, dir, "hashlib/__init__.py", "MINE = True\n")
	for _, name := range pythonsFor(t) {
		r := start(t, function{runtime: name, handler: "main.handler", dir: dir})
		r.expect("ready")
		if m := decode(t, r.invoke("response", `1`).body); m["json"] != "[1]" || m["ctypes"] != true || m["sqlite3"] != true || m["hashlib"] != true {
			t.Errorf("%s: %v", name, m)
		}
		r.invoke("response", `"log"`)
		r.logged("[ERROR]\t")
		if m := decode(t, r.invoke("error", `"fail"`).body); m["errorType"] != "ValueError" || len(m["stackTrace"].([]any)) != 1 {
			t.Errorf("%s: error %v", name, m)
		}
	}
}

// The function's own Node.js modules cannot take the place of the platform's.
func TestNodeShadowing(t *testing.T)           { nodeShadowing(t) }
func TestNodeOverBlanksShadowing(t *testing.T) { nodeShadowing(t) }

func nodeShadowing(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "index.js", `exports.handler = async (e) => { if (e) throw new TypeError('no'); return require('fs').mine === undefined; };`)
	for _, name := range []string{"net.js", "fs.js", "client.cjs", "log.cjs", "node_modules/fs/index.js", "node_modules/net/index.js",
		"node_modules/node:net/index.js", "node_modules/util/index.js"} {
		write(t, dir, name, "exports.mine = true; throw new Error('shadowed');\n")
	}
	r := start(t, function{runtime: node, handler: "index.handler", dir: dir})
	r.expect("ready")
	if got := r.invoke("response", `0`); got.body != "true" {
		t.Errorf("answer %s", got.body)
	}
	if m := decode(t, r.invoke("error", `1`).body); m["errorType"] != "TypeError" {
		t.Errorf("error %v", m)
	}
}

// A blank of Node.js looks like a process that was started for its function.
func TestNodeOverBlanksLooksFresh(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "index.js", `
const seen = {env: {...process.env}, cwd: process.cwd(), argv: process.argv, execArgv: process.execArgv,
  handles: process._getActiveHandles().map((h) => h.constructor.name + " " + [h.localPort, h.remotePort, h._handle && h._handle.fd, h._handle && h._handle.hasRef(), h.connecting, h._host, h.fd, Object.keys(h._events || {}).join()].join(" ")), tz: new Date(0).toString(), heap: require('v8').getHeapStatistics().heap_size_limit,
  listeners: process.eventNames().sort().map(String), globals: Object.getOwnPropertyNames(globalThis).sort(),
  paths: require('module').globalPaths, main: require.main.filename,
  fds: [...Array(64).keys()].filter((fd) => { try { return require('fs').fstatSync(fd).isSocket(); } catch { return false; } }).length};
exports.handler = async () => ({...seen, child: require('child_process').execFileSync('/usr/bin/env', {encoding: 'utf8'})});`)
	var got []map[string]any
	for _, origin := range []string{"fresh", ""} {
		originOverride = origin
		r := start(t, function{runtime: node, handler: "index.handler", dir: dir,
			env: map[string]string{"TZ": "Asia/Tokyo", "OWN": "é", "PATH": "/mine:/usr/bin"}})
		originOverride = ""
		r.expect("ready")
		m := decode(t, r.invoke("response", `{}`).body)
		if strings.Contains(m["child"].(string), "LAMBENT_") || !strings.Contains(m["child"].(string), "OWN=é\n") {
			t.Errorf("the environment of a child is %s", m["child"])
		}
		vars := m["env"].(map[string]any)
		for _, own := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API"} {
			if vars[own] == nil {
				t.Errorf("there is no %s", own)
			}
			delete(vars, own) // another one each time
		}
		delete(m, "child")
		got = append(got, m)
	}
	for what := range got[0] {
		if !reflect.DeepEqual(got[0][what], got[1][what]) {
			t.Errorf("%s is %v, in a process that was started %v", what, got[1][what], got[0][what])
		}
	}
}

// A function that closes all descriptors, or has its own where the driver's was, is
// left alone.
func TestPythonOverForksWithoutControl(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "closes.py", "import os\nos.closerange(3, 64)\ndef handler(e, c): return 1\n")
	write(t, dir, "takes.py", "import os\nos.closerange(3, 64)\nFILE = open('/proc/self/exe', 'rb')\n"+
		"def handler(e, c): return [FILE.fileno(), len(FILE.read(4))]\n")
	for name, want := range map[string]string{"closes": "1", "takes": "[3, 4]"} {
		r := start(t, function{runtime: "python3.12", handler: name + ".handler", dir: dir})
		r.expect("ready")
		if got := r.invoke("response", `1`); got.body != want {
			t.Errorf("%s answers %s, want %s", name, got.body, want)
		}
	}
}

// What a blank has loaded is pinned, or among what it looks for in the function's
// files: a function's own module is never passed over.
func TestPythonOverBlanksHasOnlyWhatCannotBeShadowed(t *testing.T) {
	text := read(t, "../../runtimes/python/lambent_blank.py") + read(t, "../../runtimes/python/lambent_platform.py")
	allowed := regexp.MustCompile(`[a-z][a-z0-9_]*`).FindAllString(between(text, "_USUAL = (", ")")+between(text, "_PINNED = frozenset(", ".split()"), -1)
	for _, name := range pythons {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "main.py", "import sys\nSEEN = sorted({m.split('.')[0] for m in sys.modules} - set(sys.builtin_module_names))\ndef handler(e, c): return SEEN\n")
			loaded := func() []string {
				r := start(t, function{runtime: name, handler: "main.handler", dir: dir})
				r.expect("ready")
				var out []string
				if err := json.Unmarshal([]byte(r.invoke("response", `0`).body), &out); err != nil {
					t.Fatal(err)
				}
				return out
			}
			originOverride = "fresh"
			fresh := loaded()
			originOverride = ""
			for _, m := range loaded() {
				if !strings.HasPrefix(m, "_") && !strings.HasPrefix(m, "lambent_") && !slices.Contains(fresh, m) && !slices.Contains(allowed, m) {
					t.Errorf("a blank has loaded %s", m)
				}
			}
		})
	}
}

func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}
