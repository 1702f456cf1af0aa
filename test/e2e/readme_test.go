package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent/test/harness"
)

// TestReadmeCommands runs the command lines of the README, and of the documents in
// their order, against a server: those that end by themselves.
func TestReadmeCommands(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	documents, err := filepath.Glob(filepath.Join(harness.Root(), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, path := range append([]string{filepath.Join(harness.Root(), "README.md")}, documents...) {
		part, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "first-steps.md" { // see TestFirstSteps
			text.Write(part)
		}
	}
	ran := 0
	for line := range strings.Lines(text.String()) {
		command, ok := strings.CutPrefix(line, "    bin/lambent ")
		if !ok {
			continue
		}
		command, _, _ = strings.Cut(command, "   #")
		args := words(command)
		if args[0] == "serve" { // this is what has been started
			if command != "serve --data ./.lambent" && !strings.HasPrefix(command, "serve --data ./.lambent ") {
				t.Errorf("lambent %s: the other commands do not find it", command)
			}
			continue
		}
		for i, a := range args {
			if strings.HasPrefix(a, "examples/") {
				args[i] = filepath.Join(harness.Root(), a)
			}
		}
		if args[len(args)-1] == "--follow" {
			args = args[:len(args)-1]
		}
		if stdout, stderr, err := s.CLI("", args...); err != nil {
			t.Errorf("lambent %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
		}
		ran++
	}
	if ran < 10 {
		t.Errorf("only %d commands found", ran)
	}
}

// words splits a command line with single quotes, as a shell does.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(strings.TrimSpace(line), "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}
