package linux

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// reserve keeps runtimes ready that have no function yet. How many of which kind
// follows the cold starts of the last minutes, within a budget of memory; they are
// made in the background while no cold start is under way. What has ever had a
// function does not come back.
type reserve struct {
	driver *Driver
	budget int64         // bytes; 0 keeps nothing
	kick   chan struct{} // holds a token when there may be something to do
	stop   chan struct{}
	cancel context.CancelFunc // ends what is being made
	ctx    context.Context    //nolint:containedctx // the life of the reserve, for its own goroutines
	work   sync.WaitGroup

	// mu guards the rest.
	mu     sync.Mutex
	stocks map[string]*stock // by key
	serial int               // of the groups' names
	extra  int64             // bytes beyond the budget, for forks that a burst has wanted
	closed bool
}

// stock is what there is of one key.
type stock struct {
	rt    sandbox.Runtime
	nodes []*node // the root first, parents before their children
	retry backoff
	// makes is how long it takes to make a blank; it leans on the last.
	makes              time.Duration
	hits, misses, died int64

	lessons  lessons
	codes    codes
	planned  time.Time       // when nodes were last planned
	learned  bool            // something since then
	useless  map[string]bool // sets that nothing was gained by
	building bool            // a node is being made
}

// Assumed until there is a figure.
const (
	assumedCost  = 16 << 20
	assumedMakes = 250 * time.Millisecond
)

func newReserve(d *Driver, budget int64) *reserve {
	ctx, cancel := context.WithCancel(context.Background())
	return &reserve{driver: d, budget: budget, kick: make(chan struct{}, 1), stop: make(chan struct{}), ctx: ctx, cancel: cancel,
		stocks: map[string]*stock{}}
}

// open begins to keep what is wanted.
func (r *reserve) open() {
	if r.budget > 0 {
		r.work.Go(r.run)
	}
}

func (r *reserve) poke() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// of finds the stock for a runtime, or begins one. It is called with mu held.
func (r *reserve) of(rt sandbox.Runtime) *stock {
	s := r.stocks[rt.Blank.Key]
	if s == nil {
		s = &stock{rt: rt, makes: assumedMakes, lessons: lessons{}, useless: map[string]bool{}}
		s.nodes = []*node{{stock: s, cost: assumedCost}}
		r.stocks[rt.Blank.Key] = s
	} else if !slices.Equal(s.rt.Blank.Command, rt.Blank.Command) {
		s.rt = rt // it starts in a better way now
	}
	return s
}

// root is where the blanks that have no modules beyond the runtime's own come from.
func (s *stock) root() *node { return s.nodes[0] }

// expect counts a runtime among those in use.
func (r *reserve) expect(rt sandbox.Runtime) {
	if rt.Blank == nil || r.budget == 0 {
		return
	}
	r.mu.Lock()
	r.of(rt).root().demand.expect(time.Now())
	r.mu.Unlock()
	r.poke()
}

// take gives a blank for this function, or nil.
func (r *reserve) take(ctx context.Context, spec sandbox.Spec, edition int) (*blank, lambent.Origin) {
	if r.budget == 0 {
		return nil, ""
	}
	b, n, z := r.pick(spec, edition)
	if b != nil {
		return b, lambent.OriginBlank
	}
	if z == nil {
		return nil, ""
	}
	b, err := r.driver.newBlank(ctx, blankSpec{name: r.name(), rt: n.stock.rt, from: z, hurry: true})
	if err != nil {
		r.driver.opts.Log.Warn("a fork failed; the function gets a process of its own", "err", err)
		return nil, ""
	}
	b.node, b.taken = n, make(chan struct{})
	return b, lambent.OriginFork
}

// barely is how many times what the making of a blank takes two cold starts are apart
// of which the second one might have found none. Where none can be forked, that costs
// more than to keep another one.
const barely = 2

