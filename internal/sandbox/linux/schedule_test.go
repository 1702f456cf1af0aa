package linux

import (
	"context"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
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
		i := sandboxtest.Start(t, d, spec)
		pid := onlyProcess(d)
		if got := slackOf(t, strconv.Itoa(pid)); got != want {
			t.Errorf("%d MB: timers may be %s ns late, want %s", memory, got, want)
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
