package scale

import (
	"math"
	"math/bits"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/pool"
)

// Loads measures the load of every version: it is the spine's observer. A version
// that is not called for a while is forgotten.
type Loads struct {
	wake  chan struct{} // somebody calls an application that was not called
	of    sync.Map      // *Load by *lambent.Version; the pointer costs no allocation
	byKey sync.Map      // *Load by pool.Key, which outlives the value of a version
}

// NewLoads makes one that has measured nothing.
func NewLoads() *Loads { return &Loads{wake: make(chan struct{}, 1)} }

// Load is what was measured of one version. It is safe for use from any goroutine.
type Load struct {
	mu      sync.Mutex // guards the rest
	version *lambent.Version
	running int       // calls, waiting ones included
	moved   time.Time // when that last changed
	total   Totals
	tape    *tape     // nil unless somebody records
	woke    time.Time // when the scaler was last asked to look at once
	gone    bool      // another one takes its place when the version is called again
}

// Totals are counts since the version was first called. Differences of two are what
// happened in between.
type Totals struct {
	Began   uint64
	Ended   uint64
	Failed  uint64
	Refused uint64        // reached no instance; not in Ended
	Load    time.Duration // calls at a time, times time
	Took    Histogram     // of the calls that ended
}

// Minus is what happened since an earlier moment.
func (t Totals) Minus(old Totals) Totals {
	t.Began -= old.Began
	t.Ended -= old.Ended
	t.Failed -= old.Failed
	t.Refused -= old.Refused
	t.Load -= old.Load
	for i := range t.Took {
		t.Took[i] -= old.Took[i]
	}
	return t
}

// Histogram counts durations in bins of a quarter of a doubling, from 16 µs to 17 min.
type Histogram [104]uint32

const firstBin = 16 * time.Microsecond

func binOf(d time.Duration) int {
	u := uint64(max(d, firstBin) / (firstBin / 4))
	e := bits.Len64(u) - 3 // doublings
	return min(4*e+int(u>>e)&3, len(Histogram{})-1)
}

// Quantile is the upper end of the bin that the share q of the durations lies
// below; 0 when there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	var n uint64
	for _, c := range h {
		n += uint64(c)
	}
	if n == 0 {
		return 0
	}
	want := uint64(math.Ceil(q * float64(n)))
	var sum uint64
	for i, c := range h {
		if sum += uint64(c); sum >= max(want, 1) {
			return time.Duration(float64(firstBin) * float64(uint64(1)<<(i/4)) * (1 + float64(i%4+1)/4))
		}
	}
	return 0
}

// loadOf finds or makes v's.
func (l *Loads) loadOf(v *lambent.Version) *Load {
	if x, ok := l.of.Load(v); ok {
		return x.(*Load)
	}
	x, _ := l.byKey.LoadOrStore(pool.KeyOf(v), &Load{version: v})
	load := x.(*Load)
	load.mu.Lock()
	old := load.version
	load.version = v
	load.mu.Unlock()
	if old != nil && old != v {
		l.of.Delete(old)
	}
	l.of.Store(v, load)
	return load
}

// wakeEvery bounds how often one version has the scaler look out of turn.
const wakeEvery = time.Second

// Begin notes that a call asks for v. It and End make l the
// spine's observer.
func (l *Loads) Begin(v *lambent.Version) time.Time {
	x := l.loadOf(v)
	now := time.Now()
	x.mu.Lock()
	for x.gone { // since it was found
		x.mu.Unlock()
		l.of.CompareAndDelete(v, x)
		x = l.loadOf(v)
		x.mu.Lock()
	}
	x.moveLocked(now, +1)
	x.total.Began++
	wake := v.App != nil && x.running == 1 && now.Sub(x.woke) >= wakeEvery
	if wake {
		x.woke = now
	}
	x.mu.Unlock()
	if wake {
		select {
		case l.wake <- struct{}{}:
		default: // one is enough
		}
	}
	return now
}

// End notes that it is over.
func (l *Loads) End(v *lambent.Version, began time.Time, how lambent.Outcome) {
	x := l.loadOf(v)
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running == 0 { // it was forgotten meanwhile
		return
	}
	x.moveLocked(now, -1)
	if how == lambent.CallRefused {
		x.total.Refused++
		return
	}
	took := now.Sub(began)
	x.total.Ended++
	x.total.Took[binOf(took)]++
	if how == lambent.CallFailed {
		x.total.Failed++
	}
	if x.tape != nil {
		x.tape.add(began, took)
	}
}

func (x *Load) moveLocked(now time.Time, by int) {
	if d := now.Sub(x.moved); d > 0 {
		x.total.Load += time.Duration(x.running) * d
		x.moved = now
	}
	x.running += by
}

// at is the totals at a moment, and the calls that are running then.
func (x *Load) at(now time.Time) (t Totals, running int, v *lambent.Version) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moveLocked(now, 0)
	return x.total, x.running, x.version
}

// Totals tells what was measured of a version up to now; false if it was not called
// lately.
func (l *Loads) Totals(k pool.Key) (Totals, bool) {
	x, ok := l.byKey.Load(k)
	if !ok {
		return Totals{}, false
	}
	t, _, _ := x.(*Load).at(time.Now())
	return t, true
}

// all yields every version that is measured.
func (l *Loads) all(yield func(pool.Key, *Load) bool) {
	l.byKey.Range(func(k, x any) bool { return yield(k.(pool.Key), x.(*Load)) })
}

// forget drops a version that nobody calls.
func (l *Loads) forget(k pool.Key, x *Load) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running > 0 || x.tape != nil {
		return
	}
	x.gone = true
	l.byKey.CompareAndDelete(k, x)
	if x.version != nil {
		l.of.CompareAndDelete(x.version, x)
	}
}
