package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

const mavenProject = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example</groupId><artifactId>greeter</artifactId><version>1</version>
<properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target>
<project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties><dependencies>
<dependency><groupId>com.amazonaws</groupId><artifactId>aws-lambda-java-core</artifactId><version>1.2.3</version></dependency>
<dependency><groupId>com.google.code.gson</groupId><artifactId>gson</artifactId><version>2.10.1</version></dependency>
</dependencies></project>
`

const mavenHandler = `package example;
public class Greeter implements com.amazonaws.services.lambda.runtime.RequestHandler<String, String> {
    public String handleRequest(String name, com.amazonaws.services.lambda.runtime.Context context) {
        return new com.google.gson.Gson().toJson(java.util.List.of("GREETING", name));
    }
}
`

// TestMavenProject deploys a project as "mvn package" leaves it, without what it depends
// on, and again after a change: neither is for its author to think of.
func TestMavenProject(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	dir := t.TempDir()
	source := filepath.Join(dir, "src/main/java/example/Greeter.java")
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "pom.xml"), mavenProject)
	deploy := func(want string) {
		t.Helper()
		stdout, stderr, err := s.CLI("", "deploy", dir, "--name", "greeter", "--timeout", "30")
		if err != nil || !strings.HasPrefix(stdout, "greeter "+want) {
			t.Fatalf("deploy: %v\n%s%s", err, stdout, stderr)
		}
	}
	for _, c := range [][2]string{{"Hello", "created"}, {"Good bye", "updated"}} {
		write(source, strings.Replace(mavenHandler, "GREETING", c[0], 1))
		deploy(c[1])
		wantPayload(t, s.Invoke(t, "greeter", `"world"`), `"[\"`+c[0]+`\",\"world\"]"`)
		deploy("unchanged")
		time.Sleep(10 * time.Millisecond) // what is written next is newer on any file system
	}
}
