package server

import (
	"os"
	"testing"
	"time"

	"lambent.dev/lambent/internal/pool"
)

func TestReadStat(t *testing.T) {
	text := "cpu  100 50 30 800 20 1 4 5 7 0\ncpu0 50 25 15 400 10 1 2 2 3 0\ncpu1 50 25 15 400 10 0 2 3 4 0\nintr 1 2 3\nctxt 5\nprocs_running 7\nprocs_blocked 0\n"
	got, ok := readStat([]byte(text))
	want := pool.Load{Busy: 1900 * time.Millisecond, Total: 10100 * time.Millisecond, Running: 6, Processors: 2}
	if !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
	for _, bad := range []string{"", "cpu 1 2\n", "cpu x 50 30 800 20 1 4 5 7 0\ncpu0 1\nprocs_running 1\n", "procs_running 3\n", text[:60]} {
		if l, ok := readStat([]byte(bad)); ok {
			t.Errorf("%q is read as %+v", bad, l)
		}
	}
}

func FuzzReadStat(f *testing.F) {
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := readStat(b); ok && (l.Running < 0 || l.Processors < 1) {
			t.Errorf("%+v", l)
		}
	})
}

func TestStatOf(t *testing.T) {
	b := []byte("nr_periods 31\nnr_throttled 28\nthrottled_time 2601915491\n")
	if statOf(b, "nr_throttled") != 28 || statOf(b, "nr") != 0 || statOf([]byte("nr_throttled x"), "nr_throttled") != 0 {
		t.Error("cpu.stat is read wrongly")
	}
}

// The host's own figures grow.
func TestProcessors(t *testing.T) {
	read := processors()
	first, ok := read()
	if !ok {
		t.Skip("no /proc/stat")
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); { //nolint:revive // works
	}
	second, ok := read()
	if !ok || second.Busy <= first.Busy || second.Total <= first.Total || second.Processors < 1 {
		t.Errorf("%+v after %+v", second, first)
	}
}
