package sandboxtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/sandbox"
)

// outputs: what the function writes arrives whole, in order and in time.
func (h Harness) outputs(t *testing.T) {
	d := h.driver(t)
	l := Start(t, d, Spec("output", h.code(t), nil))

	l.Do("print", 3, "hello", "no newline")
	// No waiting: an answer comes after what was written before it.
	if got, want := l.Out.All(), []string{"hello", "hello", "hello", "no newline"}; !slices.Equal(got, want) {
		t.Errorf("output %q, want %q", got, want)
	}
	for n := range 50 {
		before := len(l.Out.All())
		l.Do("print", 1, "x")
		if got := len(l.Out.All()) - before; got != 1 {
			t.Fatalf("round %d: %d lines arrived with the answer", n, got)
		}
	}
	// A line without an end is cut at 256 KiB.
	before := len(l.Out.All())
	l.Do("print", 1, "0123456789abcdef", "", "one megabyte")
	var lengths []int
	for _, line := range l.Out.All()[before:] {
		lengths = append(lengths, len(line))
	}
	if want := []int{256 << 10, 256 << 10, 256 << 10, 256 << 10}; !slices.Equal(lengths, want) {
		t.Errorf("a line of 1 MiB came as %v", lengths)
	}
	// Much of it, and the last words of a process.
	before = len(l.Out.All())
	l.Do("print", 100_000, "0123456789")
	if got := len(l.Out.All()) - before; got != 100_000 {
		t.Errorf("%d of 100000 lines", got)
	}
}

// surroundings: what a function on AWS finds, it finds here.
func (h Harness) surroundings(t *testing.T) {
	d := h.driver(t)
	spec := Spec("around", h.code(t), nil)
	spec.Layers = []string{layer(t, map[string]string{"shared": "one", "first": "1"}), layer(t, map[string]string{"shared": "two"})}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "readme"), []byte("mounted"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec.Runtime.Mounts = []sandbox.Mount{{Host: data, Guest: "/var/lang"}, {Host: filepath.Join(data, "readme"), Guest: "/var/runtime/file"},
		{Link: "/opt", Guest: "/var/link"}}
	l := Start(t, d, spec)

	for _, c := range []struct {
		do   string
		args []string
		want string
	}{
		{"cwd", nil, "/var/task"},
		{"id", nil, "[993,993,990,990,1]"},
		{"env", nil, `["LAMBDA_TASK_ROOT=/var/task","LANG=C","GREETING=hello","AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001"]`},
		{"hostname", nil, "sandbox"},
		{"read", []string{"/opt/shared"}, "two"},
		{"read", []string{"/opt/first"}, "1"},
		{"read", []string{"/var/lang/readme"}, "mounted"},
		{"read", []string{"/var/runtime/file"}, "mounted"},
		{"read", []string{"/var/link/shared"}, "two"},
		{"stat", []string{"/tmp"}, "dtrwxrwxrwx 993:990"},
		{"list", []string{"/tmp"}, "[]"},
		{"list", []string{"/"}, `["bin","dev","etc","home","lib","lib64","opt","proc","run","sbin","tmp","usr","var"]`},
		{"list", []string{"/home"}, "[]"},
		{"list", []string{"/var"}, `["cache","lang","link","run","runtime","task","tmp"]`},
		{"list", []string{"/dev"}, `["fd","full","null","random","shm","stderr","stdin","stdout","tty","urandom","zero"]`},
		{"write", []string{"/tmp/x", "y"}, ""},
		{"read", []string{"/tmp/x"}, "y"},
		{"write", []string{"/dev/null", "y"}, ""},
		{"write", []string{"/dev/shm/x", "y"}, ""},
		{"write", []string{"/dev/full", "y"}, "ERROR: write /dev/full: no space left on device"},
	} {
		if got := l.Do(c.do, 0, c.args...); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.do, c.args, got, c.want)
		}
	}
	status := l.Do("read", 0, "/proc/self/status")
	for _, line := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapInh:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, line+"\n") {
			t.Errorf("/proc/self/status lacks %q", line)
		}
	}
	if passwd := l.Do("read", 0, "/etc/passwd"); !strings.Contains(passwd, "sbx_user1051:x:993:990:") || strings.Count(passwd, "\n") != 2 {
		t.Errorf("/etc/passwd: %q", passwd)
	}

	single := Spec("single", spec.Code, nil)
	single.Layers = spec.Layers[:1]
	if got := Start(t, d, single).Do("read", 0, "/opt/shared"); got != "one" {
		t.Errorf("one layer: %q", got)
	}
}

// layer makes a directory with files.
func layer(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
