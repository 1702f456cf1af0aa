package compat

import (
	"os"
	"path/filepath"
	"testing"

	"lambent.dev/lambent/test/harness"
)

// echo prints what it is told to.
const echo = "def handler(event, context):\n    print(event.get('say'))\n"

func TestBoto3Schedules(t *testing.T) {
	s, venv := harness.Start(t, harness.Options{}), python(t)
	code := filepath.Join(t.TempDir(), "code.zip")
	if err := os.WriteFile(code, harness.Zip(t, map[string]string{"app.py": echo}), 0o644); err != nil {
		t.Fatal(err)
	}
	ask(t, s, filepath.Join(venv, "bin", "python"), "clients/boto3/schedule.py", code)
}
