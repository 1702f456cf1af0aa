package cli

import "testing"

func TestServerLeavesProcessorsToFunctions(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 64: 32} {
		if got := serverProcessors(n); got != want {
			t.Errorf("of %d processors the server takes %d, want %d", n, got, want)
		}
	}
}

func TestCrashAt(t *testing.T) {
	for _, where := range []string{"", "store.before-commit", "store.before-commit:x"} {
		if crashAt(where) != nil {
			t.Errorf("%q made a hook", where)
		}
	}
	hook := crashAt("artifact.after-temp:2")
	hook("artifact.after-temp") // the first passage
	hook("store.after-commit")  // another point
}
