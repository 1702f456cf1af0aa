package project

import (
	"encoding/xml"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// librariesDir is where the jars are put that a Maven project depends on.
const librariesDir = "target/lambent-lib"

// bundlers are the plugins of Maven that put what a project depends on into its jar.
var bundlers = []string{"maven-shade-plugin", "maven-assembly-plugin", "spring-boot-maven-plugin"}

// MavenLibraries is the directory to which the build of a tree has to copy the jars that
// it depends on when it runs; "" where there are none, or its own jar has them.
func MavenLibraries(tree fs.FS) string {
	var pom struct {
		Scopes []struct {
			Scope string `xml:"scope"`
		} `xml:"dependencies>dependency"`
		Plugins []string `xml:"build>plugins>plugin>artifactId"`
	}
	d := xml.NewDecoder(strings.NewReader(source(tree, "pom.xml")))
	d.CharsetReader = func(_ string, text io.Reader) (io.Reader, error) { return text, nil } // the names are ASCII
	if err := d.Decode(&pom); err != nil {
		return "" // Maven says what is wrong with it
	}
	if slices.ContainsFunc(pom.Plugins, func(name string) bool { return slices.Contains(bundlers, strings.TrimSpace(name)) }) {
		return ""
	}
	for _, d := range pom.Scopes {
		switch strings.TrimSpace(d.Scope) {
		case "", "compile", "runtime":
			return librariesDir
		}
	}
	return ""
}

// outdated says why a Maven project has to be built although there is a jar; "" if it
// has not.
func outdated(tree fs.FS, jar string) string {
	built, err := fs.Stat(tree, jar)
	if err != nil || !isFile(tree, "pom.xml") || !strings.HasPrefix(jar, "target/") {
		return ""
	}
	if newer(tree, built.ModTime(), func(string) bool { return false }, "pom.xml", "src/main") {
		return "its source is newer than " + jar
	}
	if dir := MavenLibraries(tree); dir != "" {
		if _, err := fs.Stat(tree, dir); err != nil {
			return jar + " has nothing of what pom.xml depends on"
		}
	}
	return ""
}

// newer tells whether a file below one of the roots was changed after t. Directories
// that skip wants are left out.
func newer(tree fs.FS, t time.Time, skip func(dir string) bool, roots ...string) bool {
	found := false
	look := func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skip(name):
			return fs.SkipDir
		}
		if info, err := d.Info(); err == nil && !d.IsDir() && info.ModTime().After(t) {
			found = true
			return fs.SkipAll
		}
		return nil
	}
	for _, root := range roots {
		_ = fs.WalkDir(tree, root, look) // what cannot be read does not count
	}
	return found
}
