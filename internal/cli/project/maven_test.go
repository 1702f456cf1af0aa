package project

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// pom is a Maven project with one dependency of a scope, and one plugin.
func pom(scope, plugin string) string {
	return `<?xml version="1.0" encoding="ISO-8859-1"?><project xmlns="http://maven.apache.org/POM/4.0.0">
<dependencies><dependency><artifactId>t</artifactId><scope>test</scope></dependency><dependency><artifactId>a</artifactId>` + scope + `</dependency></dependencies>
<build><plugins><plugin><artifactId>` + plugin + `</artifactId></plugin></plugins></build></project>`
}

func TestMavenLibraries(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "<project": false, "<project/>": false,
		pom("", "maven-jar-plugin"):                          true,
		pom("<scope> runtime </scope>", ""):                  true,
		pom("<scope>provided</scope>", ""):                   false,
		pom("<scope>compile</scope>", bundlers[0]):           false,
		strings.ReplaceAll(pom("", ""), "dependencies", "x"): false,
	} {
		if got := MavenLibraries(files("pom.xml", text)); (got != "") != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// TestMavenAgain: what was built is taken as it is until its source changes, or what it
// depends on is missing.
func TestMavenAgain(t *testing.T) {
	jar := string(zipOf(t, "a/H.class", string(classFile("a/H", 0x21, handlerInterfaces[0]))))
	old, now := time.Unix(1e9, 0), time.Unix(2e9, 0)
	tree := func(text string, more ...string) fstest.MapFS {
		tree := files(append([]string{"pom.xml", text, "src/main/java/a/H.java", "x", "src/test/java/a/T.java", "x", "target/x.jar", jar}, more...)...)
		for _, f := range tree {
			f.ModTime = old
		}
		return tree
	}
	changed := tree(pom("<scope>provided</scope>", ""))
	changed["src/main/java/a/H.java"].ModTime = now
	tested := tree(pom("<scope>provided</scope>", ""))
	tested["src/test/java/a/T.java"].ModTime = now
	for name, c := range map[string]struct {
		tree      fs.FS
		build     Build
		libraries string
	}{
		"as it is":             {tree(pom("<scope>provided</scope>", "")), "", ""},
		"another test":         {tested, "", ""},
		"another source":       {changed, BuildMaven, ""},
		"no libraries":         {tree(pom("", "")), BuildMaven, ""},
		"libraries":            {tree(pom("", ""), librariesDir+"/g.a-1.jar", "y"), "", librariesDir},
		"libraries of the jar": {tree(pom("", bundlers[1]), librariesDir+"/g.a-1.jar", "y"), "", ""},
	} {
		g, err := Look(c.tree, "", "")
		if err != nil || g.Build != c.build || g.Jar != "target/x.jar" || g.Libraries != c.libraries || (g.Handler == "") != (c.build != "") {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
		if g, err := Built(c.tree); err != nil || g.Handler != "a.H::handleRequest" {
			t.Errorf("%s, built: %+v, %v", name, g, err)
		}
	}
}
