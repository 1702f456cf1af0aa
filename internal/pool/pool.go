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
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Options are the pool's neighbours and limits.
type Options struct {
	Driver    sandbox.Driver
	Artifacts Artifacts
	// Trees, if set, has the layers of images that are still coming in.
	Trees    Trees
	Runtimes Runtimes
	Prepared Prepared // may be nil
	// Environment is the whole environment of a version's runtime but for the
	// address of its API, in the instance that c starts.
	Environment func(v *lambent.Version, c ColdStart) []string
	// Settings are a function's choices about its cold starts; nil is none for all.
	Settings func(namespace, function string) lambent.Settings
	// Most is how many instances of a version there may be for calls, 0 for no bound; nil
	// is whatever [Pool.Target] said. It is asked by a call that finds no instance at hand:
	// a load that has only begun must not start more before somebody has looked at it.
	Most    func(v *lambent.Version) int
	Logs    logs.Writer
	Region  string
	Log     *slog.Logger
	Metrics *telemetry.Metrics // may be nil
	Traces  *telemetry.Traces  // of starts that no call waits for; nil is off
	// Idle is how long an instance may wait for work before it is reaped, where
	// Policy does not know better.
	Idle        time.Duration
	Policy      Policy // may be nil
	Hibernation Hibernation
	// Ahead is how many instances may be on their way ahead of demand at the same
	// time; 0 is two.
	Ahead int
	// MemoryMB bounds what live instances count with: busy ones with their memory
	// size, idle ones with what they hold.
	MemoryMB int
	// Headroom tells what the host has left; nil is enough.
	Headroom Headroom
	// Starts is how many instances calls may start in 10 s; 0 is no limit.
	Starts int
	// Processors tells how busy the host is; nil is never too busy to start more.
	Processors Processors
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
	// Fit makes rt's blank one for this code and these layers, or takes it away.
	Fit(rt *sandbox.Runtime, v *lambent.Version, code string, layers []string)
}

// Prepared hands out what was made ahead of a version's first start.
type Prepared interface {
	// Use returns rt as it is started with what was prepared, and the directory for
	// [sandbox.Spec.Cache], which may be "". ok is false where nothing is prepared.
	// It does not block.
	Use(v *lambent.Version, rt sandbox.Runtime) (with sandbox.Runtime, dir string, release func(), ok bool)
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
	o       Options
	wg      sync.WaitGroup  // every goroutine the pool starts
	history history         // has a lock of its own
	life    context.Context // of cold starts: ends with Close
	cut     context.CancelFunc

	mu      sync.Mutex // guards all below; never held while calling out
	groups  map[Key]*group
	targets map[*group]struct{} // those with a target
	usedMB  int
	leaving int      // MB of usedMB that instances have which end, but not at once
	starved []*group // with waiters that wait for memory or for a start
	rate    startRate
	gate    gate
	wake    *time.Timer // Run's; fires at wakeAt
	wakeAt  time.Time
	// overdue is Run's; it fires at overdueAt, or before the first instance in all
	// groups' settling is due.
	overdue   *time.Timer
	overdueAt time.Time
	host      Host // what the host had left at lookedAt
	lookedAt  time.Time
	age       float64 // the worth of what was evicted last
	closed    bool
	instance  int // live ones
	ahead     int // on their way for a short time, and no call has asked for them
	frozen    int // instances in hibernation
	frozenMB  int // what they hold in RAM
}

// Key names a version.
type Key struct{ Namespace, Function, Number string }

// KeyOf is v's key.
func KeyOf(v *lambent.Version) Key { return Key{v.Namespace, v.Function, v.Number} }

