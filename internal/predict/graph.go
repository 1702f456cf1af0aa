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
	certain    = 4               // calls of a cause before anything is said of it
	half       = 256             // calls after which a cause's counts are halved
)

// likely is the share of a cause's calls that a successor must have followed.
const likely = 0.5

// graph counts which calls follow which. The clock tells it, not the caller: a
// browser that calls one function after another shows as well as a function that
// calls the next. Two busy functions follow each other by chance; both are warm
// then, and the guess costs nothing.
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
	after []successor
}

type successor struct {
	key   Key
	count int
	last  time.Time // of the cause's call that it was counted for
}

func newGraph() graph { return graph{nodes: make(map[Key]*node)} }

// arrived notes a call of k and returns what is likely to follow.
func (g *graph) arrived(k Key, at time.Time) []Key {
	for i := range g.ring {
		a := &g.ring[i]
		if a.key != k && !a.at.IsZero() && at.Sub(a.at) <= follow {
			g.nodes[a.key].followed(k, a.at)
		}
	}
	n := g.nodes[k]
	if n == nil {
		n = &node{}
		g.nodes[k] = n
	}
	n.called()
	g.remember(arrival{k, at})
	return n.likely()
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
func (n *node) followed(k Key, cause time.Time) {
	for i := range n.after {
		if s := &n.after[i]; s.key == k {
			if !s.last.Equal(cause) {
				s.count++
				s.last = cause
			}
			return
		}
	}
	if len(n.after) == successors {
		least := slices.IndexFunc(n.after, func(s successor) bool { return s.count <= 1 })
		if least < 0 {
			return
		}
		n.after = slices.Delete(n.after, least, least+1)
	}
	n.after = append(n.after, successor{key: k, count: 1, last: cause})
}

func (n *node) likely() []Key {
	if n.calls < certain {
		return nil
	}
	var out []Key
	for _, s := range n.after {
		if float64(s.count) >= likely*float64(n.calls) {
			out = append(out, s.key)
		}
	}
	return out
}
