package compat

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(venv, "bin", "python"), "clients/boto3/schedule.py", code)
	cmd.Env = append(os.Environ(), s.AWSEnv()...)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("%v\n%s\nserver:\n%s", err, out, s.Stderr())
	}
}
