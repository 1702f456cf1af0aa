package lambdaapi

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeListsWhatIsThere holds the README's table of operations against the
// table that the handler answers from.
func TestReadmeListsWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "| Lambda API |")
	if !ok {
		t.Fatal("the README has no table of the Lambda API")
	}
	section, _, _ = strings.Cut(section, "\n\n")
	listed := map[string]bool{}
	for row := range strings.Lines(section) {
		cells := strings.Split(row, "|")
		if len(cells) < 4 {
			continue
		}
		for _, name := range regexp.MustCompile(`\b[A-Z][a-z]+[A-Z]\w+\b|\bInvoke\b`).FindAllString(cells[2], -1) {
			listed[name] = true
		}
	}
	delete(listed, "RequestResponse")
	delete(listed, "DryRun")
	have := map[string]bool{"Invoke": true, opStream: true}
	for name := range maps.Keys((&handler{}).table()) {
		have[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !listed[name] {
			t.Errorf("%s works, but the README does not list it", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if !have[name] {
			t.Errorf("the README lists %s, which is not there", name)
		}
	}
}
