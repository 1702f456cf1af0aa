package runtimes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/test/harness"
)

// witness is the extension's program.
func witness(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "witness")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", binary, ".")
	cmd.Dir, cmd.Env = sourceDir("extension"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestExternalExtension runs a program of a layer beside functions.
func TestExternalExtension(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t), "extensions/notes.txt": "no program"})
	broken := publish(t, s, "broken", map[string]string{"extensions/broken!": "no program either"})
	zip := harness.ZipDir(t, code(t, "provided"))
	log := func(name string) string {
		out, stderr, err := s.CLI("", "logs", name)
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		return out
	}

	s.Create(t, harness.Function{Name: "watched", Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer}, Env: map[string]string{"GOODBYE": "50ms"}})
	for range 2 {
		if out := s.Invoke(t, "watched", `{"do":"echo","value":1}`); out.FunctionError != nil {
			t.Fatalf("%s\n%s", out.Payload, log("watched"))
		}
	}
	if _, err := s.Lambda().UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: aws.String("watched"), Timeout: aws.Int32(7),
	}); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !strings.Contains(log("watched"), "done with the end") && time.Since(began) < 5*time.Second; time.Sleep(50 * time.Millisecond) {
	}
	text := log("watched")
	at := 0
	for _, want := range []string{
		`witness: registered for {"functionName":"watched","functionVersion":"$LATEST","handler":"h"}`,
		"witness: INVOKE", "witness: INVOKE", "witness: SHUTDOWN spindown", "told of the end", "done with the end",
	} {
		n := strings.Index(text[at:], want)
		if n < 0 {
			t.Fatalf("no %q, or not in its place, in the log:\n%s", want, text)
		}
		at += n + len(want)
	}
	if strings.Contains(text, "has the handler's name") {
		t.Error("the extension has the runtime's variables")
	}

	s.Create(t, harness.Function{Name: "crashing", Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer}, Env: map[string]string{"WITNESS": "crash"}})
	wantFailure(t, s.Invoke(t, "crashing", `{"do":"sleep","seconds":2}`), "Extension.Crash", "RequestId: ID Error: Extension witness exited with error: exit status 3")
	s.Create(t, harness.Function{Name: "broken", Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer, broken}})
	if f := failureOf(t, s.Invoke(t, "broken", `{}`)); f.Type != "Extension.LaunchError" {
		t.Errorf("%+v", f)
	}
}

// TestShutdownHook ends instances of an aws-lambda-go function with a handler for
// SIGTERM, for which the client registers an extension. It has half a second.
func TestShutdownHook(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, c := range []struct {
		name, takes string
		done        bool
	}{
		{"quick", "100ms", true}, {"slow", "5s", false}, {"none", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := harness.Function{Name: c.name, Runtime: "provided.al2023", Handler: "h", Zip: harness.ZipDir(t, code(t, "provided"))}
			if c.takes != "" {
				f.Env = map[string]string{"GOODBYE": c.takes}
			}
			s.Create(t, f)
			for range 2 { // the second call finds the instance ready again
				if out := s.Invoke(t, c.name, `{"do":"echo","value":1}`); out.FunctionError != nil {
					t.Fatalf("%s", out.Payload)
				}
			}
			// A changed function's instances end.
			if _, err := s.Lambda().UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
				FunctionName: aws.String(c.name), Timeout: aws.Int32(7),
			}); err != nil {
				t.Fatal(err)
			}
			told := func() string {
				out, stderr, err := s.CLI("", "logs", c.name)
				if err != nil {
					t.Fatalf("%v: %s", err, stderr)
				}
				return out
			}
			began := time.Now()
			for !strings.Contains(told(), "told of the end") && time.Since(began) < 3*time.Second {
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(time.Second)
			log := told()
			if want := c.takes != ""; strings.Contains(log, "told of the end") != want || strings.Contains(log, "done with the end") != c.done {
				t.Errorf("told: want %v, done: want %v, in the log:\n%s", want, c.done, log)
			}
		})
	}
}
