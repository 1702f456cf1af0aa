package sandbox

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRegistry: an id is taken once, a closed registry takes nothing, and who closes
// it waits for what was let in.
func TestRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry[int]
		for range 2 {
			if !r.Enter() {
				t.Fatal("it is closed from the start")
			}
		}
		if err := errors.Join(r.Add("a", 1), r.Add("b", 2)); err != nil {
			t.Fatal(err)
		}
		if r.Add("a", 3) == nil {
			t.Error("two instances have the same id")
		}
		r.Drop("a")
		if err := r.Add("a", 4); err != nil {
			t.Error(err)
		}
		if !r.Close() || r.Close() {
			t.Error("it is not closed once")
		}
		if r.Enter() {
			t.Error("a Start was let in after the end")
		}
		if err := r.Add("c", 5); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		r.Leave()
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			r.Drop("b")
			r.Leave()
		}()
		if left := r.Left(); !slices.Equal(left, []int{4}) || time.Since(begin) != time.Second {
			t.Errorf("%v left after %v", left, time.Since(begin))
		}
	})
}
