package runtimes

import (
	"archive/zip"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"lambent.dev/lambent"
)

const launcher = "org.springframework.boot.loader.launch.JarLauncher"

func TestBootStart(t *testing.T) {
	shell := func(line string) []string { return []string{"/bin/sh", "-c", line} }
	for _, c := range []struct {
		command     []string
		flags, args string
		ok          bool
	}{
		{shell("exec java -XX:+UseSerialGC -cp /var/task " + launcher + " --server.port=$PORT"), "-XX:+UseSerialGC", "--server.port=8081", true},
		{shell("exec java -Da=b -classpath . org.springframework.boot.loader.JarLauncher ${PORT}"), "-Da=b", "8081", true},
		{[]string{"java", "-cp", "/var/task/", launcher, "a b", "$PORT"}, "", "a b $PORT", true}, // without a shell it is a word as any other
		{shell("exec java -XX:MaxRAM=${AWS_LAMBDA_FUNCTION_MEMORY_SIZE}m -cp . " + launcher), "-XX:MaxRAM=512m", "", true},
		{shell("exec java -cp . " + launcher + " $PORTAL"), "", "", false},
		{shell("java -cp /var/task " + launcher), "", "", false},
		{shell("exec java -cp /var/task " + launcher + " $HOME"), "", "", false},
		{shell("exec java -cp /var/task " + launcher + "; echo"), "", "", false},
		{shell("exec java -javaagent:x.jar -cp /var/task " + launcher), "", "", false},
		{shell("exec java -XX:SharedArchiveFile=mine -cp /var/task " + launcher), "", "", false},
		{shell("exec java -Dloader.path=x -cp /var/task " + launcher), "", "", false},
		{shell("exec java -cp /var/task/lib " + launcher), "", "", false},
		{shell("exec java -cp /var/task shop.Application"), "", "", false},
		{[]string{"java", "-cp", "."}, "", "", false},
		{[]string{"node", "-cp", ".", launcher}, "", "", false},
		{nil, "", "", false},
	} {
		got, ok := bootStart(&lambent.Version{MemoryMB: 512, App: &lambent.App{Port: 8081, Command: c.command}})
		if ok != c.ok || ok && (strings.Join(got.flags, " ") != c.flags || strings.Join(got.args, " ") != c.args) {
			t.Errorf("%q: %+v %v", c.command, got, ok)
		}
	}
}

// bootTree is an unpacked archive, changed by edit.
func bootTree(t *testing.T, edit func(fstest.MapFS)) string {
	t.Helper()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	tree := fstest.MapFS{
		bootManifest:                         file("Manifest-Version: 1.0\r\nImplementation-Version: 7\r\nStart-Class: shop.Appli\r\n cation\r\n\r\nName: x\r\nStart-Class: no\r\n"),
		bootIndex:                            file("- \"BOOT-INF/lib/b.jar\"\n- \"BOOT-INF/lib/a.jar\"\n- \"BOOT-INF/lib/gone.jar\"\n- \"../c.jar\"\n"),
		"BOOT-INF/lib/a.jar":                 file("a"),
		"BOOT-INF/lib/b.jar":                 file("b"),
		"BOOT-INF/lib/z.jar":                 file("z"),
		"BOOT-INF/classes/shop/App.class":    file("class"),
		"BOOT-INF/classes/application.yaml":  file("x: 1"),
		"org/springframework/boot/X.class":   file("launcher"),
		"BOOT-INF/classes/lib/inside.class":  file("class"),
		"BOOT-INF/classes/static/index.html": file("<p>"),
	}
	edit(tree)
	dir := t.TempDir()
	if err := os.CopyFS(dir, tree); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The class path is the launcher's, and the application's own part is one jar with
// all that was beside its classes.
func TestReadBoot(t *testing.T) {
	code := bootTree(t, func(fstest.MapFS) {})
	b, err := readBoot(code)
	if err != nil {
		t.Fatal(err)
	}
	if b.main != "shop.Application" || !slices.Equal(b.jars, []string{"z.jar", "b.jar", "a.jar"}) {
		t.Errorf("%+v", b)
	}
	dir := t.TempDir()
	if err := gatherBoot(code, dir, b); err != nil {
		t.Fatal(err)
	}
	jar, err := zip.OpenReader(filepath.Join(dir, javaJar))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = jar.Close() }() // read only
	found := map[string]bool{}
	for _, f := range jar.File {
		found[f.Name] = true
	}
	want := []string{bootManifest, "application.yaml", "lib/", "lib/inside.class", "shop/", "shop/App.class", "static/", "static/index.html"}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("the jar has %q", got)
	}
	f, err := jar.Open(bootManifest)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(f); err != nil || !strings.Contains(string(text), "Implementation-Version: 7") {
		t.Errorf("manifest %q: %v", text, err)
	}
}

