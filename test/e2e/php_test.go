package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// TestPHPApplication has index.php answer for what is no file, with a dot in its name or
// without, as frameworks expect of the server in front of them.
func TestPHPApplication(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := exec.LookPath("php"); err != nil {
		t.Skip("no php here")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"public/index.php": "<?php $seen = 'yes'; function seen() { global $seen; return $seen; }\necho $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['REQUEST_URI'], ' ', seen(), ' ', basename(getcwd());",
		"public/a b.txt":   "text", "public/tool.php": "<?php echo 'tool ', $_SERVER['SCRIPT_NAME'];",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, harness.Options{})
	app := publish(t, s, "shop", dir)
	c := &http.Client{Timeout: 30 * time.Second}
	for path, want := range map[string]string{
		"/":                    "/index.php / yes public",
		"/users/7":             "/index.php /users/7 yes public",
		"/users/7.json?x=a.b":  "/index.php /users/7.json?x=a.b yes public",
		"/mail/me@example.com": "/index.php /mail/me@example.com yes public",
		"/a%20b.txt":           "text",
		"/v1.0/":               "/index.php /v1.0/ yes public",
		"/tool.php":            "tool /tool.php",
	} {
		if got := ask(t, c, newRequest(t, "GET", app+path, "")); got.status != 200 || got.body != want {
			t.Errorf("%s: %d %q, want %q", path, got.status, got.body, want)
		}
	}
}
