package linux

import (
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
)

func TestTimerSlack(t *testing.T) {
	for memory, want := range map[int]time.Duration{512: time.Millisecond, 1769: time.Millisecond, 3538: 0} {
		if got := timerSlack(&lambent.Version{MemoryMB: memory}); got != want {
			t.Errorf("%d MB: %v", memory, got)
		}
	}
}

// TestScheduling: no program interrupts the server, and only one with a processor
// or less has timers that may be late.
func TestScheduling(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)})
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	for memory, want := range map[int]string{512: "1000000", 1769: "1000000", 3538: "50000"} {
		spec, _ := appSpecOf(t, "slack-"+strconv.Itoa(memory), "serve()")
		spec.Version.MemoryMB = memory
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := i.Init(t.Context()); err != nil || r.Failure != nil {
			t.Errorf("%+v, %v", r.Failure, err)
		}
		d.strays.mu.Lock()
		pid := slices.Collect(maps.Keys(d.strays.known))[0] // the only one
		d.strays.mu.Unlock()
		slack, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/timerslack_ns")
		if got := strings.TrimSpace(string(slack)); err != nil || got != want {
			t.Errorf("%d MB: timers may be %s ns late, want %s (%v)", memory, got, want, err)
		}
		attr, err := unix.SchedGetAttr(pid, 0)
		if err != nil || attr.Policy != unix.SCHED_BATCH {
			t.Errorf("%d MB: policy %+v, %v", memory, attr, err)
		}
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}
