package runtimes

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// A Spring Boot application is started by its archive's launcher, which reads the
// archives within the archive through a class loader of its own; no archive of
// class data helps that. Spring's own way out is to take the archive apart and to
// start the application's class with an ordinary class path ("Efficient
// Deployments", Spring Boot reference). That is what is prepared here, in the order
// of the launcher's class path.

// Files of a prepared application besides a function's, and where its parts lie.
const (
	javaAppList  = "app.list" // names of what its archive shall hold
	javaAnswered = "answered" // left by a rehearsal that went well
	bootClasses  = "BOOT-INF/classes"
	bootLib      = "BOOT-INF/lib"
	bootIndex    = "BOOT-INF/classpath.idx"
	bootManifest = "META-INF/MANIFEST.MF"
)

// rehearsal starts an application, asks it once, and ends.
const rehearsal = "lambent.runtime.Rehearsal"

// javaAppKey begins the keys of prepared applications.
const javaAppKey = "java-app-"

// maxManifest bounds what is read of a text in the function's code, in bytes.
const maxManifest = 1 << 20

// bootLaunchers start exploded archives: since Spring Boot 3.2, and before.
var bootLaunchers = []string{"org.springframework.boot.loader.launch.JarLauncher", "org.springframework.boot.loader.JarLauncher"}

// bootCommand is the command line of a Spring Boot application without its class
// path and launcher.
type bootCommand struct{ flags, args []string }

// shellVariable is one that a shell replaces. Those that every application has are
// known; a function's own cannot cover them.
var shellVariable = regexp.MustCompile(`\$(?:\w+|\{\w+\})`)

// bootStart reads an application's command. It knows the one form that deploying an
// archive makes, with flags and arguments of whatever kind; all others start as
// they say.
func bootStart(v *lambent.Version) (c bootCommand, ok bool) {
	words := v.App.Command
	if len(words) == 3 && words[0] == "/bin/sh" && words[1] == "-c" {
		line, found := strings.CutPrefix(words[2], "exec ")
		line = shellVariable.ReplaceAllStringFunc(line, func(name string) string {
			switch strings.Trim(name, "${}") {
			case "PORT":
				return strconv.Itoa(v.App.Port)
			case "AWS_LAMBDA_FUNCTION_MEMORY_SIZE":
				return strconv.Itoa(v.MemoryMB)
			}
			return name
		})
		if !found || strings.ContainsAny(line, "$`\"'\\;&|<>(){}*?[]~#\n") {
			return c, false
		}
		words = strings.Fields(line)
	}
	if len(words) == 0 || words[0] != "java" {
		return c, false
	}
	at := slices.IndexFunc(words, func(w string) bool { return w == "-cp" || w == "-classpath" })
	if at < 0 || at+2 >= len(words) || path.Clean("/var/task/"+strings.TrimPrefix(words[at+1], "/var/task")) != "/var/task" ||
		!slices.Contains(bootLaunchers, words[at+2]) {
		return c, false
	}
	c = bootCommand{flags: words[1:at], args: words[at+3:]}
	return c, !slices.ContainsFunc(c.flags, notForArchive)
}

// notForArchive finds what an archive of class data does not go with, or what is
// about another one.
func notForArchive(flag string) bool {
	return !strings.HasPrefix(flag, "-X") && !strings.HasPrefix(flag, "-D") ||
		strings.HasPrefix(flag, "-Xshare") || strings.HasPrefix(flag, "-Xbootclasspath") || strings.HasPrefix(flag, "-Dloader.") ||
		strings.Contains(flag, "Shared") || strings.Contains(flag, "Archive") || strings.Contains(flag, "AOT")
}

// bootArchive is what an unpacked Spring Boot archive says of itself.
type bootArchive struct {
	main string   // the application's class
	jars []string // names in BOOT-INF/lib, in the launcher's order
}

var className = regexp.MustCompile(`^[\p{L}_$][\p{L}\p{N}_$]*(\.[\p{L}_$][\p{L}\p{N}_$]*)*$`)

// readBoot reads the unpacked archive. Its parts must be where they usually are.
func readBoot(code string) (b bootArchive, err error) {
	root, err := os.OpenRoot(code)
	if err != nil {
		return b, err
	}
	defer func() { _ = root.Close() }() // read only
	for name, value := range manifestOf(readText(root, bootManifest)) {
		switch {
		case name == "Start-Class":
			b.main = value
		case name == "Spring-Boot-Classes" && path.Clean(value) != bootClasses, name == "Spring-Boot-Lib" && path.Clean(value) != bootLib:
			return b, fmt.Errorf("%s is at %s", name, value)
		}
	}
	if !className.MatchString(b.main) {
		return b, errors.New("the manifest names no class to start")
	}
	jars := jarsIn(code, bootLib)
	entries, err := fs.ReadDir(root.FS(), bootLib)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	var indexed []string
	for line := range strings.Lines(readText(root, bootIndex)) {
		name := strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "- "), `"`)
		if dir, base := path.Split(name); path.Clean(dir) == bootLib && jars[base] != "" && !slices.Contains(indexed, base) {
			indexed = append(indexed, base)
		}
	}
	// What the index does not name comes first.
	for _, e := range entries { // sorted
		switch {
		case jars[e.Name()] == "" && strings.HasSuffix(e.Name(), ".jar"):
			return b, fmt.Errorf("a jar's name or kind is unusual: %q", e.Name())
		case jars[e.Name()] != "" && !slices.Contains(indexed, e.Name()):
			b.jars = append(b.jars, e.Name())
		}
	}
	b.jars = append(b.jars, indexed...)
	return b, nil
}

