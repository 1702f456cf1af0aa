package linux

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPopular: which sets get nodes.
func TestPopular(t *testing.T) {
	now := time.Now()
	ls := lessons{}
	learn := func(code string, times int, modules ...string) {
		for range times {
			ls.note(code, newSet(modules), now)
		}
	}
	learn("once", 1, "rare")
	if got := ls.popular(now, 4); len(got) != 0 {
		t.Errorf("nodes for what started once: %v", got)
	}
	learn("a", 5, "json", "http", "requests")
	learn("b", 4, "json", "http", "numpy")
	learn("c", 4, "json", "http", "numpy", "pandas")
	got := ls.popular(now, 4)
	saved := map[string]bool{}
	for _, s := range got {
		saved[s.key()] = true
	}
	if !saved["http json"] || !saved["http json requests"] || !saved["http json numpy pandas"] || len(got) > 4 {
		t.Errorf("nodes: %v", got)
	}
	if later := ls.popular(now.Add(time.Hour), 4); len(later) != 0 {
		t.Errorf("an hour later: %v", later)
	}
}

// TestLessonsBounded: hostile lists do not add up.
func TestLessonsBounded(t *testing.T) {
	ls := lessons{}
	now := time.Now()
	for i := range 3 * maxLessons {
		var modules []string
		for m := range 400 {
			modules = append(modules, fmt.Sprintf("m%d_%d", i, m))
		}
		ls.note(fmt.Sprint(i), newSet(modules), now.Add(time.Duration(i)*time.Second))
		ls.note(fmt.Sprint(i), newSet(append(modules, modules[0]+"x")), now)
	}
	if len(ls) > maxLessons || ls.of(fmt.Sprint(3*maxLessons-1)) == nil {
		t.Errorf("%d lessons", len(ls))
	}
	ls.popular(now, maxNodes)
}

// TestBestNode: a function is only forked from what it imports itself.
func TestBestNode(t *testing.T) {
	s := &stock{}
	z := &zygote{}
	s.nodes = []*node{{stock: s, zygote: z}}
	for _, modules := range []set{{"json"}, {"http", "json"}, {"json", "numpy"}} {
		s.nodes = append(s.nodes, &node{stock: s, zygote: z, modules: modules})
	}
	for _, c := range []struct {
		known, avoid []string
		want         string
	}{
		{nil, nil, ""},
		{[]string{"json"}, nil, "json"},
		{[]string{"http", "json", "x"}, nil, "http json"},
		{[]string{"http", "json", "x"}, []string{"http"}, "json"},
		{[]string{"http", "json", "numpy"}, []string{"http"}, "json numpy"},
		{[]string{"json"}, []string{"json"}, ""},
	} {
		if got := s.best(newSet(c.known), c.avoid).modules.key(); got != c.want {
			t.Errorf("best for %v without %v: %q, want %q", c.known, c.avoid, got, c.want)
		}
	}
}

// TestShare: the budget holds, nobody gets more than is wanted or good to have, and
// nobody goes without one for the sake of another's second, or of what is only good to
// have. What goes beyond the budget stays within the extra.
func TestShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.Int64Range(0, 200).Draw(t, "budget")
		var claims []claim
		for range rapid.IntRange(0, 6).Draw(t, "claims") {
			claims = append(claims, claim{
				cost: rapid.Int64Range(1, 80).Draw(t, "cost"), wanted: rapid.IntRange(0, 9).Draw(t, "wanted"),
				held: rapid.Int64Range(1, 80).Draw(t, "held"), have: rapid.IntRange(0, 9).Draw(t, "have"),
			})
		}
		for i := range claims {
			claims[i].bare = rapid.Int64Range(1, 80).Draw(t, "bare")
		}
		given, ready := share(budget, 0, claims)
		if !slices.Equal(given, ready) {
			t.Fatalf("%v: of %v that are wanted %v are ready", claims, given, ready)
		}
		for i := range claims {
			claims[i].most = claims[i].wanted + rapid.IntRange(0, 9).Draw(t, "more")
		}
		more, ready := share(budget, 0, claims)
		taken := int64(0)
		for i, n := range more {
			if n < given[i] || n > max(given[i], claims[i].most) || ready[i] < given[i] || ready[i] > n {
				t.Fatalf("%v: %d instead of %d, and %d of them ready", claims, n, given[i], ready[i])
			}
			taken += spent(claims[i], 0, ready[i]) + int64(n-ready[i])*claims[i].bare
		}
		if taken > budget {
			t.Fatalf("%v: %v, of which %v ready, take %d of %d", claims, more, ready, taken, budget)
		}
		beyond := rapid.Int64Range(0, 200).Draw(t, "beyond")
		for i := range claims {
			claims[i].most, claims[i].surge = 0, rapid.IntRange(0, claims[i].wanted).Draw(t, "surge")
		}
		extra := int64(0)
		surged, ready := share(budget, beyond, claims)
		for i, n := range surged {
			if n < given[i] || n > max(given[i], claims[i].surge) || ready[i] != n {
				t.Fatalf("%v: %d instead of %d, and %d of them ready", claims, n, given[i], ready[i])
			}
			extra += spent(claims[i], given[i], n)
		}
		if extra > beyond {
			t.Fatalf("%v: %d beyond the budget, which may be %d", claims, extra, beyond)
		}
		sum := int64(0)
		for i, c := range claims {
			if given[i] < 0 || given[i] > c.wanted {
				t.Fatalf("%d of %d wanted", given[i], c.wanted)
			}
			sum += spent(c, 0, given[i])
		}
		if sum > budget {
			t.Fatalf("%d of %d spent", sum, budget)
		}
		for i, c := range claims {
			if given[i] < c.wanted && c.next(given[i]) <= budget-sum {
				t.Fatalf("%v: given %v, and there is room for more of %d", claims, given, i)
			}
			for j := range claims {
				if given[i] == 0 && c.wanted > 0 && given[j] > 1 && c.next(0) <= claims[j].next(0) {
					t.Fatalf("%v: given %v", claims, given)
				}
			}
		}
	})
}

