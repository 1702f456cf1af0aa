// Package pool keeps the instances of every version: it hands out an idle one,
// starts a cold one, waits for whichever comes first, reaps what stays idle and
// ends what is out of date. It owns the instances from their start to their
// last trace; it refuses to know who calls or in which dialect. The spine above
// acquires a Lease from it; a sandbox driver, the artifact, runtimes and log
// rooms below it are handed in by the server.
package pool

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Options are the pool's neighbours and limits.
type Options struct {
	Driver    sandbox.Driver
	Artifacts Artifacts
	Runtimes  Runtimes
	// Environment is the whole environment of a version's runtime but for the
	// address of its API.
	Environment func(v *lambent.Version, logStream string) []string
	Logs        logs.Writer
	Region      string
	Log         *slog.Logger
	Metrics     *telemetry.Metrics // may be nil
	// Idle is how long an instance may wait for work before it is reaped.
	Idle time.Duration
	// MemoryMB bounds the sum of the memory sizes of live instances.
	MemoryMB int
	// MaxWait is how long a call may wait for memory before it is throttled.
	MaxWait time.Duration
	// NewID makes instance ids of 32 hex digits.
	NewID func() string
}

// Artifacts gives directories of unpacked code.
type Artifacts interface {
	// Use pins d's directory until release is called.
	Use(ctx context.Context, d lambent.Digest) (dir string, release func(), err error)
}

// Runtimes says how a version's runtime is started.
type Runtimes interface {
	Resolve(v *lambent.Version) (sandbox.Runtime, error)
}

// A call that finds only instances which have answered, but have not asked for
// their next event yet, waits for them as long as the version's last cold start
// took, and then pays for one: it never costs more than twice the better choice.
// The bounds hold for a first guess and for very slow starts.
const (
	minGrace = 10 * time.Millisecond
	maxGrace = 200 * time.Millisecond
)

// Pool is safe for use from any goroutine.
type Pool struct {
	o  Options
	wg sync.WaitGroup // every goroutine the pool starts

	mu       sync.Mutex // guards all below; never held while calling out
	groups   map[key]*group
	usedMB   int
	starved  []*group // with waiters that wait for memory, first come first
	closed   bool
	instance int // live ones
}

type key struct{ namespace, function, number string }

// group is the instances of one version.
type group struct {
	key      key
	version  *lambent.Version // latest seen
	print    string           // fingerprint of what the instances were started from
	idle     []*member        // newest last
	starting int              // cold starts under way
	lastCold time.Duration    // what the last one took in all
	busy     map[*member]struct{}
	settling map[*member]struct{} // answered, not ready for the next event yet
	waiters  []*waiter            // first come first
	starved  bool                 // is in Pool.starved
	stale    bool                 // print does not speak of version any more
	tmp      sandbox.Tmp          // of an instance that timed out or exited; nil if none
	tmpAt    time.Time            // when it was saved
}

// member is one instance in the pool.
type member struct {
	group   *group
	print   string
	inst    sandbox.Instance
	stream  logs.Stream
	version *lambent.Version
	memory  int
	used    bool // has run an invocation
	cold    ColdStart
	idleAt  time.Time
	release func() // unpins code and layers
}

// waiter is one call of Acquire that found nothing idle.
type waiter struct {
	out chan outcome // buffered; gets one unless the waiter left the queue first
}

type outcome struct {
	m       *member
	failure *sandbox.Failure // the runtime could not initialise; m only has its log left
	err     error
	started bool // it comes from a cold start
}

// New makes a pool. Run must be called for reaping, Close at the end.
func New(o Options) *Pool {
	return &Pool{o: o, groups: make(map[key]*group)}
}

// Stats is a count of instances by what they do.
type Stats struct {
	Instances, Idle, Busy, Starting, Waiting int
	MemoryMB                                 int
}

// Stats tells what the pool holds at this moment.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Instances: p.instance, MemoryMB: p.usedMB}
	for _, g := range p.groups {
		s.Idle += len(g.idle)
		s.Busy += len(g.busy) + len(g.settling)
		s.Starting += g.starting
		s.Waiting += len(g.waiters)
	}
	return s
}

// Acquire returns a lease on an instance of v: an idle one, newest first, else
// whichever comes first, one that is freed or a cold one. It fails with
// CodeThrottled when the host has no memory for another instance within
// MaxWait, and with ctx's error when the caller goes away.
func (p *Pool) Acquire(ctx context.Context, v *lambent.Version) (*Lease, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errStopping()
	}
	g := p.groupOf(v)
	if m := g.popIdle(); m != nil {
		g.busy[m] = struct{}{}
		p.mu.Unlock()
		return &Lease{pool: p, m: m}, nil
	}
	w := &waiter{out: make(chan outcome, 1)}
	g.waiters = append(g.waiters, w)
	var grace time.Duration
	if len(g.settling) >= len(g.waiters) {
		grace = min(max(g.lastCold, minGrace), maxGrace)
	} else {
		p.wantLocked(g)
	}
	p.mu.Unlock()
	return p.await(ctx, g, w, grace)
}

