package sandbox_test

import (
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

func TestTimedOutText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3*time.Second - 2*time.Millisecond: "Task timed out after 3.00 seconds",
		900 * time.Second:                  "Task timed out after 900.00 seconds",
		250 * time.Millisecond:             "Task timed out after 0.25 seconds",
		-time.Second:                       "Task timed out after 0.00 seconds",
	} {
		if f := sandbox.TimedOut(d); f.Message != want {
			t.Errorf("%v: %s", d, f.Message)
		}
	}
}
