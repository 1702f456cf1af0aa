package runtimes_test

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
)

// testZygote starts one of the test's own.
func testZygote(t *testing.T, runtime string) *zygote {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a zygote needs root")
	}
	rt := resolved(t, &lambent.Version{Runtime: runtime, MemoryMB: 256})
	toHost := strings.NewReplacer(mounts(rt)...)
	var p program
	for _, arg := range rt.Blank.Zygote {
		p.command = append(p.command, toHost.Replace(arg))
	}
	for _, pair := range rt.Blank.Env {
		p.env = append(p.env, toHost.Replace(pair))
	}
	z := startZygote(t, p)
	t.Cleanup(z.end)
	return z
}

// A zygote imports ahead only what does nothing but be loaded, from trusted places,
// and says what it refuses.
func TestZygotePreload(t *testing.T) {
	for _, name := range pythonsFor(t) {
		t.Run(name, func(t *testing.T) {
			z := testZygote(t, name)
			got := z.ask(t, map[string]any{"op": "preload", "modules": []string{"uuid", "no_such", "antigravity.x", "sqlite3", "json"}})
			if !slices.Equal(got.Loaded, []string{"uuid", "sqlite3", "json"}) || got.Failed["no_such"] == "" || got.Failed["antigravity.x"] == "" {
				t.Errorf("preload: %+v", got)
			}
			fork := z.fork(t, io.Discard)
			fork.hear(t, 'B')
			fork.kill()
			fork.wait()
		})
	}
}

// A node is a zygote on a socket of its own, and goes on from what its parent has.
func TestZygoteNode(t *testing.T) {
	z := testZygote(t, "python3.12")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := z.ask(t, map[string]any{"op": "node"}, fds[1])
	_ = unix.Close(fds[1])
	if got.PID == 0 {
		t.Fatalf("node: %+v", got)
	}
	node := &zygote{f: os.NewFile(uintptr(fds[0]), "node"), log: z.log}
	asked := node.ask(t, map[string]any{"op": "preload", "modules": []string{"sqlite3"}})
	if !slices.Equal(asked.Loaded, []string{"sqlite3"}) {
		t.Errorf("preload in a node: %+v", asked)
	}
	for _, from := range []*zygote{node, z} {
		fork := from.fork(t, io.Discard)
		fork.hear(t, 'B')
		fork.kill()
		fork.wait()
	}
	_ = node.f.Close()
	if status := (&forked{pid: got.PID, copied: closed()}).wait(); status != 0 {
		t.Errorf("the node ended with status %d", status)
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Requests that make no sense are answered, and end nothing.
func TestZygoteRefuses(t *testing.T) {
	z := testZygote(t, "python3.12")
	for _, request := range []map[string]any{
		{"op": "nonsense"}, {}, {"op": "fork"}, {"op": "fork", "steps": []any{}}, {"op": "node"},
		{"op": "fork", "steps": []any{map[string]any{"nr": "x"}}}, {"op": "preload", "modules": 7},
		{"op": "fork", "steps": []any{step("far", unix.SYS_DUP3, fd(9), 3, 0)}},
	} {
		if got := z.ask(t, request); got.Error == "" {
			t.Errorf("%v is answered %+v", request, got)
		}
	}
	fork := z.fork(t, io.Discard)
	fork.hear(t, 'B')
	_ = fork.f.Close() // nobody needs it
	if status := fork.wait(); status != 0 {
		t.Errorf("a blank that is let go ends with status %d", status)
	}
}

// A step that fails ends the fork, which says where.
func TestZygoteFailingStep(t *testing.T) {
	z := testZygote(t, "python3.12")
	for name, last := range map[string][]any{
		"before the socket is in place": nil,
		"after":                         {step("dup control", unix.SYS_DUP3, fd(0), 3, 0), step("close_range", unix.SYS_CLOSE_RANGE, 4, uint64(^uint32(0)), 0)},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t, unix.SOCK_STREAM)
			missing := map[string]any{"blob": "L25vd2hlcmUA"} // "/nowhere\0"
			optional := step("may fail", unix.SYS_CHDIR, missing)
			optional["try"] = true
			steps := append(append([]any{optional}, last...), step("chdir there", unix.SYS_CHDIR, missing))
			got := z.ask(t, map[string]any{"op": "fork", "steps": steps}, int(theirs.Fd()))
			_ = theirs.Close()
			c := &control{f: ours}
			var b [1]byte
			if _, err := io.ReadFull(ours, b[:]); err != nil || b[0] != 'E' {
				t.Fatalf("heard %q, %v", b, err)
			}
			text, err := c.block()
			if err != nil || string(text) != "chdir there: No such file or directory" {
				t.Errorf("the fork said %q, %v", text, err)
			}
			if status := (&forked{pid: got.PID, copied: closed()}).wait(); status != 1 {
				t.Errorf("exit status %d", status)
			}
		})
	}
}
