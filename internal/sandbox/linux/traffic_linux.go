package linux

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// traffic counts the cold starts that are under way. What is made ahead waits
// until there are none: while one is, the processor is its own. And it lets only as
// many blanks at a time become a function's as keep the processors busy: of those
// that share one all are as late as the last.
type traffic struct {
	processors int           // the host's, of which the server itself may use fewer
	lanes      chan struct{} // holds a token for each that is taken

	mu   sync.Mutex // guards the rest
	many int
	calm chan struct{} // closed when there are none again
}

func newTraffic() *traffic {
	n := runtime.GOMAXPROCS(0)
	return &traffic{processors: runtime.NumCPU(), lanes: make(chan struct{}, n+1)}
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

// begin counts one, until end.
func (t *traffic) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.many == 0 {
		t.calm = make(chan struct{})
	}
	t.many++
}

func (t *traffic) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.many--; t.many == 0 {
		close(t.calm)
	}
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

// wait returns when no cold start is under way or few have been for long, after the
// patience, or when stop is closed.
func (t *traffic) wait(stop <-chan struct{}) {
	for waited := time.Duration(0); waited < trafficPatience; waited += trafficLook {
		t.mu.Lock()
		many, calm := t.many, t.calm
		t.mu.Unlock()
		if many == 0 || waited > 0 && 2*many <= t.processors {
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
