package sandboxtest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// limits: what a function was given is what it has, and it is told in the way
// AWS tells it when it wants more.
func (h Harness) limits(t *testing.T) {
	d := h.driver(t)
	code := h.code(t)
	t.Run("memory", func(t *testing.T) {
		spec := Spec("memory", code, nil)
		spec.Version.MemoryMB = 128
		l := Start(t, d, spec)
		if got := l.Do("allocate", 64); got != "64" {
			t.Errorf("64 of 128 MB: %s", got)
		}
		if u := l.Usage(); u.MaxMemoryBytes < 64<<20 || u.MaxMemoryBytes > 128<<20 || u.MemoryBytes < 64<<20 || u.Processes < 1 || u.CPU <= 0 {
			t.Errorf("usage after 64 MB: %+v", u)
		}
		a := l.Invoke(Command{Do: "allocate", N: 1024}, Patience)
		if f := a.Failure; f == nil || f.Type != "Runtime.ExitError" || f.ReportType != "Runtime.OutOfMemory" ||
			f.Message != "Runtime exited with error: signal: killed" {
			t.Errorf("1 GB of 128 MB: %+v", f)
		}
		if u := l.Usage(); u.OOMKills == 0 {
			t.Errorf("usage after the end: %+v", u)
		}
	})
	t.Run("tmp", func(t *testing.T) {
		spec := Spec("tmp", code, nil)
		spec.Version.MemoryMB, spec.Version.EphemeralMB = 128, 200
		l := Start(t, d, spec)
		answer := l.Do("fill", 1024, "/tmp/big")
		mb, reason, _ := strings.Cut(answer, " ")
		if n, err := strconv.Atoi(mb); err != nil || n < 200 || n > 210 || reason != "ENOSPC" {
			t.Errorf("room in a /tmp of 200 MB: %s", answer)
		}
		// And with more than its memory in /tmp it still works.
		if got := l.Do("echo", 0, "x"); got != `["x"]` {
			t.Errorf("echo: %s", got)
		}
		other := spec
		other.ID = "tmp-other"
		if got := Start(t, d, other).Do("list", 0, "/tmp"); got != "[]" {
			t.Errorf("another instance's /tmp has %s", got)
		}
	})
	t.Run("cpu", func(t *testing.T) {
		spin := func(mb int) float64 {
			spec := Spec(fmt.Sprintf("cpu-%d", mb), code, nil)
			spec.Version.MemoryMB = mb
			l := Start(t, d, spec)
			before := l.Usage().CPU
			l.Do("spin", 1000)
			return (l.Usage().CPU - before).Seconds()
		}
		// 177 MB are a tenth of a processor. A quota may be exceeded by a period's
		// worth, and a busy machine gives less.
		if used := spin(177); used > 0.25 {
			t.Errorf("a tenth of a processor used %.2f s in a second", used)
		}
	})
	t.Run("processes", func(t *testing.T) {
		spec := Spec("processes", code, nil)
		spec.Version.MemoryMB = 1769
		l := Start(t, d, spec)
		if got := l.Do("limit", 7); got != "[1024,1024]" { // RLIMIT_NOFILE
			t.Errorf("files: %s", got)
		}
		if got := l.Do("limit", 4); got != "[0,0]" { // RLIMIT_CORE
			t.Errorf("core: %s", got)
		}
		// At the limit the probe's own runtime may want a thread and end without one.
		a := l.Invoke(Command{Do: "processes", N: 2000}, Patience)
		if n, err := strconv.Atoi(string(a.Payload)); a.Failure == nil && (err != nil || n < 50 || n > 1024) {
			t.Errorf("%d processes, %v", n, err)
		}
		if u := l.Usage(); u.Processes > 1024 {
			t.Errorf("%d processes and threads", u.Processes)
		}
	})
}