// group is the instances of one version.
type group struct {
	key      Key
	version  *lambent.Version                // latest seen
	before   []weak.Pointer[lambent.Version] // seen before that, as long as somebody has them
	print    int                             // of what instances are started from: another one after each change
	prints   int                             // the last print
	idle     []*member                       // newest last
	starting int                             // instances on their way: cold starts and thaws
	late     int                             // of them, those that were begun before the last change
	lastCold time.Duration                   // what the last cold start took in all
	calls    int                             // since there is this group
	busy     map[*member]struct{}
	settling map[*member]struct{} // answered, not ready for the next event yet
	freezing int                  // on their way into hibernation
	frozen   []*member            // in hibernation, newest last
	waiters  []*waiter            // first come first
	starved  bool                 // is in Pool.starved
	short    bool                 // the last attempt to start one for a call found no memory
	stale    bool                 // print does not speak of version any more
	tmp      sandbox.Tmp          // of an instance that timed out or exited; nil if none
	legacies int                  // instances that end, and whose /tmp will be saved then
	tmpAt    time.Time            // when it was saved
	target   Target
	trouble  trouble
	lastIdle time.Time // when an instance last went idle after a call
	habit    habit
	expected time.Time         // until when unused instances that were made ready for a timer are kept
	near     map[uint64]string // instances of callers that stay, by the hash of their key
	held     Held
}

// member is one instance in the pool.
type member struct {
	group    *group
	print    int
	inst     sandbox.Instance
	stream   logs.Stream
	version  *lambent.Version
	memory   int           // MB, the version's
	charged  int           // MB that it counts in Pool.usedMB
	held     int           // MB, the most it has held as far as is known; 0 is unknown
	unseen   time.Duration // that it has run since held was right
	worth    float64
	used     bool         // has run an invocation
	surplus  bool         // gets calls only when others are full
	leases   int          // that are out on it
	ended    bool         // has been given up
	faults   atomic.Int32 // requests that it has failed in a row
	ahead    string       // why it was made ready ahead, until a call uses it; "" otherwise
	counted  bool         // in Pool.ahead
	aheadAt  time.Time
	cold     ColdStart
	idleAt   time.Time
	due      time.Time // when it has to be ready again, while it is settling
	overdue  bool      // it was not
	back     func()    // tells that it is
	after    func()    // to be called before it is, or is ended; may be called again; usually nil
	frozen   bool      // counts in Pool.frozen and Pool.frozenMB
	frozenAt time.Time
	lingers  bool           // takes a while to end, and its memory until then
	release  func()         // unpins code and layers
	teller   sandbox.Teller // has programs in the instance that want to know; usually nil
}

// waiter is one call of Acquire that found nothing idle.
type waiter struct {
	out   chan outcome // buffered; gets one unless the waiter left the queue first
	print int          // of the group when it came
}

type outcome struct {
	m       *member
	failure *sandbox.Failure // the runtime could not initialise; m only has its log left
	err     error
	came    way
	thaw    time.Duration // what the thaw took
	sharer  bool          // another waiter has the same instance by the same outcome
}

// way is how an instance came to be at hand.
type way int

const (
	freed   way = iota // its last call is over
	started            // by a cold start
	thawed             // from hibernation
)

// New makes a pool. Run does what has its time, also while Close waits for the
// calls that run: it must end after Close.
func New(o Options) *Pool {
	if o.Ahead == 0 {
		o.Ahead = 2
	}
	p := &Pool{o: o, groups: make(map[Key]*group), targets: make(map[*group]struct{})}
	p.rate.per10s = o.Starts
	p.wake, p.gate.look, p.overdue = stoppedTimer(), stoppedTimer(), stoppedTimer()
	p.life, p.cut = context.WithCancel(context.Background())
	p.lookAtHost()
	return p
}

// groupOf finds or makes v's group and brings it up to v's configuration: instances of
// another one are ended or, when busy, not used again. Who brings the one before a
// change that others have brought gets what they have.
func (p *Pool) groupOf(v *lambent.Version) *group {
	k := KeyOf(v)
	g := p.groups[k]
	if g == nil {
		g = &group{key: k, version: v, held: p.gate.gone[k], busy: make(map[*member]struct{}), settling: make(map[*member]struct{})}
		g.reprint()
		p.groups[k] = g
		return g
	}
	if g.version != v && !g.superseded(v) || g.stale {
		same := !g.stale && fingerprint(g.version) == fingerprint(v)
		g.supersede(v)
		if !same {
			g.reprint()
			g.trouble = trouble{}
			p.retireLocked(g, "updated")
			p.feedLocked()
		}
	}
	return g
}

