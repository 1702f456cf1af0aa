package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent/test/harness"
)

// TestReadmeCommands runs the README's own command lines against a server: those
// that end by themselves, in their order.
func TestReadmeCommands(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	text, err := os.ReadFile(filepath.Join(harness.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(line, "    bin/lambent ")
		if !ok {
			continue
		}
		command, _, _ = strings.Cut(command, "   #")
		args := words(command)
		if args[0] == "serve" {
			continue // this is what has been started
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
	if ran < 4 {
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
