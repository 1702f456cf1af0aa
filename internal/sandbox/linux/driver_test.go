package linux

import (
	"os"
	"testing"

	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

func TestQuick(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip()
	}
	d, err := New(Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	t.Logf("%+v", d.Describe())
	var _ sandbox.Driver = d
	l := sandboxtest.Start(t, d, sandboxtest.Spec("q", sandboxtest.Probe(t), nil))
	t.Log(l.Do("id", 0), l.Do("cwd", 0), l.Do("env", 0))
	t.Log(l.Do("read", 0, "/proc/self/status"))
	t.Log(l.Do("read", 0, "/proc/self/mountinfo"))
	t.Log(l.Do("read", 0, "/proc/self/cgroup"))
	t.Log(l.Do("addresses", 0))
	t.Logf("%+v", l.Usage())
}
