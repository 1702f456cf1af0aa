package e2e

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// refused runs a server that must not start, and returns what it said.
func refused(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), append([]string{"serve"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if ctx.Err() != nil || err == nil {
		t.Fatalf("serve %v: %v, want it to refuse\n%s", args, err, stderr.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	text := strings.TrimSpace(stderr.String())
	if text == "" || strings.Contains(text, "\n") {
		t.Errorf("want one clear line, have:\n%s", text)
	}
	return text
}

func wantWords(t *testing.T, line string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("%q does not say %q", line, w)
		}
	}
}

func TestServerRefusesToStart(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	free := []string{"--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"}
	on := func(data string) []string { return append([]string{"--data", data}, free...) }

	t.Run("port in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		line := refused(t, "--data", t.TempDir(), "--listen", l.Addr().String(), "--gateway", "127.0.0.1:0")
		wantWords(t, line, l.Addr().String(), "in use")
	})
	t.Run("newer data", func(t *testing.T) {
		data := t.TempDir()
		if err := os.WriteFile(filepath.Join(data, "format"), []byte("999\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		wantWords(t, refused(t, on(data)...), "newer", data)
	})
	t.Run("two servers", func(t *testing.T) {
		s := harness.Start(t, harness.Options{})
		wantWords(t, refused(t, on(s.Data)...), "in use by process", s.Data)
		if _, err := s.Lambda().GetAccountSettings(context.Background(), nil); err != nil {
			t.Errorf("the first server does not answer any more: %v", err)
		}
	})
	t.Run("read-only data directory", func(t *testing.T) {
		data := mount(t, "ro,size=16m")
		wantWords(t, refused(t, on(data)...), "read-only", data)
	})
	t.Run("disk full", func(t *testing.T) {
		data := mount(t, "size=64k")
		_ = os.WriteFile(filepath.Join(data, "fill"), make([]byte, 64<<10), 0o644)
		wantWords(t, refused(t, on(data)...), "disk is full", data)
	})
	t.Run("unknown setting", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "lambent.yaml")
		if err := os.WriteFile(file, []byte("region: us-east-1\nlisten_on: nowhere\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		wantWords(t, refused(t, append(on(t.TempDir()), "--config", file)...), "listen_on", "2")
	})
}

// TestDiskFullLater fills the disk of a running server: what it cannot keep it
// refuses, what it has it still runs, and with room again all goes on.
func TestDiskFullLater(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := harness.Start(t, harness.Options{Data: mount(t, "size=48m")})
	deployProbe(t, s, harness.Function{Name: "before"})
	wantPayload(t, s.Invoke(t, "before", `{"do":"echo"}`), `{"do":"echo"}`)
	fill := filepath.Join(s.Data, "fill")
	fillUp(t, fill)
	binary := probe.Content(t)
	_, stderr, err := s.CLI("", "deploy", zipFile(t, binary), "--name", "full", "--runtime", "provided.al2023")
	if err == nil {
		t.Error("a deploy on a full disk succeeded")
	}
	wantWords(t, stderr, "disk is full")
	wantPayload(t, s.Invoke(t, "before", `{"do":"echo"}`), `{"do":"echo"}`)

	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	deployProbe(t, s, harness.Function{Name: "full"})
	wantPayload(t, s.Invoke(t, "full", `{"do":"echo"}`), `{"do":"echo"}`)
}

func zipFile(t *testing.T, bootstrap string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "code.zip")
	if err := os.WriteFile(file, harness.Zip(t, map[string]string{"bootstrap!": bootstrap}), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// mount makes a file system of its own for a data directory.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	flags := uintptr(0)
	if rest, ok := strings.CutPrefix(options, "ro,"); ok {
		flags, options = syscall.MS_RDONLY, rest
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
