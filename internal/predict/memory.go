package predict

import (
	"slices"
	"time"
)

// Learned is what a [Predictor] has learned about one version, in a form that can be
// kept, and may come back damaged or out of date.
type Learned struct {
	Key
	Last time.Time       `json:"last"`
	Seen int             `json:"seen"`
	Idle map[int]float32 `json:"idle,omitempty"` // weights by bin; that of all longer times is bins
	// Crowds is the same of the times between calls that needed more instances at
	// once: two, up to four, and so on.
	Crowds []Crowd    `json:"crowds,omitempty"`
	Calls  int        `json:"calls,omitempty"`
	After  []Follower `json:"after,omitempty"`
}

// Crowd is what has been learned about when so many instances are needed.
type Crowd struct {
	Last time.Time       `json:"last"`
	Seen int             `json:"seen"`
	Idle map[int]float32 `json:"idle,omitempty"`
}

// Follower is a version that is often called after another.
type Follower struct {
	Key
	Count int  `json:"count"`
	Known bool `json:"known,omitempty"` // it was called from within
}

// Learned is what is known of the versions that were called last, at most so many.
func (p *Predictor) Learned(most int) []Learned {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Learned, 0, len(p.history))
	for k, h := range p.history {
		all = append(all, Learned{Key: k, Last: h.levels[0].last})
	}
	slices.SortFunc(all, func(a, b Learned) int { return b.Last.Compare(a.Last) })
	all = all[:min(len(all), most)]
	for i := range all {
		l := &all[i]
		for i, v := range p.history[l.Key].levels {
			c := Crowd{Last: v.last, Seen: v.idle.seen, Idle: v.idle.weights()}
			if i == 0 {
				l.Seen, l.Idle = c.Seen, c.Idle
				continue
			}
			l.Crowds = append(l.Crowds, c)
		}
		if n := p.graph.nodes[l.Key]; n != nil {
			l.Calls = n.calls
			for _, s := range n.after {
				l.After = append(l.After, Follower{s.key, s.count, s.known})
			}
		}
	}
	return all
}

// Relearn takes up what an earlier predictor had learned. What makes no sense is left
// out.
func (p *Predictor) Relearn(all []Learned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range all[:min(len(all), maxKeys)] {
		if l.Calls < 0 || p.history[l.Key] != nil {
			continue
		}
		h := &history{}
		for _, c := range append([]Crowd{{l.Last, l.Seen, l.Idle}}, l.Crowds[:min(len(l.Crowds), levels-1)]...) {
			known := &level{last: c.Last}
			if c.Seen < 0 || c.Last.IsZero() || !known.idle.relearn(c.Idle, c.Seen) {
				break // nor of those that need yet more
			}
			h.levels = append(h.levels, known)
		}
		if len(h.levels) == 0 {
			continue
		}
		p.history[l.Key] = h
		n := &node{calls: min(l.Calls, half-1)}
		for _, f := range l.After[:min(len(l.After), successors)] {
			if f.Count > 0 {
				n.after = append(n.after, successor{key: f.Key, count: min(f.Count, half), known: f.Known})
			}
		}
		p.graph.nodes[l.Key] = n
	}
}

// weights are those that are not zero, by bin.
func (h *Histogram) weights() map[int]float32 {
	all := map[int]float32{}
	for i, w := range h.weight {
		if w > 0 {
			all[i] = w
		}
	}
	if h.over > 0 {
		all[bins] = h.over
	}
	return all
}

// relearn tells whether the weights can be those of a histogram.
func (h *Histogram) relearn(weights map[int]float32, seen int) bool {
	next := Histogram{seen: seen}
	for i, w := range weights {
		if i < 0 || i > bins || !(w > 0 && w < forgetAfter) {
			return false
		}
		if next.total += w; i < bins {
			next.weight[i] = w
		} else {
			next.over = w
		}
	}
	if next.total >= forgetAfter {
		return false
	}
	*h = next
	return true
}

// KnownLoad is what a [Forecast] has learned.
type KnownLoad struct {
	Origin  time.Time     `json:"origin"`
	Bin     time.Duration `json:"binNs"`
	Current int           `json:"current"` // bins since the origin
	Pattern []float32     `json:"pattern"` // by bin of the period; below 0 is not known
}

// Known is what was learned until the last full bin.
func (f *Forecast) Known() KnownLoad {
	k := KnownLoad{Origin: f.origin, Bin: f.o.Bin, Current: f.current, Pattern: slices.Clone(f.pattern)}
	for i, known := range f.known {
		if !known {
			k.Pattern[i] = -1
		}
	}
	return k
}

// maxPause is how long nobody may have looked for what was known to be of use, and
// mostLoad more than any version has.
const (
	maxPause = 30 * 24 * time.Hour
	mostLoad = 1e9
)

// Resume takes up what an earlier forecast knew. Of the time in which there was none
// nothing is learned. It tells whether that is of use now: whether it is of the same
// bins, whole, and neither too old nor from the future.
func (f *Forecast) Resume(k KnownLoad, now time.Time) bool {
	bin := int(now.Sub(k.Origin) / f.o.Bin)
	if k.Bin != f.o.Bin || len(k.Pattern) != len(f.pattern) || k.Origin.IsZero() ||
		k.Current < 0 || bin < k.Current || bin-k.Current > int(maxPause/f.o.Bin) {
		return false
	}
	for _, v := range k.Pattern {
		if !(v <= mostLoad) {
			return false
		}
	}
	f.origin, f.current = k.Origin, bin
	for i, v := range k.Pattern {
		f.pattern[i], f.known[i] = max(v, 0), v >= 0
	}
	return true
}
