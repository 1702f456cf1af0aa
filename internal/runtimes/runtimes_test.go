package runtimes_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
)

// open makes a catalogue of the interpreters under the patterns only.
func open(t *testing.T, o runtimes.Options) *runtimes.Catalog {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	if o.Search == nil {
		o.Search = []string{"/nowhere/*"}
	}
	o.Log = slog.New(slog.DiscardHandler)
	c, err := runtimes.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plant makes a program that says a version, as an interpreter would.
func plant(t *testing.T, prefix, name, version string) {
	t.Helper()
	bin := filepath.Join(prefix, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho " + version + "\n"
	if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func planted(t *testing.T) (*runtimes.Catalog, string) {
	t.Helper()
	dir := t.TempDir()
	plant(t, dir+"/py39", "python3.9", "3.9.18")
	plant(t, dir+"/py11", "python3.11", "3.11.7")
	plant(t, dir+"/py13", "python3.13", "3.13.0")
	plant(t, dir+"/node20", "node", "v20.20.2")
	plant(t, dir+"/node22", "node", "v22.1.0")
	plant(t, dir+"/jdk17", "java", "unused")
	if err := os.WriteFile(dir+"/jdk17/release", []byte("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"17.0.15\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	plant(t, dir+"/broken", "node", "not a version")
	return open(t, runtimes.Options{Search: []string{dir + "/*"}}), dir
}

func TestCheck(t *testing.T) {
	c, _ := planted(t)
	const retired = "is no longer supported for creating or updating AWS Lambda functions. We recommend you use " +
		"a supported runtime while creating or updating functions."
	for name, want := range map[string]struct{ warning, reason, message string }{
		"python3.11":      {},
		"python3.9":       {},
		"nodejs20.x":      {},
		"nodejs22.x":      {},
		"java17":          {},
		"java17.al2023":   {},
		"provided.al2":    {},
		"provided.al2023": {},
		"python3.8":       {warning: "The runtime python3.8 is served by Python 3.9.18, the nearest version on this host."},
		"python3.12":      {warning: "The runtime python3.12 is served by Python 3.13.0, the nearest version on this host."},
		"nodejs18.x":      {warning: "The runtime nodejs18.x is served by Node.js 20.20.2, the nearest version on this host."},
		"java11":          {warning: "The runtime java11 is served by Java 17.0.15, the nearest version on this host."},
		"python3.14":      {reason: "RuntimeNotInstalled", message: "The runtime python3.14 is not installed on this host. "},
		"nodejs24.x": {
			reason:  "RuntimeNotInstalled",
			message: "The runtime nodejs24.x is not installed on this host. Run on the server: lambent runtime install nodejs24.x",
		},
		"java21":        {reason: "RuntimeNotInstalled", message: "The runtime java21 is not installed on this host. "},
		"dotnet8":       {reason: "RuntimeNotInstalled", message: "The runtime dotnet8 is not installed on this host. "},
		"dotnetcore3.1": {reason: "UnknownRuntime", message: "The runtime parameter of dotnetcore3.1 " + retired},
		"ruby3.3":       {reason: "RuntimeNotInstalled", message: "The runtime ruby3.3 is not installed on this host. "},
		"java8":         {reason: "UnknownRuntime", message: "The runtime parameter of java8 " + retired},
		"go1.x":         {reason: "UnknownRuntime", message: "The runtime parameter of go1.x " + retired},
		"provided":      {reason: "UnknownRuntime", message: "The runtime parameter of provided " + retired},
		"PYTHON3.9": {
			reason: "UnknownRuntime",
			message: "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, " +
				"python3.14, provided.al2023, python3.12, ",
		},
		"": {reason: "UnknownRuntime", message: "Value  at 'runtime' failed"},
	} {
		warning, err := c.Check(name, "")
		if warning != want.warning {
			t.Errorf("%s: warning %q, want %q", name, warning, want.warning)
		}
		if lambent.ReasonOf(err) != want.reason {
			t.Errorf("%s: error %v, want reason %q", name, err, want.reason)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), want.message) || lambent.CodeOf(err) != lambent.CodeInvalid) {
			t.Errorf("%s: %s error %q, want %q", name, lambent.CodeOf(err), err, want.message)
		}
	}
}

func TestCheckWarnsOfForeignArchitecture(t *testing.T) {
	c, _ := planted(t)
	warned := 0
	for _, arch := range []string{"x86_64", "arm64"} {
		warning, err := c.Check("provided.al2023", arch)
		if err != nil {
			t.Errorf("%s: %v", arch, err)
		}
		if strings.Contains(warning, "code built for "+arch+" does not run here") {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d of two architectures are foreign, want 1", warned)
	}
}

func TestResolve(t *testing.T) {
	c, dir := planted(t)
	resolve := func(name string, env map[string]string) sandbox.Runtime {
		t.Helper()
		rt, err := c.Resolve(&lambent.Version{Runtime: name, MemoryMB: 256, Env: env})
		if err != nil {
			t.Fatal(err)
		}
		return rt
	}
	rt := resolve("python3.11", nil)
	if want := []string{"/var/lang/bin/python3.11", "-S", "/var/runtime/bootstrap.py"}; !slices.Equal(rt.Command, want) {
		t.Errorf("command %q, want %q", rt.Command, want)
	}
	if rt.Version != "3.11.7" || !slices.Contains(rt.Mounts, sandbox.Mount{Host: dir + "/py11", Guest: "/var/lang"}) {
		t.Errorf("runtime %+v", rt)
	}
	at := slices.IndexFunc(rt.Mounts, func(m sandbox.Mount) bool { return m.Guest == "/var/runtime" })
	if _, err := os.Stat(filepath.Join(rt.Mounts[at].Host, "bootstrap.py")); err != nil {
		t.Error(err)
	}
	rt = resolve("nodejs20.x", map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"})
	want := []string{"/opt/wrap", "/var/lang/bin/node", "--max-old-space-size=230", "--max-semi-space-size=12", "/var/runtime/index.cjs"}
	if !slices.Equal(rt.Command, want) {
		t.Errorf("command %q, want %q", rt.Command, want)
	}
	rt = resolve("java17", nil)
	if !slices.Contains(rt.Command, "-Xmx200m") || rt.Command[len(rt.Command)-1] != "lambent.runtime.Main" {
		t.Errorf("command %q", rt.Command)
	}
	rt = resolve("provided.al2023", map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"})
	if !slices.Equal(rt.Command, []string{"/var/task/bootstrap"}) || !slices.Equal(rt.Fallback, []string{"/opt/bootstrap"}) {
		t.Errorf("runtime %+v", rt)
	}
	if _, err := c.Resolve(&lambent.Version{Runtime: "python3.15"}); lambent.ReasonOf(err) != "RuntimeNotInstalled" {
		t.Errorf("runtime that is not there: %v", err)
	}
}

// What others may write is not run by the server.
func TestUntrustedProgramsAreSkipped(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir+"/a", "node", "v20.0.0")
	if err := os.Chmod(dir+"/a/bin/node", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, runtimes.Options{Search: []string{dir + "/*"}}).Check("nodejs20.x", ""); err == nil {
		t.Error("a program that everybody may write was taken")
	}
}

func TestList(t *testing.T) {
	c, dir := planted(t)
	states := map[string]runtimes.Info{}
	for _, i := range c.List() {
		states[i.Name] = i
	}
	if got := states["nodejs22.x"]; got.State != runtimes.StateReady || got.Version != "22.1.0" || got.Where != dir+"/node22/bin/node" {
		t.Errorf("nodejs22.x is %+v", got)
	}
	if got := states["nodejs26.x"]; got.State != runtimes.StateInstallable {
		t.Errorf("nodejs26.x is %+v", got)
	}
	if got := states["dotnet8"]; got.State != runtimes.StateUnsupported || got.Note == "" {
		t.Errorf("dotnet8 is %+v", got)
	}
	if _, ok := states["go1.x"]; ok {
		t.Error("a retired name is listed")
	}
}

// registry serves one package with two versions, as npm does.
func registry(t *testing.T, script, integrity string) string {
	t.Helper()
	var archive bytes.Buffer
	gz := gzip.NewWriter(&archive)
	w := tar.NewWriter(gz)
	for name, text := range map[string]string{"package/bin/node": script, "package/deno": script, "package/bin/bun": script, "package/../../evil": "x", "package/README.md": "x"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	if integrity == "" {
		sum := sha512.Sum512(archive.Bytes())
		integrity = "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	}
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".tgz"):
			_, _ = w.Write(archive.Bytes()) // a cut download fails the test
		case strings.HasPrefix(r.URL.Path, "/node-linux-"):
			d := fmt.Sprintf(`{"dist":{"tarball":"%s/a.tgz","integrity":"%s"}}`, server.URL, integrity)
			_, _ = fmt.Fprintf(w, `{"versions":{"22.9.0":{},"22.10.1":%s,"22.10.0":{},"22.11.0-rc.1":{},"23.0.0":{}}}`, d)
		case strings.HasPrefix(r.URL.EscapedPath(), "/@deno%2flinux-"), strings.HasPrefix(r.URL.EscapedPath(), "/@oven%2fbun-linux-"):
			d := fmt.Sprintf(`{"dist":{"tarball":"%s/a.tgz","integrity":"%s"}}`, server.URL, integrity)
			_, _ = fmt.Fprintf(w, `{"versions":{"1.9.0":{},"1.10.1":%s,"2.0.0-canary.1":{},"2.10.1":%s,"3.0.0":{}}}`, d, d)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Deno and Bun come from npm too, from packages of their projects' scopes.
func TestInstallEngines(t *testing.T) {
	for name, says := range map[string]string{"deno2": "deno 2.10.1 (stable, release, x86_64-unknown-linux-gnu)", "bun1": "1.10.1"} {
		dir := t.TempDir()
		c := open(t, runtimes.Options{DataDir: dir, NPMRegistry: registry(t, "#!/bin/sh\necho '"+says+"'\n", "")})
		if _, err := c.Check(name, ""); lambent.ReasonOf(err) != "RuntimeNotInstalled" || !strings.Contains(err.Error(), "lambent runtime install "+name) {
			t.Errorf("%s before: %v", name, err)
		}
		if err := c.Install(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		if warning, err := c.Check(name, ""); warning != "" || err != nil {
			t.Errorf("%s after: %q, %v", name, warning, err)
		}
		program := filepath.Join(dir, "runtimes", name, "bin", strings.TrimRight(name, "12"))
		if info, err := os.Stat(program); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", program, info, err)
		}
	}
}

// Ruby 3.x is served by another 3.x, a newer one before an older one; PHP only by
// a newer one, and neither by another major version.
func TestNearestOfALanguage(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir+"/ruby31", "ruby", "3.1.2")
	plant(t, dir+"/ruby33", "ruby3.3", "3.3.1")
	plant(t, dir+"/php82", "php8.2", "8.2.1")
	plant(t, dir+"/sh", "bash", "'5.2.15(1)-release'")
	c := open(t, runtimes.Options{Search: []string{dir + "/*"}})
	for name, want := range map[string]string{
		"ruby3.2": "served by Ruby 3.3.1", "ruby3.3": "", "ruby3.4": "served by Ruby 3.3.1", "ruby4.0": "not installed",
		"php8.1": "served by PHP 8.2.1", "php8.2": "", "php8.3": "not installed", "bash": "", "deno2": "not installed",
	} {
		warning, err := c.Check(name, "")
		if err != nil {
			warning = err.Error()
		}
		if !strings.Contains(warning, want) || want == "" && warning != "" {
			t.Errorf("%s: %q, want %q", name, warning, want)
		}
	}
}

func TestInstallNode(t *testing.T) {
	dir := t.TempDir()
	c := open(t, runtimes.Options{DataDir: dir, NPMRegistry: registry(t, "#!/bin/sh\necho v22.10.1\n", "")})
	if _, err := c.Check("nodejs22.x", ""); lambent.ReasonOf(err) != "RuntimeNotInstalled" {
		t.Fatalf("before: %v", err)
	}
	var steps []string
	for range 2 { // the second time it is there
		if err := c.Install(t.Context(), "nodejs22.x", func(s string) { steps = append(steps, s) }); err != nil {
			t.Fatal(err)
		}
	}
	if len(steps) != 4 || !strings.Contains(steps[3], "is here already") {
		t.Errorf("steps %q", steps)
	}
	if warning, err := c.Check("nodejs22.x", ""); warning != "" || err != nil {
		t.Errorf("after: %q, %v", warning, err)
	}
	if got := names(t, filepath.Join(dir, "runtimes")); !slices.Equal(got, []string{"nodejs22.x"}) {
		t.Errorf("the runtimes folder holds %q", got)
	}
	if got := names(t, filepath.Join(dir, "runtimes", "nodejs22.x")); !slices.Equal(got, []string{"bin"}) {
		t.Errorf("the runtime's folder holds %q", got)
	}
}

func TestInstallRefusesWhatIsNotAnnounced(t *testing.T) {
	dir := t.TempDir()
	c := open(t, runtimes.Options{DataDir: dir, NPMRegistry: registry(t, "#!/bin/sh\n", "sha512-AAAA")})
	err := c.Install(t.Context(), "nodejs22.x", nil)
	if err == nil || !strings.Contains(err.Error(), "is not what the registry announced") {
		t.Errorf("error %v", err)
	}
	if got := names(t, filepath.Join(dir, "runtimes")); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

func TestInstallSaysWhatToDo(t *testing.T) {
	c, _ := planted(t)
	for name, want := range map[string]string{
		"nodejs24.x": "fetch ", // the registry is not there
		"dotnet8":    "Put a .NET runtime of this version, or a newer one, into /usr/share/dotnet",
		"go1.x":      "is no longer supported",
		"nonsense":   "failed to satisfy constraint",
		"php8.5":     "Put a PHP command line of this version, or a newer PHP 8, into /usr/bin",
		"python3.15": "uv python install 3.15",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing may be fetched or run
		if err := c.Install(ctx, name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.Name() != ".found.json" && !strings.HasPrefix(e.Name(), ".bootstrap-") { // every catalogue's own
			out = append(out, e.Name())
		}
	}
	return out
}

// The names that AWS's model has are all known here, one way or the other.
func TestEveryModelNameIsKnown(t *testing.T) {
	c, _ := planted(t)
	for _, name := range modelNames() {
		if _, err := c.Check(name, ""); err != nil && strings.Contains(err.Error(), "enum value set") {
			t.Errorf("%s is unknown", name)
		}
	}
}

func TestEnvironment(t *testing.T) {
	v := &lambent.Version{
		Namespace: "000000000000", Function: "fn", Number: "3", Runtime: "nodejs20.x", Handler: "index.handler", MemoryMB: 256,
		Env:     map[string]string{"PATH": "/mine", "OWN": "1", "AWS_REGION": "elsewhere", "BAD=NAME": "x", "NUL": "a\x00b"},
		Logging: lambent.Logging{Format: "JSON", ApplicationLevel: "WARN"},
	}
	env := runtimes.Environment(runtimes.Env{Version: v, Region: "eu-west-1", LogStream: "s", AccessKeyID: "key"})
	for _, want := range []string{
		"PATH=/mine", "OWN=1", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "_HANDLER=index.handler",
		"AWS_LAMBDA_FUNCTION_NAME=fn", "AWS_LAMBDA_FUNCTION_VERSION=3", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/fn", "AWS_LAMBDA_LOG_STREAM_NAME=s", "AWS_EXECUTION_ENV=AWS_Lambda_nodejs20.x",
		"AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=WARN", "TZ=:UTC", "LAMBDA_TASK_ROOT=/var/task",
		"NODE_PATH=/opt/nodejs/node20/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "AWS_ACCESS_KEY_ID=key", "LANG=en_US.UTF-8",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("environment lacks %s", want)
		}
	}
	seen := map[string]bool{}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if seen[name] || strings.HasPrefix(name, "AWS_ENDPOINT_URL") || strings.Contains(value, "\x00") || name == "AWS_SESSION_TOKEN" || name == "BAD" {
			t.Errorf("environment holds %q", pair)
		}
		seen[name] = true
	}
}

// Where the API is within reach, SDKs find those services that are spoken here, and the
// function's own word on them holds.
func TestEnvironmentNamesTheAPI(t *testing.T) {
	v := &lambent.Version{Namespace: "000000000000", Function: "fn", Number: "3", Runtime: "nodejs20.x", Handler: "index.handler",
		Env: map[string]string{"AWS_ENDPOINT_URL_STS": "https://sts.eu-west-1.amazonaws.com"}}
	var got []string
	for _, pair := range runtimes.Environment(runtimes.Env{Version: v, Region: "eu-west-1", AccessKeyID: "key", API: "http://127.0.0.1:9001"}) {
		if strings.HasPrefix(pair, "AWS_ENDPOINT_URL") {
			got = append(got, pair)
		}
	}
	want := []string{"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://127.0.0.1:9001", "AWS_ENDPOINT_URL_LAMBDA=http://127.0.0.1:9001",
		"AWS_ENDPOINT_URL_SCHEDULER=http://127.0.0.1:9001", "AWS_ENDPOINT_URL_STS=https://sts.eu-west-1.amazonaws.com"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