// pick gives an idle blank for this function, or the interpreter to fork one from.
func (r *reserve) pick(spec sandbox.Spec, edition int) (*blank, *node, *zygote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, nil
	}
	now := time.Now()
	s := r.of(spec.Runtime)
	n := s.best(s.lessons.of(codeOfVersion(spec.Version)), spec.Runtime.Blank.Avoid)
	before := n.demand.last
	n.demand.note(now, s.makes, r.driver.traffic.alone())
	if s.rt.Blank.Zygote == nil && now.Sub(before) < barely*s.makes {
		n.demand.missed(now)
	}
	if n != s.root() {
		s.root().demand.expect(now) // for the code that nobody knows yet
	}
	if n.price() > int64(spec.Version.MemoryMB)<<20*3/4 {
		s.misses++
		return nil, nil, nil // it would hardly fit
	}
	b := r.pop(n, edition)
	if b == nil && n.zygote == nil && n != s.root() {
		b = r.pop(s.root(), edition)
	}
	if b != nil {
		s.hits++
		return b, n, nil
	}
	s.misses++
	if n.zygote == nil && s.hits > 0 { // there was one
		n.demand.missed(now)
	}
	return nil, n, n.zygote
}

// pop takes the newest idle blank that lives and is up to date. It is called with
// mu held.
func (r *reserve) pop(n *node, edition int) *blank {
	for len(n.idle) > 0 {
		last := len(n.idle) - 1
		b := n.idle[last]
		n.idle = n.idle[:last]
		close(b.taken)
		if !b.dead() && b.edition == edition {
			return b
		}
		r.buryLocked(b, b.dead())
	}
	return nil
}

// served is called when a blank has become an instance: its kind is well.
func (r *reserve) served(b *blank) {
	r.mu.Lock()
	b.node.stock.retry.worked()
	r.mu.Unlock()
}

// bury ends a blank in the background; failed ones are counted.
func (r *reserve) bury(b *blank, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buryLocked(b, failed)
}

// buryLocked is bury with mu held.
func (r *reserve) buryLocked(b *blank, failed bool) {
	if failed {
		b.node.stock.died++
		b.node.stock.retry.failed(time.Now())
	}
	// Close waits for every start, and for what they bury, before it closes this.
	r.work.Go(func() { b.discard(r.driver.opts.Log) })
}

// lost is called when an idle blank has ended on its own.
func (r *reserve) lost(b *blank) {
	r.mu.Lock()
	at := slices.Index(b.node.idle, b)
	if at >= 0 {
		b.node.idle = slices.Delete(b.node.idle, at, at+1)
		close(b.taken)
		r.buryLocked(b, true)
	}
	r.mu.Unlock()
	if at >= 0 {
		r.driver.opts.Log.Warn("a runtime in the reserve has ended", "key", b.node.stock.rt.Blank.Key, "status", uint32(b.status))
		r.poke()
	}
}

// yield gives up every idle blank for the sake of its slot, and tells whether
// there were any.
func (r *reserve) yield() bool {
	r.mu.Lock()
	var all []*blank
	for _, s := range r.stocks {
		for _, n := range s.nodes {
			all = append(all, n.clear(0, 0)...)
		}
	}
	r.mu.Unlock()
	r.discard(all)
	return len(all) > 0
}

// discard ends blanks side by side and waits.
func (r *reserve) discard(list []*blank) {
	var wg sync.WaitGroup
	for _, b := range list {
		wg.Go(func() { b.discard(r.driver.opts.Log) })
	}
	wg.Wait()
}

// tendEvery is how often the reserve looks for what has become too much; what is
// missing it hears of. sweepEvery is for strays, while there may be some.
const (
	tendEvery  = 15 * time.Second
	sweepEvery = 200 * time.Millisecond
)

func (r *reserve) run() {
	for {
		again := time.NewTimer(r.tend())
		select {
		case <-r.stop:
			again.Stop()
			return
		case <-r.kick:
		case <-again.C:
		}
		again.Stop()
	}
}

// tend makes what is missing, one after the other, and drops what is too much. It
// returns when to look again.
func (r *reserve) tend() time.Duration {
	for {
		r.lookAtHost()
		p := r.next(time.Now())
		r.discard(p.drop)
		for _, z := range p.end {
			z.end()
		}
		tag, _ := r.driver.tag()
		strays := r.driver.strays.sweep("/lambent-"+tag[:8]+"/"+reservePrefix, time.Now())
		if p.make == nil {
			if strays {
				return min(p.wait, sweepEvery)
			}
			return p.wait
		}
		if !p.urgent {
			r.driver.traffic.wait(r.stop)
		}
		if r.ctx.Err() != nil {
			return tendEvery
		}
		p.make()
	}
}

// plan is what to do next.
type plan struct {
	drop   []*blank
	end    []*zygote
	make   func()        // one thing that is missing, if any is
	urgent bool          // it is worth taking the processor from cold starts
	wait   time.Duration // otherwise: when to look again
}

