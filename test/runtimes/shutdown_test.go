package runtimes

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/test/harness"
)

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
