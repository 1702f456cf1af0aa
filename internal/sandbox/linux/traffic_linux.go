package linux

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// traffic counts the cold starts that are under way. What is made ahead waits
// until there have been none for a moment: while one is, the processor is its own, and
// right after the last one its answer is still on its way. And it lets only as
// many blanks at a time become a function's as keep the processors busy: of those
// that share one all are as late as the last.
type traffic struct {
	processors int           // the host's, of which the server itself may use fewer
	lanes      chan struct{} // holds a token for each that is taken
	rush       func(on bool) // is told when there are more starts than processors; may be nil

	// telling is held while rush is called, and guards told.
	telling sync.Mutex
	told    bool

	work sync.WaitGroup // for the timers that run

	mu    sync.Mutex // guards the rest
	many  int
	calm  chan struct{} // closed when there have been none for trafficRest; nil is calm
	rest  *time.Timer   // runs from when there are none
	after []func()      // what waits for that
	bound *time.Timer   // of its waiting
}

// lanesPer is how many starts at a time a processor is enough for: each waits now and
// then, for a thread or for its runtime, and a virtual processor that has nothing else
// to do meanwhile takes 0.1 ms to wake.
const lanesPer = 2

func newTraffic(rush func(on bool)) *traffic {
	n := runtime.NumCPU()
	return &traffic{processors: n, lanes: make(chan struct{}, lanesPer*n), rush: rush}
}

// enter waits for a lane, in the order of coming, and returns how to leave it. When
// ctx ends it is without one that the caller goes on, which will notice.
func (t *traffic) enter(ctx context.Context) (leave func()) {
	select {
	case t.lanes <- struct{}{}:
		return func() { <-t.lanes }
	case <-ctx.Done():
		return func() {}
	}
}

// trafficRest is how long there have to be no cold starts before it is calm: until the
// last ones have answered. afterPatience bounds what waits for that without being a
// start.
const (
	trafficRest   = 5 * time.Millisecond
	afterPatience = 50 * time.Millisecond
)

// begin counts one, until end.
func (t *traffic) begin() {
	t.mu.Lock()
	t.many++
	if t.calm == nil {
		t.calm = make(chan struct{})
	}
	t.halt(&t.rest)
	crowded := t.many == t.processors+1
	t.mu.Unlock()
	if crowded {
		t.tell()
	}
}

func (t *traffic) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.many--; t.many == 0 {
		t.halt(&t.rest)
		t.rest = t.in(trafficRest, t.rested)
	}
}

// in runs f later. It is called with mu held, as halt is.
func (t *traffic) in(d time.Duration, f func()) *time.Timer {
	t.work.Add(1)
	return time.AfterFunc(d, func() {
		defer t.work.Done()
		f()
	})
}

func (t *traffic) halt(timer **time.Timer) {
	if *timer != nil && (*timer).Stop() {
		t.work.Done()
	}
	*timer = nil
}

// rested makes it calm, unless another start has begun.
func (t *traffic) rested() {
	t.mu.Lock()
	over := t.many == 0 && t.calm != nil
	if over {
		close(t.calm)
		t.calm = nil
	}
	t.mu.Unlock()
	if over {
		t.tell()
		t.catchUp()
	}
}

// tell lets rush know when there is a crowd, and when it is calm again.
func (t *traffic) tell() {
	if t.rush == nil {
		return
	}
	t.telling.Lock()
	defer t.telling.Unlock()
	t.mu.Lock()
	on := t.many > t.processors || t.told && t.calm != nil
	t.mu.Unlock()
	if on != t.told {
		t.told = on
		t.rush(on)
	}
}

// afterwards runs f, which nobody waits for: in a crowd not before it is calm or the
// patience is over, for the last of a crowd is late by all that the others do.
func (t *traffic) afterwards(f func()) {
	t.mu.Lock()
	crowded := t.many > t.processors
	if crowded {
		t.after = append(t.after, f)
		if t.bound == nil {
			t.bound = t.in(afterPatience, t.catchUp)
		}
	}
	t.mu.Unlock()
	if !crowded {
		f()
	}
}

// catchUp does what has waited.
func (t *traffic) catchUp() {
	t.mu.Lock()
	t.halt(&t.bound)
	all := t.after
	t.after = nil
	t.mu.Unlock()
	for _, f := range all {
		f()
	}
}

// close does what is left to do. No start is under way any more.
func (t *traffic) close() {
	t.catchUp()
	t.work.Wait()
}

// alone tells whether there is one at most.
func (t *traffic) alone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.many <= 1
}

// What waits looks again after trafficLook whether half of the processors are free;
// that cold starts go on for longer is then no reason to wait. trafficPatience bounds
// the waiting: when there is no end of them, what is made ahead is wanted most. It is
// longer than a burst, whose last start would have to wait for what is made
// meanwhile.
const (
	trafficLook     = 50 * time.Millisecond
	trafficPatience = time.Second
)

// wait returns when it is calm or few starts have been under way for long, after the
// patience, or when stop is closed.
func (t *traffic) wait(stop <-chan struct{}) {
	for waited := time.Duration(0); waited < trafficPatience; waited += trafficLook {
		t.mu.Lock()
		many, calm := t.many, t.calm
		t.mu.Unlock()
		if calm == nil || waited > 0 && 2*many <= t.processors {
			return
		}
		select {
		case <-stop:
			return
		case <-calm:
			return
		case <-time.After(trafficLook):
		}
	}
}
