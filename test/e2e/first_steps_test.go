package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/gateway/certs/acmetest"
	"lambent.dev/lambent/internal/image/imagetest"
	"lambent.dev/lambent/test/harness"
)

// TestFirstSteps follows docs/first-steps.md, line by line, in a directory that has what
// it speaks of. What is behind # in a line with curl has to be in the answer.
func TestFirstSteps(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "first-steps.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	authority := acmetest.Start(t, acmetest.Options{})
	registry := imagetest.Start(t)
	page := imagetest.Layer(t, [2]string{"usr/bin/serve!", files.Content(t)}, [2]string{"srv/page", "from the image"})
	registry.Push(t, "team/site:1", imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"serve"}, WorkingDir: "/srv"}, page))
	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"registries:\n  - {host: %q, username: %s, password: %s}\ntls:\n  listen: 127.0.0.1:0\n  acme: {directory: %q, roots: %q}\n",
		registry.Host, imagetest.User, imagetest.Password, authority.Directory, authority.RootsFile)})
	authority.Prove(portOf(t, s.Gateway), portOf(t, tlsOf(t, s)))

	dir := t.TempDir()
	_, chain, key := harness.Certificate(t, "api.example.com")
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"bin/lambent": harness.Binary(t), "examples": filepath.Join(harness.Root(), "examples"), "cert.pem": chain, "key.pem": key,
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	here := strings.NewReplacer("127.0.0.1:8080", strings.TrimPrefix(s.Gateway, "http://"),
		"8443", strconv.Itoa(portOf(t, tlsOf(t, s))), "registry.example.com", registry.Host)
	ran := 0
	for line := range strings.Lines(string(text)) {
		command, isCommand := strings.CutPrefix(strings.TrimSpace(line), "bin/lambent ")
		if !strings.HasPrefix(line, "    ") || !isCommand && !strings.HasPrefix(line, "    curl ") || strings.HasPrefix(command, "serve ") {
			continue
		}
		command, says, _ := strings.Cut(strings.TrimSpace(line), "   # ")
		sh := exec.Command("sh", "-c", here.Replace(strings.TrimSpace(command)))
		sh.Dir, sh.Env = dir, append(os.Environ(), "LAMBENT_DATA="+s.Data)
		out, err := sh.CombinedOutput()
		if err != nil || !isCommand && !strings.Contains(string(out), strings.TrimSpace(says)) {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		ran++
	}
	if ran < 15 {
		t.Errorf("only %d commands found", ran)
	}
}