// await waits for w's outcome. With grace, an instance is about to be free and a
// cold start is only asked for after a moment; a call that still waits for
// memory after MaxWait is throttled.
func (p *Pool) await(ctx context.Context, g *group, w *waiter, grace time.Duration) (*Lease, error) {
	wait := p.o.MaxWait
	if grace > 0 {
		wait = grace
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case out := <-w.out:
			return p.leaseOf(out)
		case <-ctx.Done():
			return p.abandon(g, w, lambent.Errorf(lambent.CodeCanceled, "wait for an instance of %s: %w", g.key.function, ctx.Err()))
		case <-timer.C:
			p.mu.Lock()
			starved := g.starved
			p.wantLocked(g)
			p.mu.Unlock()
			if starved && grace == 0 {
				return p.abandon(g, w, errNoMemory())
			}
			grace = 0
			timer.Reset(p.o.MaxWait)
		}
	}
}

// abandon takes w out of the queue; an outcome that came meanwhile goes back.
func (p *Pool) abandon(g *group, w *waiter, err error) (*Lease, error) {
	p.mu.Lock()
	if i := slices.Index(g.waiters, w); i >= 0 {
		g.waiters = slices.Delete(g.waiters, i, i+1)
	}
	p.mu.Unlock()
	select {
	case out := <-w.out:
		if l, lerr := p.leaseOf(out); lerr == nil {
			l.Release(time.Now())
		}
	default:
	}
	return nil, err
}

func (p *Pool) leaseOf(out outcome) (*Lease, error) {
	if out.err != nil {
		return nil, out.err
	}
	return &Lease{pool: p, m: out.m, failure: out.failure}, nil
}

// groupOf finds or makes v's group and brings it up to v's configuration:
// instances of another one are ended or, when busy, not used again.
func (p *Pool) groupOf(v *lambent.Version) *group {
	k := key{v.Namespace, v.Function, v.Number}
	g := p.groups[k]
	if g == nil {
		g = &group{key: k, version: v, print: fingerprint(v), busy: make(map[*member]struct{}), settling: make(map[*member]struct{})}
		p.groups[k] = g
		return g
	}
	if g.version != v || g.stale {
		g.version, g.stale = v, false
		if print := fingerprint(v); print != g.print {
			g.print = print
			p.retireLocked(g, "updated")
			p.feedLocked()
		}
	}
	return g
}

func (g *group) popIdle() *member {
	n := len(g.idle)
	if n == 0 {
		return nil
	}
	m := g.idle[n-1]
	g.idle[n-1] = nil
	g.idle = g.idle[:n-1]
	return m
}

// wantLocked starts cold instances until each waiter has one coming.
func (p *Pool) wantLocked(g *group) {
	for g.starting < len(g.waiters) {
		mb := g.version.MemoryMB
		if p.usedMB+mb > p.o.MemoryMB && !p.evictLocked(p.usedMB+mb-p.o.MemoryMB) {
			if !g.starved {
				g.starved = true
				p.starved = append(p.starved, g)
			}
			return
		}
		p.usedMB += mb
		p.instance++
		g.starting++
		v, print := g.version, g.print
		p.wg.Go(func() { p.coldStart(g, v, print, mb) })
	}
}

// feedLocked gives freed memory to the groups that wait for some.
func (p *Pool) feedLocked() {
	if len(p.starved) == 0 || p.closed {
		return
	}
	hungry := p.starved
	p.starved = nil
	for _, g := range hungry {
		g.starved = false
		p.wantLocked(g)
	}
}

// deliver hands an outcome to the first waiter. An instance that nobody waits
// for becomes idle, unless it is out of date. What it was before, starting, busy or
// settling, it ceases to be under the same lock: a group that holds nothing for a
// moment is forgotten, with what comes back to it.
func (p *Pool) deliver(g *group, out outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if out.started {
		g.starting--
		g.lastCold = out.m.cold.Total
	}
	delete(g.busy, out.m)
	delete(g.settling, out.m)
	alive := out.err == nil && out.failure == nil
	if alive && (p.closed || out.m.print != g.print) {
		p.endLocked(out.m, "updated")
		p.wantLocked(g)
		p.feedLocked()
		return
	}
	switch {
	case len(g.waiters) > 0:
		w := g.waiters[0]
		g.waiters = slices.Delete(g.waiters, 0, 1)
		if out.err == nil {
			g.busy[out.m] = struct{}{}
		}
		w.out <- out
	case alive:
		out.m.idleAt = time.Now()
		g.idle = append(g.idle, out.m)
		p.feedLocked() // an idle instance may make room for a waiting call
	case out.failure != nil:
		p.endLocked(out.m, "failed to start")
		p.feedLocked()
	}
}

func errStopping() error {
	return lambent.Errorf(lambent.CodeUnavailable, "the server is stopping")
}

func errNoMemory() error {
	return lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason("ConcurrentInvocationLimitExceeded")
}