// bringLocked sets one instance on its way: a frozen one is woken, newest first,
// else one is started. ahead says why, where no call has asked for it. It tells
// whether there was memory.
func (p *Pool) bringLocked(g *group, c claim, ahead string) bool {
	m := g.newestFrozen()
	need := g.version.MemoryMB
	if m != nil {
		need = m.memory - m.charged
		p.unfreezeLocked(m)
	}
	paced := m == nil && c == forCall
	if paced && !p.mayStartLocked(g, time.Now()) {
		return false
	}
	if !p.roomLocked(g, need, c, true) {
		p.noteShortLocked(g, need, c)
		if m != nil {
			p.shelveLocked(m)
		}
		return false
	}
	p.usedMB += need
	g.starting++
	if m != nil {
		m.charged = m.memory
		p.countLocked(m, ahead)
		p.wg.Go(func() { p.thaw(m, ahead) })
		return true
	}
	p.instance++
	p.host.give(1, need)
	p.passLocked(g, paced)
	m = &member{group: g, print: g.print, version: g.version, memory: need, charged: need}
	m.back = func() { p.settled(m) }
	p.countLocked(m, ahead)
	p.wg.Go(func() { p.coldStart(m, ahead) })
	return true
}

// deliver hands an outcome to the first waiter. An instance that nobody waits
// for becomes idle, unless it is out of date. What it was before, starting, busy or
// settling, it ceases to be under the same lock: a group that holds nothing for a
// moment is forgotten, with what comes back to it. It tells whether there was a
// waiter.
func (p *Pool) deliver(g *group, out outcome) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deliverLocked(g, out)
}

func (p *Pool) deliverLocked(g *group, out outcome) (taken bool) {
	p.arrivedLocked(g, out)
	alive := out.err == nil && out.failure == nil
	outdated := out.err == nil && out.m.print != g.print // a failure may be, too: the change may have mended it
	if outdated && !p.closed && g.serveEarlierLocked(out) {
		p.wantLocked(g)
		return true
	}
	if outdated || alive && p.closed {
		p.endLocked(out.m, "updated")
		p.wantLocked(g)
		p.feedLocked()
		return false
	}
	switch {
	case len(g.waiters) > 0 && (!alive || out.came != freed || !p.cedesLocked(g)):
		taken = true
		g.serveLocked(out)
		if g.capacity() > 1 || out.came == started { // more may have waited for it than it has room for
			p.wantLocked(g)
		}
	case alive:
		p.restLocked(g, out.m, time.Now())
		if len(g.waiters) > 0 {
			p.starveLocked(g)
		}
		p.feedLocked() // an idle instance may make room for a waiting call
	case out.failure != nil:
		p.endLocked(out.m, "failed to start")
		p.feedLocked()
	}
	if out.came != freed {
		p.fillLocked(time.Now())
	}
	return taken
}

// arrivedLocked ends what the instance of an outcome was until now.
func (p *Pool) arrivedLocked(g *group, out outcome) {
	if out.came != freed {
		g.starting--
		if out.m.print != g.print {
			g.late--
		}
		g.late = min(max(g.late, 0), g.starting)
	}
	if out.came == started {
		p.gate.starts--
		g.lastCold = out.m.cold.Total
		if out.m.print == g.print {
			g.trouble.learn(out, time.Now())
		}
	}
	p.uncountLocked(out.m)
	out.m.leases = 0
	delete(g.busy, out.m)
	delete(g.settling, out.m)
}

func errStopping() error {
	return lambent.Errorf(lambent.CodeUnavailable, "the server is stopping")
}
