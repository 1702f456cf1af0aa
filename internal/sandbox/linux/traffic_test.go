package linux

import (
	"context"
	"slices"
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
		var told []bool
		tr := newTraffic(func(on bool) { told = append(told, on) })
		tr.processors = 2
		done := 0
		after := func() { tr.afterwards(func() { done++ }) }
		tr.begin()
		tr.begin()
		if after(); done != 1 || len(told) > 0 {
			t.Fatalf("of two starts: %d done, told %v", done, told)
		}
		tr.begin()
		tr.begin()
		if after(); done != 1 || !slices.Equal(told, []bool{true}) {
			t.Fatalf("of four starts: %d done, told %v", done, told)
		}
		time.Sleep(afterPatience)
		synctest.Wait()
		if done != 2 {
			t.Fatalf("%d done after the patience", done)
		}
		after()
		for range 4 {
			tr.end()
		}
		time.Sleep(trafficRest / 2)
		tr.begin() // it is not calm yet
		tr.end()
		time.Sleep(trafficRest / 2)
		synctest.Wait()
		if done != 2 || len(told) != 1 {
			t.Fatalf("before it is calm: %d done, told %v", done, told)
		}
		time.Sleep(trafficRest)
		synctest.Wait()
		if done != 3 || !slices.Equal(told, []bool{true, false}) {
			t.Fatalf("when it is calm: %d done, told %v", done, told)
		}
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
