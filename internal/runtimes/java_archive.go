package runtimes

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// Making is one run of a runtime in a sandbox that leaves files in /tmp, to be
// taken out when it has ended. The sandbox sees the folder that they go to at
// [sandbox.CacheDir].
type Making struct {
	Runtime sandbox.Runtime
	Env     []string // besides the function's own
	// Files are what it leaves; the run has failed if the first is missing.
	Files []string
	// After, if set, goes over the files in the folder once they are there.
	After func(dir string) error
}

// Files of a prepared version, in its folder.
const (
	javaArchive = "app.jsa"    // class data of the function's own classes
	javaJar     = "app.jar"    // its exploded classes as one archive
	javaArgs    = "java.args"  // the command line's part that goes with them
	javaClasses = "classes"    // names of what the archive holds, in the order of loading
	javaList    = "base.list"  // names of what the common archive shall hold
	javaBaseNew = "base.jsa"   // the common archive, on its way to its place
	javaLoads   = "loads.text" // the JVM's log of the classes that it loads
)

// javaFew is how many classes a function of its own must load for an archive of
// them to be worth more than a blank. Loading one takes 0.1 to 0.2 ms.
const javaFew = 100

// PrepareKey names what is made ahead for a version: equal keys, equal files. It
// has the tenant in it, since the function's own code has a hand in making them.
// ok is false where there is nothing to make.
func (c *Catalog) PrepareKey(v *lambent.Version) (key string, ok bool) {
	r, known := lookup(v.Runtime)
	switch {
	case known && r.family == familyWasm:
		return "wasm-" + v.Namespace + "-" + string(v.Code.Digest), true
	case known && r.family == familyPython:
		return c.pythonKey(v, r)
	case !known || r.family != familyJava || v.Env[execWrapper] != "":
		return "", false
	}
	i, _, ok := pick(c.interpreters(), r)
	if !ok {
		return "", false
	}
	parts := []string{v.Runtime, v.Namespace, string(v.Code.Digest), v.Handler, i.key, c.layout}
	if v.App != nil {
		if _, ok := bootStart(v); !ok {
			return "", false
		}
		parts = slices.Concat(parts, []string{"application", strconv.Itoa(v.App.Port), strconv.Itoa(v.MemoryMB), v.App.Health}, v.App.Command)
	}
	for _, name := range []string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"} {
		parts = append(parts, v.Env[name])
	}
	for _, l := range v.Layers {
		parts = append(parts, string(l.Digest))
	}
	kind := "java-"
	if v.App != nil {
		kind = javaAppKey
	}
	return kind + shortHash(parts...) + shortHash(append(parts, "2")...), true
}

// Base says how what all functions of v's runtime start from is made, in order.
// It is nothing when that is there already. After the last run it is in place.
func (c *Catalog) Base(v *lambent.Version) []Making {
	r, known := lookup(v.Runtime)
	if !known || r.family != familyJava || v.App != nil {
		return nil
	}
	i, _, ok := pick(c.interpreters(), r)
	target := filepath.Join(c.layout, "java", c.javaBase(i))
	if !ok || exists(target) {
		return nil
	}
	rt := c.launch(&lambent.Version{Runtime: v.Runtime, MemoryMB: v.MemoryMB}, i, r)
	list := with(rt, "-XX:DumpLoadedClassList=/tmp/"+javaList)
	dump := with(rt, "-Xshare:dump", "-XX:SharedClassListFile="+sandbox.CacheDir+"/"+javaList,
		"-XX:SharedArchiveFile=/tmp/"+javaBaseNew)
	return []Making{
		{Runtime: list, Env: []string{"LAMBENT_PREPARE=runtime"}, Files: []string{javaList}, After: func(dir string) error {
			return addClassList(filepath.Join(dir, javaList), filepath.Join(i.prefix, "lib", "classlist"))
		}},
		{Runtime: dump, Files: []string{javaBaseNew}, After: func(dir string) error {
			return c.install(filepath.Join(dir, javaBaseNew), target)
		}},
	}
}

// with puts flags before the class path, and takes away what is set once the
// process speaks the control protocol: these runs have no function to turn to.
func with(rt sandbox.Runtime, flags ...string) sandbox.Runtime {
	at := slices.Index(rt.Command, "-cp")
	rt.Command = slices.Insert(slices.Clone(rt.Command), at, flags...)
	rt.Control, rt.Blank = false, nil
	return rt
}

