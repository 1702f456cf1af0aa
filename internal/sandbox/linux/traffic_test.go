package linux

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTraffic: what is made ahead waits for cold starts, but not for ever.
func TestTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraffic(nil)
		tr.processors = 2
		never := make(chan struct{})
		waited := func() time.Duration {
			begin := time.Now()
			tr.wait(never)
			return time.Since(begin)
		}
		if d := waited(); d != 0 {
			t.Errorf("nobody is under way: waited %v", d)
		}
		tr.begin()
		tr.begin()
		if tr.alone() {
			t.Error("each of two is alone")
		}
		if d := waited(); d != trafficPatience {
			t.Errorf("waited %v for two that do not end", d)
		}
		go func() {
			time.Sleep(120 * time.Millisecond)
			tr.end()
			time.Sleep(10 * time.Millisecond)
			tr.end()
		}()
		if d := waited(); d != 130*time.Millisecond+trafficRest {
			t.Errorf("waited %v for both, and for their answers", d)
		}
		tr.begin()
		if d := waited(); d != trafficLook {
			t.Errorf("waited %v for one that does not end", d)
		}
		if !tr.alone() {
			t.Error("one is not alone")
		}
		stop := make(chan struct{})
		close(stop)
		tr.wait(stop)
		tr.end()
		tr.close()
	})
}

// TestCrowd: who is told of more starts than processors hears of the end of it as well,
// once, and what nobody waits for is done then, or after its patience.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32 // odd: of a crowd
		tr := newTraffic(func(on bool) {
			if n := told.Add(1); on != (n%2 == 1) {
				t.Errorf("the %d. thing that it is told is %v", n, on)
			}
		})
		tr.processors = 2
		var done atomic.Int32
		after := func() { tr.afterwards(func() { done.Add(1) }) }
		check := func(when string, wantDone, wantTold int32) {
			t.Helper()
			synctest.Wait()
			if done.Load() != wantDone || told.Load() != wantTold {
				t.Fatalf("%s: %d done, want %d; told %d times, want %d", when, done.Load(), wantDone, told.Load(), wantTold)
			}
		}
		tr.begin()
		tr.begin()
		after()
		check("two starts", 1, 0)
		tr.begin()
		tr.begin()
		after()
		check("four starts", 1, 1)
		time.Sleep(afterPatience)
		check("after the patience", 2, 1)
		after()
		for range 4 {
			tr.end()
		}
		time.Sleep(trafficRest / 2)
		tr.begin() // it is not calm yet
		tr.end()
		time.Sleep(trafficRest / 2)
		check("before it is calm", 2, 1)
		time.Sleep(trafficRest)
		check("when it is calm", 3, 2)
		tr.close()
	})
}

// TestLanes: so many at a time, in the order of coming; who gives up goes on.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraffic(nil)
		var leave []func()
		for range cap(tr.lanes) {
			leave = append(leave, tr.enter(t.Context()))
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tr.enter(short)()
		if short.Err() == nil {
			t.Fatal("there was one more lane")
		}
		order := make(chan int, 3)
		for n := range cap(order) {
			go func() {
				defer tr.enter(t.Context())()
				order <- n
			}()
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Fatal("one of them did not wait")
		}
		leave[0]()
		for n := range cap(order) {
			if got := <-order; got != n {
				t.Errorf("%d came instead of %d", got, n)
			}
		}
		for _, f := range leave[1:] {
			f()
		}
		if len(tr.lanes) != 0 {
			t.Errorf("%d lanes are taken for good", len(tr.lanes))
		}
	})
}
