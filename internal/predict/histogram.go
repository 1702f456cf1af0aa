package predict

import (
	"math"
	"time"
)

// The histogram's bins grow with the idle time, four to a doubling: a minute
// matters to a function that is called every second, not to one that is called
// every hour.
const (
	firstBin  = 100 * time.Millisecond
	perDouble = 4
	bins      = 70 // up to 100 ms x 2^(69/4), some four hours and a half
)

// forgetAfter is how many idle times count in full: then all are halved, so that
// a function may change its ways.
const forgetAfter = 512

// enough is how many idle times it takes to guess.
const enough = 8

// Histogram counts idle times. The zero value is empty.
type Histogram struct {
	weight [bins]float32
	over   float32 // beyond the last bin
	total  float32
	seen   int
}

// Add counts one idle time.
func (h *Histogram) Add(idle time.Duration) {
	h.seen++
	h.total++
	if b := binOf(idle); b < bins {
		h.weight[b]++
	} else {
		h.over++
	}
	if h.total < forgetAfter {
		return
	}
	for i := range h.weight {
		h.weight[i] /= 2
	}
	h.over /= 2
	h.total /= 2
}

// Count is how many idle times were added in all.
func (h *Histogram) Count() int { return h.seen }

// binOf is the bin of an idle time: bin 0 up to firstBin, bin i up to
// edge(i). It may be bins or more.
func binOf(d time.Duration) int {
	if d <= firstBin {
		return 0
	}
	return int(math.Ceil(math.Log2(float64(d)/float64(firstBin)) * perDouble))
}

// edge is the upper end of bin i.
func edge(i int) time.Duration {
	return time.Duration(float64(firstBin) * math.Exp2(float64(i)/perDouble))
}

// rounding is what sums of shares may be off by, in seconds.
const rounding = 1e-6

// best is the window that is worth most of those that begin with one of the first so
// many bins: each idle time that ends within it saves a cold start, each second within
// it costs the instance's memory. Price converts the one into the other, see [Options].
// A window without a gain is zero: the instance is not worth keeping at all.
func (h *Histogram) best(begins int, c Cost, price float64, longest time.Duration) Window {
	if h.total == 0 {
		return Window{}
	}
	gain := c.Cold.Seconds() * price / float64(max(c.MemoryMB, 1)) // seconds of keeping that a hit is worth
	p := prefix(h)
	var best Window
	worth := 0.0
	for from := range begins {
		start := time.Duration(0)
		if from > 0 {
			start = edge(from - 1)
		}
		for to := from; to < bins; to++ {
			end := edge(to)
			if end > longest {
				break
			}
			hits := p.weight[to+1] - p.weight[from]
			// Those that end later have waited the whole window through; those
			// within it until they ended, at their bin's end.
			later := 1 - p.weight[to+1]
			waited := p.time[to+1] - p.time[from] - hits*start.Seconds() + later*(end-start).Seconds()
			if w := hits*gain - waited; w > worth+rounding {
				worth, best = w, Window{Prewarm: start, Keep: end - start}
			}
		}
	}
	return margin(best, longest)
}

// margin widens a window by a tenth on both sides, because idle times are not
// exact. To end an instance and start another for less than a tenth of the time that
// it would be kept is not worth the start.
func margin(w Window, longest time.Duration) Window {
	end := min((w.Prewarm+w.Keep)*11/10, longest)
	w.Prewarm = w.Prewarm * 9 / 10
	if w.Prewarm < max(2*time.Second, end/10) {
		w.Prewarm = 0
	}
	w.Keep = end - w.Prewarm
	return w
}

// sums are, up to each bin, the shares of the idle times and of the seconds that
// they add up to.
type sums struct{ weight, time [bins + 1]float64 }

func prefix(h *Histogram) *sums {
	var s sums
	for i, w := range h.weight {
		share := float64(w / h.total)
		s.weight[i+1] = s.weight[i] + share
		s.time[i+1] = s.time[i] + share*edge(i).Seconds()
	}
	return &s
}