// addClassList puts the JDK's own list before ours and leaves out the one class
// that blanks load from the jar.
func addClassList(ours, jdk string) error {
	own, err := os.ReadFile(ours)
	if err != nil {
		return fmt.Errorf("read the list of classes: %w", err)
	}
	all, err := os.ReadFile(jdk)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the JDK's list of classes: %w", err)
	}
	var out strings.Builder
	out.Write(all)
	for line := range strings.Lines(string(own)) {
		if !strings.Contains(line, "lambent/runtime/Spark") {
			out.WriteString(line)
		}
	}
	return os.WriteFile(ours, []byte(out.String()), 0o644)
}

// install moves a file into the bootstrap's folder, whole or not at all, also if
// the power fails: every start trusts it.
func (c *Catalog) install(from, target string) error {
	f, err := os.Open(from)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(from, target)
	}
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(target), err)
	}
	return nil
}

// Prepare makes ahead what starts of v can use: it fills dir from the unpacked
// code and layers, and says what remains to be run. The function's classes are
// loaded in that run as at its start, constructor included, and written down.
func (c *Catalog) Prepare(v *lambent.Version, code string, layers []string, dir string) ([]Making, error) {
	if v.App != nil {
		return c.prepareApplication(v, code, dir)
	}
	rt, err := c.Resolve(v)
	if err != nil {
		return nil, err
	}
	if r, _ := lookup(v.Runtime); r.family == familyPython {
		return preparePython(rt), nil
	}
	path, err := gather(code, layers, dir)
	if err != nil {
		return nil, fmt.Errorf("gather the classes of %s: %w", v.Function, err)
	}
	line := "-cp " + strings.Join(append([]string{guestRuntime + "/bootstrap.jar"}, path...), ":") + "\n"
	if err := os.WriteFile(filepath.Join(dir, javaArgs), []byte(line), 0o644); err != nil {
		return nil, fmt.Errorf("write the class path of %s: %w", v.Function, err)
	}
	rt = withArgs(rt, "-XX:ArchiveClassesAtExit=/tmp/"+javaArchive, "-Xlog:disable", "-Xlog:class+load:file=/tmp/"+javaLoads+":none")
	rt.Control, rt.Blank = false, nil
	return []Making{{
		Runtime: rt, Env: []string{"LAMBENT_PREPARE=function"}, Files: []string{javaArchive, javaLoads}, After: finish,
	}}, nil
}

// withArgs has the class path come from the prepared folder.
func withArgs(rt sandbox.Runtime, flags ...string) sandbox.Runtime {
	at := slices.Index(rt.Command, "-cp")
	rt.Command = slices.Concat(rt.Command[:at], flags, []string{"@" + sandbox.CacheDir + "/" + javaArgs, javaMain})
	return rt
}

// Prepared is rt as it starts with what is in dir, mounted at
// [sandbox.CacheDir]. Where a blank is the better start, it is rt itself, and
// nothing is to be mounted.
func (c *Catalog) Prepared(rt sandbox.Runtime, dir, key string) (_ sandbox.Runtime, mount string) {
	if strings.HasPrefix(key, javaAppKey) {
		rt.Command, rt.Application = []string{rt.Command[0], "@" + sandbox.CacheDir + "/" + javaArgs}, true
		return rt, dir
	}
	if strings.HasPrefix(key, pythonKind) {
		return rt, dir
	}
	if slices.Index(rt.Command, "-cp") < 0 || exists(filepath.Join(dir, "few")) && rt.Blank != nil {
		return rt, ""
	}
	rt = withArgs(rt)
	if rt.Blank == nil {
		return rt, dir
	}
	// A blank of this version's own: the JVM maps the archive when it starts, and
	// loads the classes without initialising any. So the folder is there from the
	// start.
	rt.Mounts = append(slices.Clip(rt.Mounts), sandbox.Mount{Host: dir, Guest: sandbox.CacheDir})
	blank := *rt.Blank
	blank.Key += "+" + key
	blank.Command = rt.Command
	rt.Blank = &blank
	return rt, ""
}

// finish turns the run's log into the list of classes and completes the command
// line. The archive names the one beneath it itself; were both named there, a JVM
// that finds a broken one would end instead of starting without.
func finish(dir string) error {
	names, own, err := loadedClasses(filepath.Join(dir, javaLoads))
	if err != nil {
		return err
	}
	args, err := os.ReadFile(filepath.Join(dir, javaArgs))
	if err != nil {
		return fmt.Errorf("read the class path: %w", err)
	}
	args = append(args, []byte("-XX:SharedArchiveFile="+sandbox.CacheDir+"/"+javaArchive+"\n")...)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, javaArgs), args, 0o644),
		os.WriteFile(filepath.Join(dir, javaClasses), []byte(strings.Join(names, "\n")), 0o644),
		os.Remove(filepath.Join(dir, javaLoads)))
	if err == nil && own < javaFew {
		err = os.WriteFile(filepath.Join(dir, "few"), nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write what is prepared: %w", err)
	}
	return nil
}

