package linux

import (
	"context"
	"errors"
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
	cold   int               // cold starts under way
	serial int               // of the groups' names
	closed bool
}

// stock is what there is of one key.
type stock struct {
	rt    sandbox.Runtime
	root  *node
	retry backoff
	// makes is how long it takes to make a blank, cost what one takes of memory;
	// both lean on the last.
	makes              time.Duration
	cost               int64
	hits, misses, died int64
}

// node is where blanks of one kind come from: started from nothing, or forked from
// an interpreter that has loaded some modules.
type node struct {
	stock  *stock
	idle   []*blank // the newest last
	demand demand
}

// Assumed until there is a figure.
const (
	assumedCost  = 16 << 20
	assumedMakes = 250 * time.Millisecond
)

func newReserve(d *Driver, budget int64) *reserve {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reserve{driver: d, budget: budget, kick: make(chan struct{}, 1), stop: make(chan struct{}), ctx: ctx, cancel: cancel,
		stocks: map[string]*stock{}}
	if budget > 0 {
		r.work.Go(r.run)
	}
	return r
}

// begin counts a cold start: while one is under way, the processor is its own.
func (r *reserve) begin() {
	r.mu.Lock()
	r.cold++
	r.mu.Unlock()
}

// through ends what begin has begun.
func (r *reserve) through() {
	r.mu.Lock()
	r.cold--
	r.mu.Unlock()
	r.poke()
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
		s = &stock{rt: rt, makes: assumedMakes, cost: assumedCost}
		s.root = &node{stock: s}
		r.stocks[rt.Blank.Key] = s
	}
	return s
}

// expect counts a runtime among those in use.
func (r *reserve) expect(rt sandbox.Runtime) {
	if rt.Blank == nil || r.budget == 0 {
		return
	}
	r.mu.Lock()
	r.of(rt).root.demand.expect(time.Now())
	r.mu.Unlock()
	r.poke()
}

// take gives a blank for this function, or nil.
func (r *reserve) take(_ context.Context, spec sandbox.Spec, edition int) (*blank, lambent.Origin) {
	if r.budget == 0 {
		return nil, ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ""
	}
	s := r.of(spec.Runtime)
	s.root.demand.note(time.Now(), s.makes)
	b := r.pop(s.root, edition)
	if b == nil {
		s.misses++
		return nil, ""
	}
	s.hits++
	return b, lambent.OriginBlank
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

// learner takes what the function of a blank imports.
func (r *reserve) learner(sandbox.Spec, *blank) func([]string) { return nil }

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
		r.driver.opts.Log.Warn("a runtime in the reserve has ended", "key", b.node.stock.rt.Blank.Key, "status", int(b.status))
		r.poke()
	}
}

// yield gives up every idle blank for the sake of its slot, and tells whether
// there were any.
func (r *reserve) yield() bool {
	r.mu.Lock()
	var all []*blank
	for _, s := range r.stocks {
		all = append(all, s.root.clear()...)
	}
	r.mu.Unlock()
	r.discard(all)
	return len(all) > 0
}

// clear takes all idle blanks out of the node. It is called with mu held.
func (n *node) clear() []*blank {
	all := n.idle
	n.idle = nil
	for _, b := range all {
		close(b.taken)
	}
	return all
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
// missing it hears of.
const tendEvery = 15 * time.Second

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
	for r.quiet() {
		drop, n, wait := r.next(time.Now())
		r.discard(drop)
		if n == nil {
			return wait
		}
		r.fill(n)
	}
	return tendEvery
}

// Patience with cold starts under way: one that hangs does not keep the reserve
// empty.
const quietPatience = time.Second

// quiet waits until no cold start is under way; false means stop.
func (r *reserve) quiet() bool {
	patience := time.NewTimer(quietPatience)
	defer patience.Stop()
	for {
		r.mu.Lock()
		cold := r.cold
		r.mu.Unlock()
		select {
		case <-r.stop:
			return false
		default:
		}
		if cold == 0 {
			return true
		}
		select {
		case <-r.stop:
			return false
		case <-patience.C:
			return true
		case <-r.kick:
		}
	}
}

// next decides what to do: blanks to end, and the node that lacks one. If none
// does now, wait tells when to look again.
func (r *reserve) next(now time.Time) (drop []*blank, lacks *node, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait = tendEvery
	nodes, given := r.shares(now)
	for i, n := range nodes {
		for len(n.idle) > given[i] {
			drop = append(drop, n.idle[0])
			close(n.idle[0].taken)
			n.idle = n.idle[1:]
		}
		if len(n.idle) == given[i] || lacks != nil {
			continue
		}
		if left := n.stock.retry.until.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		lacks = n
	}
	for key, s := range r.stocks {
		if len(s.root.idle) == 0 && s.root.demand.wanted(now) == 0 && now.Sub(s.root.demand.last) > 4*demandEnd {
			delete(r.stocks, key)
		}
	}
	return drop, lacks, wait
}

// shares divides the budget among all nodes. It is called with mu held.
func (r *reserve) shares(now time.Time) ([]*node, []int) {
	var nodes []*node
	var claims []claim
	for _, key := range sortedKeys(r.stocks) {
		s := r.stocks[key]
		nodes = append(nodes, s.root)
		claims = append(claims, claim{cost: s.cost, wanted: s.root.demand.wanted(now)})
	}
	return nodes, share(r.budget, claims)
}

// fill makes a blank for the node.
func (r *reserve) fill(n *node) {
	ctx, cancel := context.WithTimeout(r.ctx, bootPatience)
	defer cancel()
	begin := time.Now()
	b, err := r.driver.newBlank(ctx, r.name(), n.stock.rt, nil)
	var cost int64
	if err == nil {
		cost = proportional(b.process.pid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := n.stock
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.died++
			s.retry.failed(time.Now())
			r.driver.opts.Log.Warn("cannot prepare a runtime ahead", "err", err)
		}
		return
	}
	b.node, b.cost = n, cost
	b.taken = make(chan struct{})
	s.makes = (s.makes + time.Since(begin)) / 2
	if cost > 0 {
		s.cost = cost
	}
	n.idle = append(n.idle, b)
	r.work.Go(func() {
		select {
		case <-b.exited:
			r.lost(b)
		case <-b.taken:
		}
	})
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
	now := time.Now()
	var list []sandbox.Reserve
	nodes, given := r.shares(now)
	for i, n := range nodes {
		s := n.stock
		e := sandbox.Reserve{Runtime: s.rt.Name, Key: s.rt.Blank.Key, Ready: len(n.idle), Wanted: given[i],
			Hits: s.hits, Misses: s.misses, Died: s.died}
		for _, b := range n.idle {
			e.MemoryBytes += b.cost
		}
		list = append(list, e)
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
	r.work.Wait()
	r.yield() // what was made meanwhile
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