// TestDemand: bursts are remembered for some minutes, and disuse ends it all.
func TestDemand(t *testing.T) {
	var d demand
	now := time.Now()
	if n := d.wanted(now); n != 0 {
		t.Errorf("%d wanted by nobody", n)
	}
	d.expect(now)
	if n := d.wanted(now); n != 1 {
		t.Errorf("%d expected", n)
	}
	for range 8 {
		d.note(now, time.Second, true)
	}
	for after, want := range map[time.Duration]int{0: 8, demandFresh: 8, demandFresh + demandHalf: 4, demandFresh + 2*demandHalf: 2, demandEnd: 1, demandEnd + time.Second: 0} {
		if n := d.wanted(now.Add(after)); n != want {
			t.Errorf("%d wanted after %v, want %d", n, after, want)
		}
	}
	// One after the other is one at a time.
	d = demand{}
	for range 20 {
		now = now.Add(time.Second)
		d.note(now, 500*time.Millisecond, true)
	}
	if n := d.wanted(now); n != 1 {
		t.Errorf("%d wanted for one at a time", n)
	}
	// Nothing is made up for while others are under way.
	d = demand{}
	for range 20 {
		now = now.Add(time.Second)
		d.note(now, 500*time.Millisecond, false)
	}
	if n := d.wanted(now); n != 20 {
		t.Errorf("%d wanted for 20 at once", n)
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	now := time.Now()
	last := time.Duration(0)
	for range 40 {
		b.failed(now)
		wait := b.until.Sub(now)
		if wait < last || wait > backoffMost {
			t.Fatalf("%v after %v", wait, last)
		}
		last, now = wait, b.until
	}
	if last != backoffMost {
		t.Errorf("in the end %v", last)
	}
	b.failed(now.Add(time.Hour))
	if wait := b.until.Sub(now.Add(time.Hour)); wait != backoffLeast {
		t.Errorf("long after: %v", wait)
	}
}

// TestMissed: a start that came before the one blank was made up for is reason for
// a second, for some time.
func TestMissed(t *testing.T) {
	var d demand
	now := time.Now()
	d.note(now, 100*time.Millisecond, true)
	now = now.Add(time.Second)
	d.note(now, 100*time.Millisecond, true)
	if got := d.wanted(now); got != 1 {
		t.Fatalf("%d wanted for starts that are far from each other, want 1", got)
	}
	d.missed(now)
	for after, want := range map[time.Duration]int{0: 2, demandHalf / 4: 2, demandHalf: 1} {
		if got := d.wanted(now.Add(after)); got != want {
			t.Errorf("%d wanted %s after a miss, want %d", got, after, want)
		}
	}
}

// spent is what a claim's blanks cost, from one number of them to another.
func spent(c claim, from, to int) (sum int64) {
	for k := from; k < to; k++ {
		sum += c.next(k)
	}
	return sum
}

// TestShareStays: what is taken of two blanks that share memory takes nothing from
// another kind, whichever of them it is.
func TestShareStays(t *testing.T) {
	const budget = 100
	forks := claim{cost: 2, held: 2, wanted: 1, most: 40, bare: 1}
	for _, left := range []int64{27, 21} {
		both := claim{cost: 21, held: 24, have: 2, wanted: 2, bare: 21}
		one := claim{cost: 21, held: left, have: 1, wanted: 2, bare: 21}
		before, _ := share(budget, 0, []claim{both, forks})
		after, _ := share(budget, 0, []claim{one, forks})
		if before[0] != 2 || before[1] < 20 || after[0] != 2 || after[1] < before[1] {
			t.Errorf("one of %d is left: %v are given, before %v", left, after, before)
		}
	}
}

// TestBare: of a node's blanks those that have gone over their start are taken first
// and dropped last, but for those that there is no memory for.
func TestBare(t *testing.T) {
	n := &node{zygote: &zygote{}, cost: 30}
	if got := n.barePrice(); got != 20 {
		t.Errorf("taken to cost %d before there was one", got)
	}
	for i := range 8 {
		n.add(&blank{bare: i%2 == 0, cost: int64(10 + i), taken: make(chan struct{})})
	}
	if n.ready() != 4 || n.idle[0].cost != 16 || !n.idle[3].bare || n.idle[7].cost != 17 {
		t.Errorf("%d ready; the first costs %d, the last %d", n.ready(), n.idle[0].cost, n.idle[7].cost)
	}
	if n.price() != 17 || n.barePrice() != 16 {
		t.Errorf("they are taken to cost %d and %d", n.price(), n.barePrice())
	}
	if out := n.clear(8, 4); len(out) != 0 {
		t.Errorf("%d are dropped that are wanted", len(out))
	}
	if out := n.clear(7, 1); len(out) != 4 || !out[0].bare || out[1].cost != 11 || n.ready() != 1 || len(n.idle) != 4 {
		t.Errorf("%d are dropped, %d left, %d of them ready", len(out), len(n.idle), n.ready())
	}
	if out := n.clear(0, 0); len(out) != 4 || len(n.idle) != 0 {
		t.Errorf("%d are dropped, %d left", len(out), len(n.idle))
	}
}
