package sandboxtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// pages: a frozen instance whose memory was pushed out goes on where it was.
func (h Harness) pages(t *testing.T) {
	l := Start(t, h.driver(t), Spec("pages", h.code(t), nil))
	f, ok := l.Instance.(sandbox.Freezer)
	p, can := l.Instance.(sandbox.Pager)
	if !ok || !can {
		t.Skip("the driver cannot")
	}
	l.Do("allocate", 32)
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	freed, err := p.PageOut()
	if err != nil || freed < 0 {
		t.Errorf("paged out %d, %v", freed, err)
	}
	t.Logf("%d KiB paged out", freed>>10)
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	if got := l.Do("echo", 0, "x"); got != `["x"]` {
		t.Errorf("after it: %s", got)
	}
}

// collects: a file that an instance has left can be had, and nothing but a file of
// its own.
func (h Harness) collects(t *testing.T) {
	d := h.driver(t)
	l := Start(t, d, Spec("collect", h.code(t), nil))
	c, ok := l.Instance.(sandbox.Collector)
	if !ok {
		t.Skip("the driver cannot")
	}
	dir := t.TempDir()
	dst := filepath.Join(dir, "got")
	if err := c.Collect("plain", dst, 100); err == nil {
		t.Error("a file of a living instance was collected")
	}
	l.Do("write", 0, "/tmp/plain", "content")
	for name, target := range map[string]string{"link": "/etc/passwd", "inner": "plain", "up": "..", "self": "/tmp/plain"} {
		l.Do("symlink", 0, target, "/tmp/"+name)
	}
	l.Do("mkfifo", 0, "/tmp/fifo")
	l.Invoke(Command{Do: "exit", N: 1}, 5*time.Second)
	closed(t, "Done", l.Done())
	for name, want := range map[string]lambent.Code{
		"plain": "", "nothing": lambent.CodeNotFound, "link": lambent.CodeNotFound, "inner": lambent.CodeNotFound, "self": lambent.CodeNotFound,
		"up/etc/passwd": lambent.CodeNotFound, "../etc/passwd": lambent.CodeNotFound, "/etc/passwd": lambent.CodeNotFound,
		".": lambent.CodeNotFound, "fifo": lambent.CodeNotFound,
	} {
		err := c.Collect(name, dst, 100)
		if want == "" && err != nil || want != "" && lambent.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		b, err := os.ReadFile(dst)
		if want == "" && string(b) != "content" || want != "" && !os.IsNotExist(err) {
			t.Errorf("%s: collected %q, %v", name, b, err)
		}
		_ = os.Remove(dst)
	}
	if err := c.Collect("plain", dst, 3); lambent.CodeOf(err) != lambent.CodeTooLarge {
		t.Errorf("too large: %v", err)
	}
}
