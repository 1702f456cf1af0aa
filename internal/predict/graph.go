package predict

import (
	"slices"
	"time"
)

// Bounds of the call graph.
const (
	follow     = 2 * time.Second // a call so soon after another one may be its consequence
	recent     = 32              // calls that are remembered as possible causes
	successors = 8               // per cause
	certain    = 4               // calls of a cause before anything is said of what follows by the clock
	half       = 256             // calls after which a cause's counts are halved
)

// likely is the share of a cause's calls that a successor must have followed.
const likely = 0.5

// graph counts which calls follow which. Of a call from within a function the cause is
// known: it counts for that one only, and at once. Of others the clock tells: a browser
// that calls one function after another shows, too. Two busy functions follow each
// other by chance; both are warm then, and the guess costs nothing.
type graph struct {
	nodes map[Key]*node
	ring  [recent]arrival
	next  int
}

type arrival struct {
	key Key
	at  time.Time
}

// node is one cause with its most frequent successors.
type node struct {
	calls int
	last  time.Time // of the calls
	after []successor
}

type successor struct {
	key   Key
	count int
	last  time.Time // of the cause's call that it was counted for
	known bool      // it was called from within the cause
}

func newGraph() graph { return graph{nodes: make(map[Key]*node)} }

// arrived notes a call of k, from within by if that is known, and returns what is
// likely to follow.
func (g *graph) arrived(k, by Key, at time.Time) []Key {
	if by == (Key{}) {
		g.after(k, at)
	} else if n := g.nodes[by]; n != nil && by != k && at.Sub(n.last) <= follow {
		n.followed(k, n.last, true)
	}
	n := g.nodes[k]
	if n == nil {
		n = &node{}
		g.nodes[k] = n
	}
	n.called()
	n.last = at
	g.remember(arrival{k, at})
	return g.likely(k)
}

// after counts k for all that were called shortly before it.
func (g *graph) after(k Key, at time.Time) {
	for i := range g.ring {
		a := &g.ring[i]
		if a.key != k && !a.at.IsZero() && at.Sub(a.at) <= follow {
			g.nodes[a.key].followed(k, a.at, false)
		}
	}
}

// remember puts a into the ring. Of one key's calls only the last one counts, or
// a busy function would push all others out.
func (g *graph) remember(a arrival) {
	for i := range g.ring {
		if g.ring[i].key == a.key {
			g.ring[i].at = a.at
			return
		}
	}
	g.ring[g.next] = a
	g.next = (g.next + 1) % recent
}

func (g *graph) forget(k Key) {
	delete(g.nodes, k)
	for i := range g.ring {
		if g.ring[i].key == k {
			g.ring[i] = arrival{}
		}
	}
	for _, n := range g.nodes {
		n.after = slices.DeleteFunc(n.after, func(s successor) bool { return s.key == k })
	}
}

// called counts a call of the cause.
func (n *node) called() {
	n.calls++
	if n.calls < half {
		return
	}
	n.calls /= 2
	for i := range n.after {
		n.after[i].count /= 2
	}
	n.after = slices.DeleteFunc(n.after, func(s successor) bool { return s.count == 0 })
}

// followed counts that k followed the cause's call at that time, once for each.
func (n *node) followed(k Key, cause time.Time, known bool) {
	for i := range n.after {
		if s := &n.after[i]; s.key == k {
			s.known = s.known || known
			if !s.last.Equal(cause) {
				s.count++
				s.last = cause
			}
			return
		}
	}
	if len(n.after) == successors {
		least := slices.IndexFunc(n.after, func(s successor) bool { return s.count <= 1 || known && !s.known })
		if least < 0 {
			return
		}
		n.after = slices.Delete(n.after, least, least+1)
	}
	n.after = append(n.after, successor{key: k, count: 1, last: cause, known: known})
}

// likely is what follows a call of k. What a successor calls from within itself was
// counted for that one, and follows as well.
func (g *graph) likely(k Key) []Key {
	var out []Key
	type step struct {
		key   Key
		share float64
	}
	for next := []step{{k, 1}}; len(next) > 0; next = next[1:] {
		n := g.nodes[next[0].key]
		if n == nil {
			continue
		}
		for i := range n.after {
			s := &n.after[i]
			share := next[0].share * n.share(s)
			if share < likely || s.key == k || slices.Contains(out, s.key) || next[0].key != k && !s.known {
				continue
			}
			out, next = append(out, s.key), append(next, step{s.key, share})
		}
	}
	return out
}

// share is the part of the cause's calls that s has followed; 0 while that cannot be
// said.
func (n *node) share(s *successor) float64 {
	if n.calls == 0 || !s.known && n.calls < certain {
		return 0
	}
	return min(1, float64(s.count)/float64(n.calls))
}
