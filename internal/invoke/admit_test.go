package invoke

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
)

func called(namespace, function string) *lambent.Version {
	return &lambent.Version{Namespace: namespace, Function: function}
}

// queueUp starts a call of v that waits, stays for a second once it is in, and
// then tells who it is.
func queueUp(t *testing.T, a *admission, v *lambent.Version, in chan<- string) {
	t.Helper()
	go func() {
		p, err := a.enter(t.Context(), v, nil, false)
		if err != nil {
			in <- fmt.Sprint(v.Namespace, v.Function, " refused: ", err)
			return
		}
		in <- v.Namespace + v.Function
		time.Sleep(time.Second)
		p.leave()
	}()
	synctest.Wait()
}

// wantEmpty checks that nothing is left of calls that are over.
func wantEmpty(t *testing.T, a *admission) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running != 0 || len(a.gates) != 0 || len(a.held) != 0 {
		t.Errorf("left behind: %d running, %d gates, %d held", a.running, len(a.gates), len(a.held))
	}
}

func TestTheFirstToComeIsTheFirstToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{queue: 10, wait: time.Minute}
		one := 1
		v := called("n", "f")
		first, err := a.enter(t.Context(), v, &one, false)
		if err != nil {
			t.Fatal(err)
		}
		var order []int
		var mu sync.Mutex
		for i := range 5 {
			go func() {
				p, err := a.enter(t.Context(), v, &one, false)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				p.leave()
			}()
			synctest.Wait()
		}
		if len(order) != 0 {
			t.Fatalf("%v went in over the reservation", order)
		}
		first.leave()
		synctest.Wait()
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("went in as %v", order)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{limit: 1, queue: 2, wait: 3 * time.Second}
		v := called("n", "f")
		first, err := a.enter(t.Context(), v, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.enter(t.Context(), v, nil, true); lambent.CodeOf(err) != lambent.CodeThrottled {
			t.Errorf("a call in a hurry: %v", err)
		}
		began := time.Now()
		late := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				if _, err := a.enter(t.Context(), v, nil, false); lambent.ReasonOf(err) != "ConcurrentInvocationLimitExceeded" {
					t.Errorf("a call that waited too long: %v", err)
				}
				late <- time.Since(began)
			}()
		}
		synctest.Wait()
		if _, err := a.enter(t.Context(), v, nil, false); lambent.CodeOf(err) != lambent.CodeThrottled || time.Since(began) > 0 {
			t.Errorf("a call that finds the queue full: %v after %v", err, time.Since(began))
		}
		if x, y := <-late, <-late; x != 3*time.Second || y != x {
			t.Errorf("refused after %v and %v", x, y)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.enter(gone, v, nil, false); lambent.CodeOf(err) != lambent.CodeCanceled {
			t.Errorf("a caller that went away: %v", err)
		}
		zero := 0
		if _, err := a.enter(t.Context(), called("n", "stopped"), &zero, false); lambent.CodeOf(err) != lambent.CodeThrottled {
			t.Errorf("a function with nothing reserved: %v", err)
		}
		first.leave()
		wantEmpty(t, a)
	})
}

// A noisy function has all places and a hundred calls waiting; others still get in
// next.
func TestANoisyFunctionDelaysItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{limit: 4, queue: 100, wait: time.Hour}
		in := make(chan string, 200)
		for range 100 {
			queueUp(t, a, called("noisy", "f"), in)
		}
		queueUp(t, a, called("noisy", "g"), in)
		queueUp(t, a, called("calm", "f"), in)
		queueUp(t, a, called("calm", "g"), in)
		time.Sleep(time.Second)
		synctest.Wait()
		var went []string
		for range 8 {
			went = append(went, <-in)
		}
		slices.Sort(went[4:])
		if want := []string{"calmf", "calmg", "noisyf", "noisyg"}; !slices.Equal(went[4:], want) {
			t.Errorf("the second four were %v, want %v", went[4:], want)
		}
		time.Sleep(time.Hour)
	})
}

func TestReservationThatComesWhileCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{limit: 1, queue: 10, wait: time.Minute}
		v := called("n", "f")
		first, err := a.enter(t.Context(), v, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		in := make(chan string, 1)
		queueUp(t, a, v, in)
		two := 2
		done := make(chan place)
		go func() {
			p, err := a.enter(t.Context(), v, &two, false)
			if err != nil {
				t.Error(err)
			}
			done <- p
		}()
		synctest.Wait()
		first.leave()
		<-in
		p := <-done // there are two places now
		p.leave()
		time.Sleep(2 * time.Second)
		wantEmpty(t, a)
	})
}

// Whatever comes and goes, no limit is exceeded, and nothing is left at the end.
func TestAdmissionKeepsItsLimits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &admission{limit: rapid.IntRange(1, 4).Draw(rt, "limit"), queue: 3, wait: 5 * time.Second}
			reserved := []*int{nil, nil, ptrTo(rapid.IntRange(0, 2).Draw(rt, "reserved"))}
			var mu sync.Mutex
			running := map[int]int{}
			var wg sync.WaitGroup
			for range rapid.IntRange(1, 40).Draw(rt, "calls") {
				f := rapid.IntRange(0, 2).Draw(rt, "function")
				stay := time.Duration(rapid.IntRange(0, 4000).Draw(rt, "stay")) * time.Millisecond
				wg.Go(func() {
					p, err := a.enter(t.Context(), called("n", fmt.Sprint(f)), reserved[f], false)
					if err != nil {
						return
					}
					mu.Lock()
					running[f]++
					if r := reserved[f]; r != nil && running[f] > *r {
						t.Errorf("%d calls run where %d are reserved", running[f], *r)
					}
					if all := running[0] + running[1]; all > a.limit {
						t.Errorf("%d calls run, the limit is %d", all, a.limit)
					}
					mu.Unlock()
					time.Sleep(stay)
					mu.Lock()
					running[f]--
					mu.Unlock()
					p.leave()
				})
				time.Sleep(time.Duration(rapid.IntRange(0, 1000).Draw(rt, "pause")) * time.Millisecond)
			}
			wg.Wait()
			wantEmpty(t, a)
		})
	})
}

func ptrTo(n int) *int { return &n }

func TestAdmissionCostsNoMemory(t *testing.T) {
	a := &admission{limit: 10, queue: 10, wait: time.Second}
	v, ctx, five := called("n", "f"), t.Context(), 5
	for _, reserved := range []*int{nil, &five} {
		if n := testing.AllocsPerRun(1000, func() {
			p, err := a.enter(ctx, v, reserved, false)
			if err != nil {
				t.Fatal(err)
			}
			p.leave()
		}); n != 0 {
			t.Errorf("an admitted call allocates %v times", n)
		}
	}
}

func BenchmarkAdmission(b *testing.B) {
	a := &admission{limit: 1000, queue: 10, wait: time.Second}
	v := called("n", "f")
	b.ReportAllocs()
	for b.Loop() {
		p, err := a.enter(b.Context(), v, nil, false)
		if err != nil {
			b.Fatal(err)
		}
		p.leave()
	}
}
