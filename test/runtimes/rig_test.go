package runtimes

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/test/harness"
)

// sourceDir has the functions of one language.
func sourceDir(language string) string {
	return filepath.Join(harness.Root(), "test", "runtimes", "functions", language)
}

// providedProgram is the function in Go, which is also the program that tries to
// get out of sandboxes.
var providedProgram = harness.GoProgram("test/runtimes/functions/provided")

// javaFunction compiles the Java function, once for the content of its sources.
var javaFunction = sync.OnceValues(func() (string, error) {
	jar := filepath.Join(harness.Root(), "runtimes", "java", "bootstrap.jar")
	files, err := filepath.Glob(filepath.Join(sourceDir("java"), "fn", "*.java"))
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	for _, f := range append(files, jar) {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		digest.Write(b)
	}
	dir := filepath.Join(harness.CacheDir(), "java-function-"+hex.EncodeToString(digest.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	work, err := os.MkdirTemp(harness.CacheDir(), ".java-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("javac", append([]string{"-cp", jar, "--release", "17", "-d", work}, files...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile the Java function: %w\n%s", err, out)
	}
	if err := os.Rename(work, dir); err != nil {
		return "", err
	}
	return dir, nil
})

// dotnetFunction compiles the functions in C#.
var dotnetFunction = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(harness.CacheDir(), "dotnet-function")
	if out, err := exec.Command(filepath.Join(sourceDir("dotnet"), "build.sh"), dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the functions in C#: %w\n%s", err, out)
	}
	return dir, nil
})

// code is a copy of a language's function with the program that tries to get
// out, for a test to add to.
func code(t testing.TB, language string) string {
	t.Helper()
	from := sourceDir(language)
	var err error
	switch language {
	case "provided":
		from = ""
	case "java":
		if from, err = javaFunction(); err != nil {
			t.Fatal(err)
		}
	case "dotnet":
		if from, err = dotnetFunction(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if from != "" {
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "bootstrap"), providedProgram.Content(t), 0o755)
	return dir
}

func write(t testing.TB, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// failure is the part that all error objects have.
type failure struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func failureOf(t testing.TB, out *lambda.InvokeOutput) failure {
	t.Helper()
	var f failure
	if out.FunctionError == nil || *out.FunctionError != "Unhandled" || json.Unmarshal(out.Payload, &f) != nil {
		t.Errorf("FunctionError %v, payload %.300s: want an error object", out.FunctionError, out.Payload)
	}
	return f
}

// wantFailure compares an error object with one whose ID stands for any request
// id. One of the platform's own has nothing else in it.
func wantFailure(t testing.TB, out *lambda.InvokeOutput, kind, message string) {
	t.Helper()
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(message), "ID", "[0-9a-f-]{36}") + "$"
	f := failureOf(t, out)
	if f.Type != kind || !regexp.MustCompile(pattern).MatchString(f.Message) {
		t.Errorf("error %s, want %s: %s\n%s", out.Payload, kind, message, logOf(out))
	}
	if strings.Contains(message, "RequestId: ID ") {
		var all map[string]any
		if err := json.Unmarshal(out.Payload, &all); err != nil || len(all) != 2 {
			t.Errorf("error object of the platform: %s", out.Payload)
		}
	}
}

func wantPayload(t testing.TB, out *lambda.InvokeOutput, want string) {
	t.Helper()
	if out.FunctionError != nil || string(out.Payload) != want {
		t.Errorf("payload %.300s (%v), want %.300s\n%s", out.Payload, out.FunctionError != nil, want, logOf(out))
	}
}

// decode reads an answer that has to be one.
func decode[T any](t testing.TB, out *lambda.InvokeOutput) T {
	t.Helper()
	var v T
	if out.FunctionError != nil {
		t.Fatalf("error %.500s\n%s", out.Payload, logOf(out))
	}
	if err := json.Unmarshal(out.Payload, &v); err != nil {
		t.Fatalf("answer %.300s: %v", out.Payload, err)
	}
	return v
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// logOf is the tail that came with the answer.
func logOf(out *lambda.InvokeOutput) string {
	if out.LogResult == nil {
		return ""
	}
	text, err := base64.StdEncoding.DecodeString(*out.LogResult)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ready lists the runtimes that the server has an interpreter of the very
// version for, by the beginning of their names.
func ready(t testing.TB, s *harness.Server, prefix string) []string {
	t.Helper()
	out, errs, err := s.CLI("", "runtime", "list", "--json")
	if err != nil {
		t.Fatalf("list runtimes: %v %s", err, errs)
	}
	var list []struct{ Name, State, Note string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list {
		if r.State == "ready" && r.Note == "" && strings.HasPrefix(r.Name, prefix) {
			names = append(names, r.Name)
		}
	}
	return names
}

// some are the first and the last of the names, which stand for all.
func some(names []string) []string {
	if len(names) > 2 {
		return []string{names[0], names[len(names)-1]}
	}
	return names
}

// account that test servers have.
const account = "000000000000"
