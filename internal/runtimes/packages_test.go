package runtimes_test

import (
	"archive/zip"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
)

// wheel makes a package of one module, in the form in which PyPI has them.
func wheel(t *testing.T, dir, name, version, module string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name+"-"+version+"-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	info := name + "-" + version + ".dist-info/"
	for _, file := range [][2]string{
		{name + "/__init__.py", module},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", ""},
	} {
		e, err := w.Create(file[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestInstallPackages(t *testing.T) {
	wheels := t.TempDir()
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", wheels)
	wheel(t, wheels, "tiny", "1.0", "VERSION = 1\n")
	wheel(t, wheels, "tiny", "2.0", "VERSION = 2\n")
	wheel(t, wheels, "other", "1.0", "raise SystemExit('it must not be run here')\n")
	data := t.TempDir()
	open := func() *runtimes.Catalog {
		c, err := runtimes.Open(t.Context(), runtimes.Options{DataDir: data, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	v := &lambent.Version{Runtime: "python3.12", MemoryMB: 256}
	rt, err := c.Resolve(v)
	if err != nil {
		t.Skip(err)
	}
	set := func() (string, string) {
		rt, err := c.Resolve(v)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(rt.Mounts, func(m sandbox.Mount) bool { return m.Guest == "/var/packages" })
		if at < 0 {
			return "", rt.Blank.Key
		}
		return rt.Mounts[at].Host, rt.Blank.Key
	}
	old := unix.Umask(0o077)
	err = c.InstallPackages(t.Context(), "python3.12", []string{"tiny==1.0"}, nil)
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	first, key := set()
	if key == rt.Blank.Key {
		t.Error("blanks with and without packages have one key")
	}
	if text := read(t, first+"/tiny/__init__.py"); text != "VERSION = 1\n" {
		t.Errorf("tiny is %q", text)
	}
	if info, err := os.Stat(first + "/tiny"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the package's folder: %v, %v", info, err)
	}
	if compiled, _ := filepath.Glob(first + "/tiny/__pycache__/*.pyc"); len(compiled) != 1 {
		t.Errorf("byte code %q", compiled)
	}
	var steps []string
	if err := c.InstallPackages(t.Context(), "python3.12", []string{"tiny", "other"}, func(s string) { steps = append(steps, s) }); err != nil {
		t.Fatal(err)
	}
	second, _ := set()
	if read(t, second+"/tiny/__init__.py") != "VERSION = 2\n" || read(t, second+"/other/__init__.py") == "" {
		t.Error("the second set is not as asked for")
	}
	if read(t, first+"/tiny/__init__.py") != "VERSION = 1\n" {
		t.Error("what running functions have has changed")
	}
	if last := steps[len(steps)-1]; last != "Python 3.12 has other, tiny" {
		t.Errorf("the last step is %q", last)
	}
	if err := c.InstallPackages(t.Context(), "python3.12", []string{"no-such-package"}, nil); lambent.CodeOf(err) != lambent.CodeUnavailable ||
		!strings.Contains(err.Error(), "no-such-package") {
		t.Errorf("a package that is not there: %v", err)
	}
	if still, _ := set(); still != second {
		t.Errorf("a failed installation left %q in place of %q", still, second)
	}
	c = open() // the next server
	if now, _ := set(); now != second {
		t.Errorf("after a restart the set is %q", now)
	}
	if _, err := os.Stat(first); err == nil {
		t.Error("the old set is kept for ever")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInstallPackagesRefuses(t *testing.T) {
	c, _ := planted(t)
	for _, name := range []string{"", "-r/etc/passwd", "--index-url=http://x", "./here", "/abs", "a b", "git+https://x/y", "x @ https://x", "a;b", "a\nb",
		"https://x/y.whl", strings.Repeat("x", 200)} {
		if err := c.InstallPackages(t.Context(), "python3.11", []string{name}, nil); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := c.InstallPackages(t.Context(), "nodejs20.x", []string{"x"}, nil); lambent.CodeOf(err) != lambent.CodeUnsupported {
		t.Errorf("Node.js: %v", err)
	}
	if err := c.InstallPackages(t.Context(), "python3.15", []string{"x"}, nil); lambent.ReasonOf(err) != "RuntimeNotInstalled" {
		t.Errorf("a Python that is not here: %v", err)
	}
}