// readText is a file's text, or "" if it has none of a sensible size.
func readText(root *os.Root, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil || len(text) > maxManifest {
		return ""
	}
	return string(text)
}

// manifestOf reads a manifest's main section (JAR File Specification): a line that
// begins with a space continues the one before.
func manifestOf(text string) map[string]string {
	out := map[string]string{}
	last := ""
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line := s.Text()
		if line == "" {
			break
		}
		if more, ok := strings.CutPrefix(line, " "); ok && last != "" {
			out[last] += more
			continue
		}
		if name, value, ok := strings.Cut(line, ": "); ok {
			last, out[name] = name, value
		}
	}
	return out
}

// prepareApplication is [Catalog.Prepare] for an HTTP application: it is started
// once, asked once, and ended as any other instance is; then an archive is made of
// the classes that it needed.
func (c *Catalog) prepareApplication(v *lambent.Version, code, dir string) ([]Making, error) {
	rt, err := c.Resolve(v)
	if err != nil {
		return nil, err
	}
	command, ok := bootStart(v)
	if !ok {
		return nil, errors.New("its command is not that of a Spring Boot archive")
	}
	b, err := readBoot(code)
	if err != nil {
		return nil, fmt.Errorf("read the archive of %s: %w", v.Function, err)
	}
	if err := gatherBoot(code, dir, b); err != nil {
		return nil, fmt.Errorf("gather the classes of %s: %w", v.Function, err)
	}
	class := []string{sandbox.CacheDir + "/" + javaJar}
	for _, jar := range b.jars {
		class = append(class, path.Join(sandbox.CacheDir, "lib", jar))
	}
	classes := strings.Join(class, ":")
	program := rt.Command[0]
	rt.Control, rt.Blank = false, nil
	list, dump := rt, rt
	list.Command = slices.Concat([]string{program}, command.flags,
		[]string{"-XX:DumpLoadedClassList=/tmp/" + javaAppList, "-cp", classes + ":" + guestRuntime + "/bootstrap.jar",
			rehearsal, strconv.Itoa(v.App.Port), v.App.Health, strconv.Itoa(int(v.App.StartTimeout.Seconds())), b.main}, command.args)
	// Objects of the JDK's get into an archive with this collector only, and are
	// used with others as well.
	dump.Command = []string{program, "-Xshare:dump", "-Xlog:disable", "-Xmx512m", "-XX:+UseG1GC",
		"-XX:SharedClassListFile=" + sandbox.CacheDir + "/" + javaAppList, "-XX:SharedArchiveFile=/tmp/" + javaArchive, "-cp", classes}
	return []Making{
		{Runtime: list, Files: []string{javaAnswered, javaAppList}},
		{Runtime: dump, Files: []string{javaArchive}, After: func(dir string) error {
			return writeStart(dir, command, classes, b.main)
		}},
	}, nil
}

// gatherBoot lays the class path out in dir.
func gatherBoot(code, dir string, b bootArchive) error {
	if err := packTree(code, filepath.Join(dir, javaJar)); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "lib"), 0o755); err != nil {
		return err
	}
	for _, jar := range b.jars {
		if err := linkOrCopy(filepath.Join(code, filepath.FromSlash(bootLib), jar), filepath.Join(dir, "lib", jar)); err != nil {
			return err
		}
	}
	return nil
}

// packTree writes the application's own classes and resources to a jar, folders
// included, for Spring looks for those, and the archive's manifest, for versions
// are read from it.
func packTree(code, target string) error {
	root, err := os.OpenRoot(code)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // read only
	text := readText(root, bootManifest)
	if manifestOf(text)["Class-Path"] != "" {
		return errors.New("the manifest has a class path of its own")
	}
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	jar := zip.NewWriter(out)
	err = packText(jar, bootManifest, text)
	own, absent := root.OpenRoot(bootClasses)
	if absent == nil && err == nil {
		err = fs.WalkDir(own.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || name == "." || name == bootManifest:
				return err
			case d.IsDir():
				_, err = jar.CreateHeader(&zip.FileHeader{Name: name + "/", Modified: jarTime})
			case d.Type().IsRegular():
				err = packOne(jar, own, name)
			}
			return err
		})
		err = errors.Join(err, own.Close())
	}
	return errors.Join(err, jar.Close(), out.Close())
}

func packText(jar *zip.Writer, name, text string) error {
	w, err := jar.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: jarTime})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// writeStart writes the command line's part that is the version's own. A JVM that
// finds the archive unfit starts without one and says nothing.
func writeStart(dir string, command bootCommand, classes, main string) error {
	var text bytes.Buffer
	for _, word := range slices.Concat(command.flags, []string{"-Xlog:cds=off", "-Xlog:cds+dynamic=off",
		"-XX:SharedArchiveFile=" + sandbox.CacheDir + "/" + javaArchive, "-cp", classes, main}, command.args) {
		text.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + "\"\n")
	}
	err := errors.Join(os.WriteFile(filepath.Join(dir, javaArgs), text.Bytes(), 0o644),
		os.Remove(filepath.Join(dir, javaAppList)), os.Remove(filepath.Join(dir, javaAnswered)))
	if err != nil {
		return fmt.Errorf("write what is prepared: %w", err)
	}
	return nil
}
