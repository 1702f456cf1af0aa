package linux

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// probeLayer is a layer of an image with the probe at a path.
func probeLayer(t *testing.T, path string) string {
	t.Helper()
	probe, err := os.ReadFile(filepath.Join(sandboxtest.Probe(t), "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	return layerOf(t, map[string]string{path: string(probe)})
}

// layerOf is a directory of files that anyone may execute.
func layerOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// imageSpecOf is one of the probe in an image.
func imageSpecOf(id string, i lambent.Image, layers ...string) sandbox.Spec {
	s := sandboxtest.Spec(id, "", nil)
	v := *s.Version
	v.PackageType, v.Runtime, v.Handler, v.Image = "Image", "", "", &i
	command, _ := i.Process(v.ImageConfig)
	s.Version, s.Runtime = &v, sandbox.Runtime{Name: "image", Command: command}
	s.Root = layers
	return s
}

// imaging starts the suite's probe as the program of an image.
type imaging struct {
	*Driver
	layer string
}

func (d *imaging) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	v := *spec.Version
	v.Image = &lambent.Image{EntryPoint: spec.Runtime.Command, Directory: "/var/task"}
	spec.Version, spec.Code, spec.Root = &v, "", []string{d.layer}
	return d.Driver.Start(ctx, spec)
}

// TestImageConfined is what the suite says of limits and ways out, for instances
// with the root of an image.
func TestImageConfined(t *testing.T) {
	needRoot(t)
	layer := probeLayer(t, "var/task/bootstrap")
	sandboxtest.RunConfined(t, sandboxtest.Harness{
		New: func(t *testing.T, dir string) sandbox.Driver {
			return &imaging{newDriver(t, Options{DataDir: dir}), layer}
		},
		Isolates: true,
		Traces:   traces,
	})
}

func TestImageRoot(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	t.Cleanup(func() { _ = d.Close() })
	base := layerOf(t, map[string]string{"etc/resolv.conf": "nameserver 6.6.6.6\n", "etc/os-release": "NAME=Tiny\n", "data/lower": "lower", "data/both": "lower"})
	upper := layerOf(t, map[string]string{"data/both": "upper"})
	l := sandboxtest.Start(t, d, imageSpecOf("image", lambent.Image{EntryPoint: []string{"probe"}, Directory: "/data"},
		base, probeLayer(t, "usr/local/bin/probe"), upper))
	for path, want := range map[string]string{"/etc/os-release": "NAME=Tiny\n", "lower": "lower", "both": "upper"} {
		if got := l.Do("read", 0, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := l.Do("read", 0, "/etc/resolv.conf"); strings.Contains(got, "6.6.6.6") || strings.HasPrefix(got, "ERROR") {
		t.Errorf("the resolver is the image's own: %q", got)
	}
	if got := l.Do("cwd", 0); got != "/data" {
		t.Errorf("started in %s", got)
	}
	for _, path := range []string{"/usr/bin/env", "/bin/sh", "/etc/ssl/certs", "/usr/lib"} {
		if got := l.Do("stat", 0, path); !strings.HasPrefix(got, "ERROR: ") {
			t.Errorf("the host's %s is there: %s", path, got)
		}
	}
	for _, path := range []string{"/new", "/data/new", "/data/both", "/etc/hosts", "/usr/local/bin/probe"} {
		if got := l.Do("write", 0, path, "x"); !strings.HasPrefix(got, "ERROR: ") {
			t.Errorf("wrote %s: %s", path, got)
		}
	}
	if got := l.Do("write", 0, "/tmp/new", "x"); strings.HasPrefix(got, "ERROR: ") {
		t.Errorf("/tmp: %s", got)
	}
}

// An image may have as many layers as there can be.
func TestImageOfManyLayers(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	layers := []string{probeLayer(t, "probe")}
	for n := range 126 {
		layers = append(layers, layerOf(t, map[string]string{"f": strconv.Itoa(n)}))
	}
	l := sandboxtest.Start(t, d, imageSpecOf("many", lambent.Image{EntryPoint: []string{"/probe"}, Directory: "/"}, layers...))
	if got := l.Do("read", 0, "/f"); got != "125" {
		t.Errorf("on top is %s", got)
	}
}

func TestImagesThatDoNotStart(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	layer := layerOf(t, map[string]string{"bin/script": "no program", "file": ""})
	for name, c := range map[string]struct {
		image lambent.Image
		kind  string
	}{
		"absent":       {lambent.Image{EntryPoint: []string{"/bin/absent"}, Directory: "/"}, "Runtime.InvalidEntrypoint"},
		"absent named": {lambent.Image{EntryPoint: []string{"absent"}, Directory: "/"}, "Runtime.InvalidEntrypoint"},
		"no program":   {lambent.Image{EntryPoint: []string{"bin/script"}, Directory: "/"}, "Runtime.InvalidEntrypoint"},
		"no directory": {lambent.Image{EntryPoint: []string{"/bin/script"}, Directory: "/absent"}, "Runtime.InvalidWorkingDir"},
		"a file":       {lambent.Image{EntryPoint: []string{"/bin/script"}, Directory: "/file"}, "Runtime.InvalidWorkingDir"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := imageSpecOf("bad", c.image, layer)
			spec.Output = &sandboxtest.Lines{}
			i, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = i.Stop(context.Background()) }()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			r, err := i.Init(ctx)
			if err != nil || r.Failure == nil || r.Failure.Type != c.kind {
				t.Errorf("init: %+v, %v, want %s", r.Failure, err, c.kind)
			}
		})
	}
}
