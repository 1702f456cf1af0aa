package project

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// maxClasses bounds how many class files are looked at for a handler.
const maxClasses = 20_000

func readFull(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// guessJava knows a jar that is the tree itself, a built jar in target/ (Maven)
// or build/libs/ (Gradle), and classes with their jars in lib/. What Maven has built
// before the last change, or without what it depends on, it is to build again.
func guessJava(tree fs.FS, _ string) (Guess, bool, error) {
	if isFile(tree, "META-INF/MANIFEST.MF") {
		return javaHandler(tree, Guess{Family: Java, Because: []string{"it is a jar"}}), true, nil
	}
	if jar := builtJar(tree); jar != "" {
		if why := outdated(tree, jar); why != "" {
			return Guess{Family: Java, Build: BuildMaven, Jar: jar, Because: []string{why}}, true, nil
		}
		g, err := guessJar(tree, jar)
		return g, err == nil, err
	}
	jars, _ := fs.Glob(tree, "lib/*.jar") // the pattern is well formed
	if len(jars) == 0 && isFile(tree, "pom.xml") {
		return Guess{Family: Java, Build: BuildMaven, Because: []string{"pom.xml makes it a Maven project"}}, true, nil
	}
	if len(jars) == 0 {
		return Guess{}, false, nil
	}
	return javaHandler(tree, Guess{Family: Java, Because: []string{"there are jars in lib/"}}), true, nil
}

// guessJar looks for the handler in a built jar.
func guessJar(tree fs.FS, jar string) (Guess, error) {
	data, err := fs.ReadFile(tree, jar)
	if err != nil {
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "read %s: %w", jar, err)
	}
	inside, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "%s is damaged: build it again", jar)
	}
	g := Guess{Family: Java, Jar: jar, Because: []string{"it was built to " + jar}}
	if dir := MavenLibraries(tree); dir != "" {
		if jars, _ := fs.ReadDir(tree, dir); len(jars) > 0 { // without it the jar has to do
			g.Libraries = dir
		}
	}
	return javaHandler(inside, g), nil
}

// Built is the guess for a tree that Maven has just built.
func Built(tree fs.FS) (Guess, error) {
	jar := builtJar(tree)
	if jar == "" {
		return Guess{}, lambent.Errorf(lambent.CodeInvalid, "the build left no jar in target/")
	}
	return guessJar(tree, jar)
}

// builtJar is the one jar of a build that has the dependencies in it: one that
// is named so, else the largest. It is "" when nothing was built.
func builtJar(tree fs.FS) string {
	var best string
	var bestRank int64
	for _, pattern := range []string{"target/*.jar", "build/libs/*.jar"} {
		jars, _ := fs.Glob(tree, pattern) // the patterns are well formed
		for _, jar := range jars {
			base := strings.TrimSuffix(path.Base(jar), ".jar")
			if strings.HasPrefix(base, "original-") || slices.ContainsFunc([]string{"-sources", "-javadoc", "-tests", "-plain"}, func(s string) bool { return strings.HasSuffix(base, s) }) {
				continue
			}
			info, err := fs.Stat(tree, jar)
			if err != nil {
				continue
			}
			rank := info.Size() + 1
			if slices.ContainsFunc([]string{"-all", "-shaded", "-jar-with-dependencies", "-uber"}, func(s string) bool { return strings.HasSuffix(base, s) }) {
				rank += 1 << 40
			}
			if rank > bestRank {
				best, bestRank = jar, rank
			}
		}
	}
	return best
}

// MainClass is the class that a jar starts with; of a tree when jar is "".
func MainClass(tree fs.FS, jar string) string {
	if jar != "" {
		data, err := fs.ReadFile(tree, jar)
		if err != nil {
			return ""
		}
		if tree, err = zip.NewReader(bytes.NewReader(data), int64(len(data))); err != nil {
			return ""
		}
	}
	for line := range strings.Lines(source(tree, "META-INF/MANIFEST.MF")) {
		if class, ok := strings.CutPrefix(line, "Main-Class:"); ok {
			return strings.TrimSpace(class)
		}
	}
	return ""
}

// javaHandler looks for the one class that has AWS's handler interface.
func javaHandler(tree fs.FS, g Guess) Guess {
	var classes []string
	seen := 0
	// Errors leave the handler open, and the caller asks for it.
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".class" {
			return err
		}
		if seen++; seen > maxClasses {
			return fs.SkipAll
		}
		if class, ok := handlerClass([]byte(source(tree, name))); ok && !strings.HasPrefix(class, "com.amazonaws.") {
			classes = append(classes, class)
		}
		return nil
	})
	if len(classes) == 1 {
		g.Handler = classes[0] + "::handleRequest"
		g.Because = append(g.Because, classes[0]+" implements the handler interface")
	}
	return g
}

// handlerInterfaces are those of aws-lambda-java-core.
var handlerInterfaces = []string{
	"com/amazonaws/services/lambda/runtime/RequestHandler",
	"com/amazonaws/services/lambda/runtime/RequestStreamHandler",
}

// Flags and constant tags of a class file (The Java Virtual Machine
// Specification, sections 4.1 and 4.4).
const (
	classMagic   = 0xCAFEBABE
	accInterface = 0x0200
	accAbstract  = 0x0400

	tagUTF8       = 1
	tagLong       = 5
	tagDouble     = 6
	tagClass      = 7
	tagString     = 8
	tagHandle     = 15
	tagMethodType = 16
	tagModule     = 19
	tagPackage    = 20
)

// handlerClass reads a class file and tells its name if it is a concrete class
// that names one of the handler interfaces as its own.
func handlerClass(data []byte) (string, bool) {
	r := &classReader{data: data}
	if r.u4() != classMagic {
		return "", false
	}
	r.skip(4) // version
	texts, classes := r.constants()
	access := r.u2()
	this := texts[classes[r.u2()]]
	r.skip(2) // superclass
	handles := false
	for range r.u2() {
		handles = handles || slices.Contains(handlerInterfaces, texts[classes[r.u2()]])
	}
	ok := handles && !r.short && this != "" && access&(accInterface|accAbstract) == 0
	return strings.ReplaceAll(this, "/", "."), ok
}

// classReader reads big-endian numbers; past the end it reads zeros.
type classReader struct {
	data  []byte
	short bool
}

func (r *classReader) take(n int) []byte {
	if n > len(r.data) {
		r.short = true
		r.data = nil
		return make([]byte, min(n, 4))
	}
	p := r.data[:n]
	r.data = r.data[n:]
	return p
}

func (r *classReader) skip(n int) { r.take(n) }
func (r *classReader) u1() byte   { return r.take(1)[0] }
func (r *classReader) u2() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *classReader) u4() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// constants reads the constant pool: texts by index, and the text of each class.
func (r *classReader) constants() (texts map[uint16]string, classes map[uint16]uint16) {
	texts, classes = make(map[uint16]string), make(map[uint16]uint16)
	count := r.u2()
	for i := uint16(1); i < count && !r.short; i++ {
		switch r.u1() {
		case tagUTF8:
			if n := int(r.u2()); n <= len(r.data) {
				texts[i] = string(r.take(n))
			} else {
				r.short = true
			}
		case tagClass:
			classes[i] = r.u2()
		case tagString, tagMethodType, tagModule, tagPackage:
			r.skip(2)
		case tagHandle:
			r.skip(3)
		case tagLong, tagDouble:
			r.skip(8)
			i++ // these take two places in the pool (section 4.4.5)
		default:
			r.skip(4)
		}
	}
	return texts, classes
}