// next decides.
func (r *reserve) next(now time.Time) plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := plan{wait: tendEvery}
	nodes, given, ready := r.shares(now)
	for i, n := range nodes {
		p.drop = append(p.drop, n.clear(given[i], ready[i])...)
	}
	for key, s := range r.stocks {
		p.end = append(p.end, s.worn(now)...)
		s.prune()
		if !s.used(now) && !s.building && len(s.root().idle) == 0 && now.Sub(s.root().demand.last) > 4*demandEnd {
			delete(r.stocks, key)
		}
	}
	due := func(s *stock) bool {
		left := s.retry.until.Sub(now)
		if left > 0 {
			p.wait = min(p.wait, left)
		}
		return left <= 0
	}
	for _, key := range sortedKeys(r.stocks) {
		if s := r.stocks[key]; p.make == nil && s.lacksZygote(now) && r.affordable(r.budget) && due(s) {
			p.make, p.urgent = func() { r.plant(s) }, true // cold starts need it themselves
		}
	}
	// The first blank of each node, then modules that are worth having ahead, and
	// then as many blanks as there may be.
	lacks := func(atLeast int) {
		for i, n := range nodes {
			have := n.ready()
			missing := len(n.idle) < min(given[i], atLeast) || have+slack < min(ready[i], atLeast)
			if p.make == nil && missing && (n == n.stock.root() || n.zygote != nil) && due(n.stock) {
				p.make = func() { r.fill(n, have >= ready[i]) }
			}
		}
	}
	lacks(1)
	if p.make == nil {
		build, end := r.grow(now)
		if p.make = build; end != nil {
			p.end, p.wait = append(p.end, end), 0
		}
	}
	lacks(maxDemand)
	return p
}

// shares divides the budget among all nodes. It is called with mu held.
func (r *reserve) shares(now time.Time) (nodes []*node, given, ready []int) {
	var claims []claim
	budget := r.budget - r.driver.shells.memory()
	for _, key := range sortedKeys(r.stocks) {
		for _, n := range r.stocks[key].nodes {
			nodes = append(nodes, n)
			c := n.claim(now)
			if n.zygote != nil {
				c.surge = c.wanted
			}
			if n == n.stock.root() && n.zygote != nil && c.wanted > 0 {
				c.most = r.driver.opts.Spare
			}
			claims = append(claims, c)
			budget -= n.size
		}
	}
	given, ready = share(budget, r.extra, claims)
	return nodes, given, ready
}

// failed spaces out what goes wrong, unless the reserve is being closed.
func (r *reserve) failed(s *stock, err error) {
	if r.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	s.died++
	s.retry.failed(time.Now())
	r.mu.Unlock()
	r.driver.opts.Log.Warn("cannot prepare a runtime ahead", "err", err)
}

// name is a new one for a group.
func (r *reserve) name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial++
	return reservePrefix + strconv.Itoa(r.serial)
}

// describe lists what there is.
func (r *reserve) describe() []sandbox.Reserve {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes, given, _ := r.shares(time.Now())
	list := r.driver.shells.describe()
	for i, n := range nodes {
		s := n.stock
		if n == s.root() {
			list = append(list, sandbox.Reserve{Runtime: s.rt.Name, Key: s.rt.Blank.Key,
				Hits: s.hits, Misses: s.misses, Died: s.died})
		}
		e := &list[len(list)-1]
		e.Ready += len(n.idle)
		e.Wanted += given[i]
		e.MemoryBytes += n.size
		for _, b := range n.idle {
			e.MemoryBytes += b.cost
		}
		if n.zygote != nil {
			e.Nodes = append(e.Nodes, sandbox.ReserveNode{Modules: slices.Clone(n.own), Ready: len(n.idle), MemoryBytes: n.size})
		}
	}
	return list
}

// close ends everything that is kept. No start is running any more.
func (r *reserve) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	close(r.stop)
	r.yield()
	r.uproot()
	r.settled()
	r.yield() // what was made meanwhile
	r.uproot()
	r.settled()
}

// settled waits for what the reserve has under way: not for ever, because a server
// must be able to stop. What is left then ends with the server, or by the next
// one's Recover.
func (r *reserve) settled() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.work.Wait()
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
		r.driver.opts.Log.Error("the reserve does not come to its end", "after", closeTimeout)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
