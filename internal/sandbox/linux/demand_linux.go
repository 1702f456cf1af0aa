package linux

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Figures of the demand: a peak counts in full for demandFresh and half after
// another demandHalf, and what nobody has asked for in demandEnd is not kept.
const (
	demandFresh = 30 * time.Second
	demandHalf  = 3 * time.Minute
	demandEnd   = 15 * time.Minute
	maxDemand   = 256
)

// demand is how many blanks would have been enough for the cold starts of late.
type demand struct {
	peak  float64 // until fades
	fades time.Time
	taken float64 // blanks that were wanted and could not be made up for yet, as of last
	last  time.Time
}

// note counts a cold start. makes is how long it takes to make a blank, which is
// only done while no cold start is under way: alone tells that none was before
// this one.
func (d *demand) note(now time.Time, makes time.Duration, alone bool) {
	if alone {
		d.taken = max(0, d.taken-float64(now.Sub(d.last))/float64(max(makes, time.Millisecond)))
	}
	d.taken = min(d.taken+1, maxDemand)
	d.rise(now, d.taken)
}

// rise is a demand for so many at once.
func (d *demand) rise(now time.Time, many float64) {
	if many >= d.faded(now) {
		d.peak, d.fades = many, now.Add(demandFresh)
	}
	d.last = now
}

// missed is a cold start that found nothing, where nothing can be forked: the one
// that is kept was not made up for in time. A second one bridges that, as long as
// it happens.
func (d *demand) missed(now time.Time) { d.rise(now, 2) }

// expect is a cold start that has not come yet.
func (d *demand) expect(now time.Time) { d.rise(now, 1) }

func (d *demand) faded(now time.Time) float64 {
	return d.peak * math.Exp2(-float64(max(0, now.Sub(d.fades)))/float64(demandHalf))
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
	cost   int64 // of one more, in bytes
	held   int64 // of each that is there
	have   int   // how many of them are there
	bare   int64 // of one that has not gone over its start
	wanted int
	most   int // what is good to have, for a burst that nobody has seen yet
	// surge is how many it may get beyond the budget.
	surge int
}

// next is what one more costs beside so many. Those which are there have their own
// price: blanks of one kind share memory, so that one which is made beside others has
// less, and a plan by one figure would change whenever one is taken.
func (c claim) next(beside int) int64 {
	if beside < c.have {
		return c.held
	}
	return c.cost
}

// share decides how many blanks each claim gets within the budget: first one
// each, then one more each and so on, the cheapest first. What is left goes to
// what is good to have, which makes room for kinds that are yet to come; so many fit
// bare, and ready are those for which there is memory to go over their start. What a
// burst has wanted and the budget does not give comes out of extra.
func share(budget, extra int64, claims []claim) (given, ready []int) {
	order := make([]int, len(claims))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(claims[a].next(0), claims[b].next(0)) })
	give := func(to []int, purse int64, cost func(c claim, beside int) int64, limit func(i int) int) (left int64) {
		for more := true; more; {
			more = false
			for _, i := range order {
				if c := cost(claims[i], to[i]); to[i] < limit(i) && c <= purse {
					to[i]++
					purse -= c
					more = true
				}
			}
		}
		return purse
	}
	given = make([]int, len(claims))
	left := give(given, budget, claim.next, func(i int) int { return claims[i].wanted })
	ready = slices.Clone(given)
	left = give(given, left, func(c claim, _ int) int64 { return c.bare }, func(i int) int { return claims[i].most })
	give(ready, left, func(c claim, beside int) int64 { return max(0, c.next(beside)-c.bare) }, func(i int) int { return given[i] })
	within := slices.Clone(given)
	give(given, extra, claim.next, func(i int) int { return claims[i].surge })
	for i := range ready {
		ready[i] += given[i] - within[i]
	}
	return given, ready
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
