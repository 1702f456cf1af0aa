package linux

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Figures of the demand: a peak counts half after demandHalf, and what nobody has
// asked for in demandEnd is not kept.
const (
	demandHalf = 3 * time.Minute
	demandEnd  = 15 * time.Minute
	maxRecent  = 256
)

// demand is how many blanks cold starts have lately wanted at the same time: at
// the same time are those that come before a blank that was taken is made up for.
type demand struct {
	peak   float64 // as of last
	last   time.Time
	recent []time.Time
}

// note counts a cold start; replacement is how long it takes to make a blank.
func (d *demand) note(now time.Time, replacement time.Duration) {
	d.recent = slices.DeleteFunc(d.recent, func(t time.Time) bool { return now.Sub(t) > replacement })
	if len(d.recent) < maxRecent {
		d.recent = append(d.recent, now)
	}
	d.peak = max(d.faded(now), float64(len(d.recent)))
	d.last = now
}

// expect is a cold start that has not come yet.
func (d *demand) expect(now time.Time) {
	d.peak = max(d.faded(now), 1)
	d.last = now
}

func (d *demand) faded(now time.Time) float64 {
	return d.peak * math.Exp2(-float64(now.Sub(d.last))/float64(demandHalf))
}

// wanted is how many blanks the next burst will want.
func (d *demand) wanted(now time.Time) int {
	if d.last.IsZero() || now.Sub(d.last) > demandEnd {
		return 0
	}
	return max(1, int(math.Round(d.faded(now))))
}

// claim is what one kind of blank asks of the budget.
type claim struct {
	cost   int64 // of one, in bytes
	wanted int
}

// share decides how many blanks each claim gets within the budget: first one
// each, then one more each and so on, the cheapest first.
func share(budget int64, claims []claim) []int {
	order := make([]int, len(claims))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(claims[a].cost, claims[b].cost) })
	given := make([]int, len(claims))
	for more := true; more; {
		more = false
		for _, i := range order {
			if c := claims[i]; given[i] < c.wanted && c.cost <= budget {
				given[i]++
				budget -= c.cost
				more = true
			}
		}
	}
	return given
}

// backoff spaces out attempts that fail.
type backoff struct {
	failures int
	until    time.Time
}

// Bounds of a backoff.
const (
	backoffLeast = 200 * time.Millisecond
	backoffMost  = 2 * time.Minute
)

// failed counts a failure. One that comes long after the last stands alone.
func (b *backoff) failed(now time.Time) {
	if now.Sub(b.until) > backoffMost {
		b.failures = 0
	}
	b.failures++
	b.until = now.Add(min(backoffMost, backoffLeast<<min(b.failures-1, 16)))
}

// worked lets the next failure stand alone. The time to wait after the last stays.
func (b *backoff) worked() { b.failures = 0 }
