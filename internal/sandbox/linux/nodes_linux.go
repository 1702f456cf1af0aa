package linux

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// node is where blanks of one kind come from: started from nothing, or forked from
// an interpreter that has loaded some modules. The reserve's mu guards its fields
// but those that say what it is.
type node struct {
	stock   *stock
	own     set // modules that it has beyond its parent
	modules set // modules that it has beyond the root
	asked   set // what it was made for

	zygote *zygote  // nil while there is none
	size   int64    // memory of the zygote, in bytes: of the root all, of others what they have beyond it
	cost   int64    // memory of one blank
	bare   int64    // the same, of one that has not gone over its start; 0 if there was none yet
	idle   []*blank // those first that have not gone over their start; the newest last
	coming *coming  // the one that is being made; nil if none is
	demand demand
}

// slack is how many fewer blanks than planned may have gone over their start: the plan
// follows what the last ones have cost.
const slack = 2

// clear takes idle blanks out of the node, the oldest first: all but so many, and those
// beyond ready that have gone over their start. It is called with mu held.
func (n *node) clear(keep, ready int) []*blank {
	many := max(0, len(n.idle)-keep)
	out := slices.Clone(n.idle[:many])
	n.idle = slices.Delete(n.idle, 0, many)
	if more := n.ready() - ready; more > 0 {
		from := len(n.idle) - n.ready()
		out = append(out, n.idle[from:from+more]...)
		n.idle = slices.Delete(n.idle, from, from+more)
	}
	for _, b := range out {
		close(b.taken)
	}
	return out
}

// ready is how many idle blanks have gone over their start. It is called with mu held.
func (n *node) ready() int {
	_, many := n.mean(false)
	return many
}

// add puts in another idle blank. It is called with mu held.
func (n *node) add(b *blank) {
	if b.bare {
		n.bare = b.cost
		n.idle = slices.Insert(n.idle, 0, b)
		return
	}
	n.cost = b.cost
	n.idle = append(n.idle, b)
}

// price is what one blank of the node is taken to cost: the last one's figure, or
// that of those which are there, if they have more. It is called with mu held.
func (n *node) price() int64 {
	mean, _ := n.mean(false)
	return max(n.cost, mean)
}

// barePrice is the same for one that has not gone over its start, which is less if an
// interpreter forks it. It is called with mu held.
func (n *node) barePrice() int64 {
	switch {
	case n.zygote == nil:
		return n.price()
	case n.bare == 0:
		return n.price() * 2 / 3
	}
	mean, _ := n.mean(true)
	return min(n.price(), max(n.bare, mean))
}

// claim is what the node asks of the budget. It is called with mu held.
func (n *node) claim(now time.Time) claim {
	c := claim{cost: n.cost, bare: n.barePrice(), wanted: n.demand.wanted(now)}
	c.held, c.have = n.mean(false)
	return c
}

// mean is what the idle blanks of one kind cost, and how many there are. It is called
// with mu held.
func (n *node) mean(bare bool) (cost int64, many int) {
	for _, b := range n.idle {
		if b.bare == bare {
			cost += b.cost
			many++
		}
	}
	return cost / max(1, int64(many)), many
}

// best is the node whose blanks have most of what this function imports and
// nothing that it does not, nor what its own files would shadow. It is called with
// mu held.
func (s *stock) best(known set, avoid []string) *node {
	best := s.root()
	for _, n := range s.nodes[1:] {
		if (n.zygote != nil || len(n.idle) > 0) && len(n.modules) > len(best.modules) &&
			n.modules.within(known) && !n.modules.meets(avoid) {
			best = n
		}
	}
	return best
}

// used tells whether blanks of this key are wanted. It is called with mu held.
func (s *stock) used(now time.Time) bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool { return n.demand.wanted(now) > 0 })
}

// lacksZygote tells whether there should be a tree and is none. It is called with
// mu held.
func (s *stock) lacksZygote(now time.Time) bool {
	return s.rt.Blank.Zygote != nil && s.root().zygote == nil && s.used(now)
}

