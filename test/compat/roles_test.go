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

// roleCode puts a small function where other programs can read it.
func roleCode(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "code.zip")
	if err := os.WriteFile(path, harness.Zip(t, map[string]string{"app.py": echo}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask runs a client's program and gives what it said before it said ok.
func ask(t *testing.T, s *harness.Server, program ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Env = append(append(os.Environ(), s.AWSEnv()...), "PYTHONDONTWRITEBYTECODE=1") // beside the clients
	out, err := cmd.CombinedOutput()
	said, ok := strings.CutSuffix(strings.TrimSpace(string(out)), "ok")
	if err != nil || !ok {
		t.Fatalf("%v: %v\n%s\nserver:\n%s", program, err, out, s.Stderr())
	}
	return said
}

// What a tool has made is the same after the server has started again.
func TestBoto3Roles(t *testing.T) {
	venv := python(t)
	s, code := harness.Start(t, harness.Options{}), roleCode(t)
	run := func(part string) string {
		return ask(t, s, filepath.Join(venv, "bin", "python"), "clients/boto3/roles.py", part, code)
	}
	made := run("create")
	s.Restart()
	if have := run("read"); have != made {
		t.Errorf("after a restart there is\n%s, and not\n%s", have, made)
	}
	run("destroy")
}

// Who has assumed a role may do what it allows, by its keys or by a profile, after a
// restart as well, and nothing when the role is gone.
func TestBoto3AssumeRole(t *testing.T) {
	venv := python(t)
	s, code, kept := harness.Start(t, harness.Options{}), roleCode(t), t.TempDir()
	run := func(part string) {
		ask(t, s, filepath.Join(venv, "bin", "python"), "clients/boto3/assume.py", part, code, kept)
	}
	run("create")
	s.Restart()
	run("go on")
}

func TestAWSCLIRoles(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI many times")
	}
	ask(t, harness.Start(t, harness.Options{}), "clients/cli/roles.sh", roleCode(t))
}
