package pool

import (
	"slices"
	"sync"
	"time"
)

// Bounds of what is remembered of past cold starts: per version, and in all.
const (
	historyEach = 64
	historyAll  = 4096
)

// history remembers the latest cold starts of every version.
type history struct {
	mu    sync.Mutex // guards the rest
	of    map[Key][]ColdStart
	count int
}

// add forgets the version's oldest cold start when there are too many, or, when
// there are too many in all, the version whose last one is longest ago.
func (h *history) add(k Key, c ColdStart) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = make(map[Key][]ColdStart)
	}
	all := h.of[k]
	if len(all) == historyEach {
		all = slices.Delete(all, 0, 1)
		h.count--
	}
	h.of[k] = append(all, c)
	h.count++
	for h.count > historyAll {
		h.dropLocked(h.oldestLocked())
	}
}

func (h *history) oldestLocked() (k Key) {
	var at time.Time
	for candidate, all := range h.of {
		if last := all[len(all)-1].Began; at.IsZero() || last.Before(at) {
			k, at = candidate, last
		}
	}
	return k
}

func (h *history) dropLocked(k Key) {
	h.count -= len(h.of[k])
	delete(h.of, k)
}

// ColdStarts returns the latest cold starts of a version, at most 64, in the
// order of their beginning; those of all versions if number is "".
func (p *Pool) ColdStarts(namespace, function, number string) []ColdStart {
	h := &p.history
	h.mu.Lock()
	defer h.mu.Unlock()
	if number != "" {
		return slices.Clone(h.of[Key{namespace, function, number}])
	}
	var found []ColdStart
	for k, all := range h.of {
		if k.Namespace == namespace && k.Function == function {
			found = append(found, all...)
		}
	}
	slices.SortFunc(found, func(a, b ColdStart) int { return a.Began.Compare(b.Began) })
	return found[max(0, len(found)-historyEach):]
}

// Forget drops what is remembered of a function that is deleted.
func (p *Pool) Forget(namespace, function string) {
	h := &p.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.of {
		if k.Namespace == namespace && k.Function == function {
			h.dropLocked(k)
		}
	}
}