// worn takes out the zygotes that have had their time: of a key that is not used,
// or too old. It is called with mu held.
func (s *stock) worn(now time.Time) []*zygote {
	if z := s.root().zygote; z == nil || s.used(now) && !z.worn(now) {
		return nil
	}
	return s.uproot()
}

// uproot takes out the whole tree, children before their parents. It is called with
// mu held.
func (s *stock) uproot() []*zygote {
	var all []*zygote
	for _, n := range slices.Backward(s.nodes) {
		if n.zygote != nil {
			all = append(all, n.zygote)
			n.zygote, n.size = nil, 0
		}
	}
	s.learned = true // the nodes are wanted again, once there is a root
	return all
}

// uproot ends every tree.
func (r *reserve) uproot() {
	r.mu.Lock()
	var all []*zygote
	for _, s := range r.stocks {
		all = append(all, s.uproot()...)
	}
	r.mu.Unlock()
	for _, z := range all {
		z.end()
	}
}

// plant starts the root of a tree.
func (r *reserve) plant(s *stock) {
	z, err := r.driver.newZygote(r.ctx, r.name(), s.rt)
	if err != nil {
		r.failed(s, err)
		r.mu.Lock()
		bare := len(s.root().idle) == 0
		r.mu.Unlock()
		if bare && r.ctx.Err() == nil {
			r.fill(s.root(), false) // a blank can do without
		}
		return
	}
	r.settle(s.root(), z)
}

// settle gives a node its zygote and watches over that.
func (r *reserve) settle(n *node, z *zygote) {
	m := readMemory(z.process.pid)
	size := m.proportional
	if n != n.stock.root() {
		size = m.private
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		n.zygote, n.size = z, size
		r.work.Go(func() {
			<-z.exited
			r.lostZygote(n, z)
		})
	}
	r.mu.Unlock()
	if closed {
		z.end()
	}
}

// lostZygote clears away after a zygote that has ended, which it did on its own if
// the node still has it. The root takes the tree with it.
func (r *reserve) lostZygote(n *node, z *zygote) {
	r.mu.Lock()
	alone := n.zygote == z
	var all []*zygote
	if alone {
		s := n.stock
		s.died++
		s.retry.failed(time.Now())
		if n == s.root() {
			all = s.uproot()
		} else {
			n.zygote, n.size = nil, 0
			all = []*zygote{z}
		}
	}
	r.mu.Unlock()
	if alone {
		r.driver.opts.Log.Warn("a zygote has ended", "key", n.stock.rt.Blank.Key)
	}
	for _, each := range all {
		each.end()
	}
	r.poke()
}

// learner takes what the function imports beyond what its process had.
func (r *reserve) learner(spec sandbox.Spec, had set) func([]string) {
	if spec.Runtime.Blank == nil || spec.Runtime.Blank.Zygote == nil || r.budget == 0 {
		return nil
	}
	code := codeOfVersion(spec.Version)
	return func(modules []string) {
		r.mu.Lock()
		s := r.of(spec.Runtime)
		s.lessons.note(code, newSet(modules).union(had), time.Now())
		s.lessons[code].said++
		s.learned = true
		r.mu.Unlock()
		r.poke()
	}
}

// knows tells whether enough instances of this code have said what they import for
// one more to say nothing; it counts as if it had said the same.
func (r *reserve) knows(spec sandbox.Spec) bool {
	if spec.Runtime.Blank.Zygote == nil {
		return false
	}
	code := codeOfVersion(spec.Version)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.of(spec.Runtime)
	l := s.lessons[code]
	if l == nil || l.said < enoughSaid {
		return false
	}
	s.lessons.note(code, nil, time.Now())
	s.learned = true
	return true
}

// planEvery is how often nodes are planned anew at most.
const planEvery = time.Second