// maxLoads bounds the log of loaded classes, in bytes: the function could write what it
// likes to it, and it is read as a whole. A hundred thousand classes take 12 MB.
const maxLoads = 32 << 20

// loadedClasses lists the classes that came from the function's archives and those
// of the JDK that are not in the common one, as the JVM logs them: "pkg.Name
// source: file:/var/cache/lambent/lib/a.jar". own is how many are the function's.
func loadedClasses(log string) (names []string, own int, err error) {
	info, err := os.Stat(log)
	if err == nil && info.Size() > maxLoads {
		return nil, 0, fmt.Errorf("the log of loaded classes has %d bytes, more than %d", info.Size(), maxLoads)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, 0, fmt.Errorf("read the log of loaded classes: %w", err)
	}
	for line := range bytes.Lines(text) {
		name, source, ok := strings.Cut(string(bytes.TrimSpace(line)), " source: ")
		ours := strings.HasPrefix(source, "file:"+sandbox.CacheDir+"/")
		if !ok || !ours && !strings.HasPrefix(source, "jrt:/") || strings.ContainsAny(name, " /") {
			continue
		}
		names = append(names, name)
		if ours {
			own++
		}
	}
	return names, own, nil
}

// gather puts the function's classes into dir in a form that archives of class
// data can be made of, which folders of classes are not: the exploded ones in
// one archive, beside it links to the function's and the layers' own. It returns
// their class path in the sandbox.
func gather(code string, layers []string, dir string) ([]string, error) {
	var class []string
	packed, err := packClasses(code, filepath.Join(dir, javaJar))
	if err != nil {
		return nil, err
	}
	if packed {
		class = append(class, sandbox.CacheDir+"/"+javaJar)
	}
	libs := map[string]string{}
	for _, layer := range layers { // a later layer covers an earlier one
		maps.Copy(libs, jarsIn(layer, "java/lib"))
	}
	for _, set := range []struct {
		name string
		jars map[string]string
	}{{"lib", jarsIn(code, "lib")}, {"opt", libs}} {
		if err := os.Mkdir(filepath.Join(dir, set.name), 0o755); err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(set.jars)) {
			if err := linkOrCopy(set.jars[name], filepath.Join(dir, set.name, name)); err != nil {
				return nil, err
			}
			class = append(class, path.Join(sandbox.CacheDir, set.name, name))
		}
	}
	return class, nil
}

// jarsIn lists the plain files of a folder in a function's code that end in .jar.
// A link that leads out of the code is not followed: it means something in the
// sandbox, and something else here. Names that would not survive the command
// line's file are left out: their classes are then not in the archive, and are
// found as ever.
func jarsIn(code, folder string) map[string]string {
	out := map[string]string{}
	root, err := os.OpenRoot(code)
	if err != nil {
		return nil
	}
	defer func() { _ = root.Close() }() // read only
	entries, err := fs.ReadDir(root.FS(), folder)
	if err != nil {
		return nil // most often it is not there
	}
	dir := filepath.Join(code, filepath.FromSlash(folder))
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".jar") && e.Type().IsRegular() && !strings.ContainsAny(e.Name(), ":\"'\\# \t\n\r\f") {
			out[e.Name()] = filepath.Join(dir, e.Name())
		}
	}
	return out
}

func linkOrCopy(from, to string) (err error) {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chtimes(to, info.ModTime(), info.ModTime()))
}

// packClasses writes the classes of the exploded code, but for those beneath
// lib, to a jar: stored, sorted, dated alike. It tells whether there are any.
func packClasses(code, target string) (bool, error) {
	root, err := os.OpenRoot(code)
	if err != nil {
		return false, err
	}
	defer func() { _ = root.Close() }() // read only
	var names []string
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name == "lib":
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(name, ".class"):
			names = append(names, name)
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		return false, err
	}
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return false, err
	}
	slices.Sort(names)
	jar := zip.NewWriter(out)
	for _, name := range names {
		if err = packOne(jar, root, name); err != nil {
			break
		}
	}
	return true, errors.Join(err, jar.Close(), out.Close())
}

// jarTime is the date of all that is in a packed jar: the format's first.
var jarTime = time.Date(1980, 1, 1, 0, 0, 2, 0, time.UTC)

func packOne(jar *zip.Writer, root *os.Root, name string) error {
	in, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	w, err := jar.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: jarTime})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
