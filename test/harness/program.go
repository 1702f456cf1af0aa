package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Program is a program in Go that tests run: a call builds it, the first time, and
// gives its path.
type Program func() (path string, err error)

// GoProgram is the program in a directory of the repository. The last part of its
// name is the program's, so no two have the same.
func GoProgram(dir string) Program {
	return sync.OnceValues(func() (string, error) {
		binary := filepath.Join(CacheDir(), filepath.Base(dir))
		cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, "./"+dir)
		cmd.Dir = Root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", dir, err, out)
		}
		return binary, nil
	})
}

// Path builds the program and returns its path.
func (p Program) Path(t testing.TB) string {
	t.Helper()
	path, err := p()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Content builds the program and returns what is in its file.
func (p Program) Content(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(p.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