// What cannot be started with the same class path is not prepared.
func TestReadBootRefuses(t *testing.T) {
	set := func(name, text string) func(fstest.MapFS) {
		return func(tree fstest.MapFS) { tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	}
	for name, edit := range map[string]func(fstest.MapFS){
		"no manifest":          func(tree fstest.MapFS) { delete(tree, bootManifest) },
		"no class":             set(bootManifest, "Main-Class: x.Y\n"),
		"an argument as class": set(bootManifest, "Start-Class: -Dx=y\n"),
		"classes elsewhere":    set(bootManifest, "Start-Class: x.Y\nSpring-Boot-Classes: WEB-INF/classes/\n"),
		"libraries elsewhere":  set(bootManifest, "Start-Class: x.Y\nSpring-Boot-Lib: WEB-INF/lib/\n"),
		"a large manifest":     set(bootManifest, "Start-Class: x.Y\n"+strings.Repeat("A: b\n", maxManifest/4)),
		"a class path":         set(bootManifest, "Start-Class: x.Y\nClass-Path: ../../x.jar\n"),
		"an unusual name":      set("BOOT-INF/lib/a:b.jar", "jar"),
	} {
		t.Run(name, func(t *testing.T) {
			code := bootTree(t, edit)
			b, err := readBoot(code)
			if err == nil {
				err = gatherBoot(code, t.TempDir(), b)
			}
			if err == nil {
				t.Errorf("taken as %+v", b)
			}
		})
	}
}

// A link in the code leads nowhere.
func TestReadBootLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.jar")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for at, to := range map[string]string{bootManifest: secret, "BOOT-INF/lib/a.jar": secret, "BOOT-INF/lib": filepath.Dir(secret)} {
		code := bootTree(t, func(fstest.MapFS) {})
		name := filepath.Join(code, filepath.FromSlash(at))
		if err := errors.Join(os.RemoveAll(name), os.Symlink(to, name)); err != nil {
			t.Fatal(err)
		}
		if jars := jarsIn(code, bootLib); jars["secret.jar"] != "" || at == "BOOT-INF/lib/a.jar" && jars["a.jar"] != "" {
			t.Errorf("%s is followed: %v", at, jars)
		}
		if b, err := readBoot(code); err == nil {
			t.Errorf("%s is followed: %+v", at, b)
		}
	}
}

// The key follows what the start is made of, and there is none for other commands.
func TestApplicationKey(t *testing.T) {
	c, err := Open(t.Context(), Options{DataDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v := &lambent.Version{Runtime: "java17", Namespace: "000000000000", Code: lambent.CodeRef{Digest: "d"},
		App: &lambent.App{Port: 8080, Command: []string{"java", "-cp", "/var/task", launcher}}}
	key, ok := c.PrepareKey(v)
	if !ok {
		t.Skip("no Java here")
	}
	seen := map[string]bool{key: true}
	for _, edit := range []func(v *lambent.Version){
		func(v *lambent.Version) { v.App.Port = 9090 },
		func(v *lambent.Version) { v.MemoryMB = 1024 },
		func(v *lambent.Version) { v.App.Health = "/health" },
		func(v *lambent.Version) { v.App.Command = append(slices.Clone(v.App.Command), "x") },
		func(v *lambent.Version) { v.Namespace = "111111111111" },
		func(v *lambent.Version) { v.Code.Digest = "e" },
		func(v *lambent.Version) { v.App = nil },
	} {
		other, app := *v, *v.App
		other.App = &app
		edit(&other)
		key, ok := c.PrepareKey(&other)
		if !ok || seen[key] {
			t.Errorf("%+v: key %s again", other, key)
		}
		seen[key] = true
	}
	v.App.Command = []string{"java", "-jar", "x.jar"}
	if key, ok := c.PrepareKey(v); ok {
		t.Errorf("key %s for a command that nothing is made for", key)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("Manifest-Version: 1.0\r\nStart-Class: a.\r\n B\r\n\r\nName: x\r\n")
	f.Add(" x\n: \nA: b\n \n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range manifestOf(text) {
			if strings.ContainsAny(name+value, "\n") {
				t.Errorf("%q: %q", name, value)
			}
		}
	})
}

// What a function has left in place of the log of its classes is not read whatever its
// size.
func TestLogOfClassesIsBounded(t *testing.T) {
	log := filepath.Join(t.TempDir(), javaLoads)
	const lines = "fn.Main source: file:/var/cache/lambent/app.jar\njava.util.List source: jrt:/java.base\nx y\n"
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	if names, own, err := loadedClasses(log); err != nil || own != 1 || !slices.Equal(names, []string{"fn.Main", "java.util.List"}) {
		t.Errorf("%q, %d own, %v", names, own, err)
	}
	if err := os.Truncate(log, maxLoads+1); err != nil {
		t.Fatal(err)
	}
	if names, _, err := loadedClasses(log); err == nil {
		t.Errorf("a log of %d bytes was read: %d names", maxLoads+1, len(names))
	}
}
