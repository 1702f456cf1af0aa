package scale

import (
	"time"

	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
)

// maxTape bounds the calls of one recording, and maxTapes how many versions are
// recorded at the same time.
const (
	maxTape  = 200_000
	maxTapes = 16
)

// tape is a recording of the calls of one version.
type tape struct {
	from  time.Time
	calls []predict.Call
	cut   bool // there were more
}

func (t *tape) add(began time.Time, took time.Duration) {
	switch {
	case began.Before(t.from):
	case len(t.calls) == maxTape:
		t.cut = true
	default:
		t.calls = append(t.calls, predict.Call{At: began.Sub(t.from), Took: took})
	}
}

// Recording is what was recorded of a version: its calls in the order in which they
// ended.
type Recording struct {
	From  time.Time
	Calls []predict.Call
	Cut   bool // there were more than are kept
}

// Record begins to record the calls of a version; one that was begun goes on. It
// tells whether there is room for another recording.
func (l *Loads) Record(k pool.Key) bool {
	running := 0
	for _, x := range l.all {
		x.mu.Lock()
		if x.tape != nil {
			running++
		}
		x.mu.Unlock()
	}
	x, _ := l.byKey.LoadOrStore(k, &Load{})
	load := x.(*Load)
	load.mu.Lock()
	defer load.mu.Unlock()
	if load.tape == nil {
		if running >= maxTapes {
			return false
		}
		load.tape = &tape{from: time.Now()}
	}
	return true
}

// Recorded ends a recording and hands it out; false if there is none.
func (l *Loads) Recorded(k pool.Key) (Recording, bool) {
	x, ok := l.byKey.Load(k)
	if !ok {
		return Recording{}, false
	}
	load := x.(*Load)
	load.mu.Lock()
	defer load.mu.Unlock()
	t := load.tape
	if t == nil {
		return Recording{}, false
	}
	load.tape = nil
	return Recording{From: t.from, Calls: t.calls, Cut: t.cut}, true
}
