package linux

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Bounds of what is learned about one key.
const (
	maxLessons    = 512  // functions
	maxCandidates = 24   // functions that a plan of nodes is made from
	maxNodes      = 4    // beside the root
	leastStarts   = 1.5  // cold starts, fading, that make a set of modules worth a node
	leastGain     = 0.05 // part of all that is imported which one more node must save
	enoughSaid    = 3    // instances of the same code that tell what they import
)

// lessons is what the functions of one key are known to import, by their code. It
// comes from the functions' own processes and is used for the same code only,
// except that a set which many import becomes a node's: of names of modules that
// the zygote itself finds fit.
type lessons map[string]*lesson

// lesson is of one function.
type lesson struct {
	modules set
	said    int     // starts that have told what they import
	starts  float64 // cold starts, fading with demandHalf since last
	last    time.Time
}

// set is a sorted list without repetition.
type set []string

func newSet(list []string) set {
	s := slices.Clone(list)
	slices.Sort(s)
	return slices.Compact(s)
}

func (s set) has(m string) bool {
	_, ok := slices.BinarySearch(s, m)
	return ok
}

// within tells whether all of s is in t.
func (s set) within(t set) bool {
	return len(s) <= len(t) && !slices.ContainsFunc(s, func(m string) bool { return !t.has(m) })
}

func (s set) meets(list []string) bool { return slices.ContainsFunc(list, s.has) }

func (s set) union(t set) set { return newSet(slices.Concat(s, t)) }

func (s set) minus(t set) set {
	return slices.DeleteFunc(slices.Clone(s), t.has)
}

func (s set) common(t set) set {
	return slices.DeleteFunc(slices.Clone(s), func(m string) bool { return !t.has(m) })
}

func (s set) key() string { return strings.Join(s, " ") }

// codeOfVersion names what decides on the imports: the code and the layers.
func codeOfVersion(v *lambent.Version) string {
	var b strings.Builder
	b.WriteString(string(v.Code.Digest))
	for _, l := range v.Layers {
		b.WriteByte(' ')
		b.WriteString(string(l.Digest))
	}
	return b.String()
}

// note takes down what a cold start of this code has imported.
func (ls lessons) note(code string, modules set, now time.Time) {
	l := ls[code]
	if l == nil {
		if len(ls) >= maxLessons {
			ls.forget()
		}
		l = &lesson{}
		ls[code] = l
	}
	if l.modules = l.modules.union(modules); len(l.modules) > maxModules {
		l.modules = l.modules[:maxModules]
	}
	l.starts = l.weight(now) + 1
	l.last = now
}

func (l *lesson) weight(now time.Time) float64 {
	return l.starts * math.Exp2(-float64(now.Sub(l.last))/float64(demandHalf))
}

// forget drops the lesson that is oldest.
func (ls lessons) forget() {
	oldest := ""
	for code, l := range ls {
		if oldest == "" || l.last.Before(ls[oldest].last) {
			oldest = code
		}
	}
	delete(ls, oldest)
}

// of is what this code is known to import.
func (ls lessons) of(code string) set {
	if l := ls[code]; l != nil {
		return l.modules
	}
	return nil
}

// popular picks the sets of modules that nodes are worth having for: greedily, the
// one that saves the most imports next to those before it.
func (ls lessons) popular(now time.Time, most int) []set {
	type function struct {
		modules set
		weight  float64
		saved   int // modules that the best node so far has
	}
	var all []*function
	total := 0.0
	for _, l := range ls {
		if w := l.weight(now); w >= 0.1 && len(l.modules) > 0 {
			all = append(all, &function{modules: l.modules, weight: w})
		}
	}
	slices.SortFunc(all, func(a, b *function) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.modules.key(), b.modules.key()))
	})
	all = all[:min(len(all), maxCandidates)]
	candidates := map[string]set{}
	for i, f := range all {
		total += f.weight * float64(len(f.modules))
		for _, g := range all[i:] {
			if c := f.modules.common(g.modules); len(c) > 0 {
				candidates[c.key()] = c
			}
		}
	}
	var picked []set
	for len(picked) < most {
		var best set
		bestGain := leastGain * total
		for _, key := range sortedKeys(candidates) {
			c := candidates[key]
			gain, weight := 0.0, 0.0
			for _, f := range all {
				if c.within(f.modules) {
					weight += f.weight
					gain += f.weight * float64(max(0, len(c)-f.saved))
				}
			}
			if weight >= leastStarts && gain > bestGain {
				best, bestGain = c, gain
			}
		}
		if best == nil {
			break
		}
		picked = append(picked, best)
		for _, f := range all {
			if best.within(f.modules) {
				f.saved = max(f.saved, len(best))
			}
		}
	}
	return picked
}
