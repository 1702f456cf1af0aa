package async

import (
	"time"

	"lambent.dev/lambent"
)

// lane is what the dispatcher knows of one lane. It belongs to its goroutine.
type lane struct {
	name   string
	space  *space
	buffer []*held // leased, in order, not running yet
	// next is when a Take may find something; zero is never, as far as is known.
	next     time.Time
	fetching bool
	running  int
	served   int64 // the turn in which it was served last
	window   window
	pause    time.Duration // the last wait for room
	paused   time.Time     // until when nothing of it is run
	size     int           // bytes of its larger jobs, as of late; 0 is not known

	inReady, inTimed int // places in queues
}

// space is a namespace.
type space struct {
	name    string
	lanes   int
	running int
	served  int64
	ready   queue[*lane] // lanes that can start a job
	inReady int
}

func (l *lane) place() *int  { return &l.inReady }
func (s *space) place() *int { return &s.inReady }

// timedLane is a lane in the queue of those that wait for a moment.
type timedLane struct {
	*lane
	at time.Time
}

func (t *timedLane) place() *int { return &t.inTimed }

// fairer tells who of two gets a free slot: who runs less, then who was served
// longer ago. A function whose calls take long holds no more slots than others.
func fairer(running1, running2 int, served1, served2 int64) bool {
	if running1 != running2 {
		return running1 < running2
	}
	return served1 < served2
}

// window is how many calls of a lane run side by side. It grows while that does
// not make them slower, and shrinks when it does, or when there was no room.
type window struct {
	size    float64
	fastest time.Duration // the lowest mean of a round of calls; it is forgotten slowly
	slow    bool          // it has met a bound: it grows by small steps
	sum     time.Duration // of the calls of this round
	n       int
	streak  int     // refusals one after the other
	before  float64 // the size before the first of them
}

const (
	firstWindow = 4
	leastRound  = 16 // calls
	// So many refusals in a row say that nothing might run at all for a while, and
	// not that the window was too large.
	blocked = 6
	// Calls that take slack and half again as long as the fastest say that there are
	// too many.
	slack = 2 * time.Millisecond
)

// ran notes a call that has run for a time.
func (w *window) ran(took time.Duration) {
	if w.streak >= blocked {
		w.size, w.slow = max(w.before/2, firstWindow), false
	}
	w.streak = 0
	w.sum, w.n = w.sum+took, w.n+1
	if w.n < leastRound || float64(w.n) < w.size {
		return
	}
	mean := w.sum / time.Duration(w.n)
	w.sum, w.n = 0, 0
	if w.fastest == 0 || mean < w.fastest {
		w.fastest = mean
	} else {
		w.fastest += (mean - w.fastest) / 64
	}
	switch {
	case mean > w.fastest*3/2+slack:
		w.slow = true
		w.size = max(firstWindow, w.size*0.9)
	case w.slow:
		w.size++
	default:
		w.size *= 2
	}
	w.size = min(w.size, lambent.DefaultConcurrency)
}

// refused notes that there was no room.
func (w *window) refused() {
	if w.streak++; w.streak == 1 {
		w.before = w.size
	}
	w.slow = true
	w.size = max(1, w.size/2)
}

// Waits for room.
const (
	firstPause = 20 * time.Millisecond
	longPause  = 2 * time.Second // a job that has to wait longer goes back to the store
)