// grow finds a node that is worth having and gives what makes it, and one that has
// to make room. It is called with mu held.
func (r *reserve) grow(now time.Time) (build func(), end *zygote) {
	for _, key := range sortedKeys(r.stocks) {
		s := r.stocks[key]
		if !s.learned || s.building || s.root().zygote == nil || now.Sub(s.planned) < planEvery || s.retry.until.After(now) {
			continue
		}
		s.planned = now
		wanted := s.lessons.popular(now, maxNodes)
		missing := slices.IndexFunc(wanted, func(w set) bool { return !s.useless[w.key()] && s.made(w) == nil })
		if missing < 0 {
			s.learned = false
			continue
		}
		if end = s.makeRoom(wanted); end != nil {
			return nil, end
		}
		if !r.affordable(r.budget / 2) {
			continue
		}
		s.building = true
		n := &node{stock: s, asked: wanted[missing], cost: s.root().cost}
		parent := s.deepest(n.asked)
		n.modules = parent.modules
		return func() { r.work.Go(func() { r.build(n, parent.zygote) }) }, nil
	}
	return nil, nil
}

// made is the node for a set, if there is one.
func (s *stock) made(want set) *node {
	for _, n := range s.nodes[1:] {
		if n.zygote != nil && n.asked.key() == want.key() {
			return n
		}
	}
	return nil
}

// makeRoom takes out the zygote of a node that is not wanted, if there are as many
// as there may be.
func (s *stock) makeRoom(wanted []set) *zygote {
	living := 0
	var least *node
	for _, n := range s.nodes[1:] {
		if n.zygote == nil {
			continue
		}
		living++
		if !slices.ContainsFunc(wanted, func(w set) bool { return w.key() == n.asked.key() }) {
			least = n
		}
	}
	if living < maxNodes || least == nil {
		return nil
	}
	z := least.zygote
	least.zygote, least.size = nil, 0
	return z
}

// affordable tells whether there is room for one more zygote within so much memory;
// for the nodes it is half of the budget, so that there are blanks as well.
func (r *reserve) affordable(memory int64) bool {
	for _, s := range r.stocks {
		for _, n := range s.nodes {
			memory -= n.size
		}
	}
	return memory > assumedCost/2
}

// deepest is the node that has most of a set and nothing else.
func (s *stock) deepest(asked set) *node {
	best := s.root()
	for _, n := range s.nodes[1:] {
		if n.zygote != nil && len(n.modules) > len(best.modules) && n.modules.within(asked) {
			best = n
		}
	}
	return best
}

// nice is the priority of an interpreter while it imports: everything else first.
const nice = 10

// build makes a node's interpreter, runs its imports, and adds it to the stock.
func (r *reserve) build(n *node, from *zygote) {
	s := n.stock
	z, loaded, err := r.branch(n, from)
	r.mu.Lock()
	s.building = false
	n.own = newSet(loaded).common(n.asked).minus(n.modules)
	useful := err == nil && len(n.own) > 0
	if useful {
		n.modules = n.modules.union(n.own)
		s.nodes = append(s.nodes, n)
	} else if len(s.useless) < maxLessons {
		s.useless[n.asked.key()] = true
	}
	r.mu.Unlock()
	switch {
	case useful:
		r.settle(n, z)
	case z != nil:
		z.end()
	}
	if err != nil && r.ctx.Err() == nil {
		r.driver.opts.Log.Warn("cannot import ahead", "key", s.rt.Blank.Key, "err", err)
	}
	r.poke()
}

func (r *reserve) branch(n *node, from *zygote) (*zygote, []string, error) {
	z, err := r.driver.branch(r.ctx, from)
	if err != nil {
		return nil, nil, err
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, z.process.pid, nice)
	loaded, err := z.preload(r.ctx, n.asked.minus(n.modules))
	_ = unix.Setpriority(unix.PRIO_PROCESS, z.process.pid, 0)
	return z, loaded, err
}

// prune forgets nodes that have nothing any more. It is called with mu held.
func (s *stock) prune() {
	s.nodes = append(s.nodes[:1], slices.DeleteFunc(s.nodes[1:], func(n *node) bool { return n.zygote == nil && len(n.idle) == 0 })...)
}
