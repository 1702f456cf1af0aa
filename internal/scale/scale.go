// Package scale decides what should be warm, and when: provisioned concurrency
// with its windows, min instances, the other side of a weighted alias, calls that
// timers and habits make likely. It owns those decisions, which depend on the
// catalog and on the time passed in, and asks the pool to keep them; it starts
// and ends no instance itself. The doors above ask it how far provisioned
// concurrency has come; beside it is the spine, below it the pool, the catalog
// and the predict room.
package scale

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/pool"
)

// Options are the room's neighbours. Catalog, Pool and Log are required.
type Options struct {
	Catalog Catalog
	Pool    Pool
	Log     *slog.Logger
	// Idle is how long a version counts as in use after its last call, and how long
	// idle instances are kept where no histogram says otherwise.
	Idle time.Duration
	// Guess says which guesses are made. A function may opt out of all of them.
	Guess Guess
	// Habits are what the pool tells of calls; nil knows nothing, and there is no
	// guess by graph then.
	Habits *Habits
	// Loads are measured of all calls; nil measures nothing, and nothing follows the
	// load then.
	Loads *Loads
	// Scaling is what holds where a function does not say how its instances follow
	// its load, and Every the time between two decisions; 0 is two seconds.
	Scaling lambent.Scaling
	Every   time.Duration
	// Memory is the file that keeps what was learned of calls from one server to the
	// next; "" keeps it nowhere.
	Memory string
	// Timers, if set, tells which calls timers will make between two moments.
	Timers func(from, to time.Time) []Call
}

// Guess are the switches of what nobody has asked for. With none of them only
// provisioned concurrency and min instances are kept.
type Guess struct {
	Alias bool // the other versions of a weighted alias that is in use
	Graph bool // what is often called after what is called now
	Timer bool // what timers call soon
}

// Catalog says what is wanted. All of it is answered from memory.
type Catalog interface {
	Kept() iter.Seq[catalog.Kept]
	Weighted() iter.Seq[*lambent.Alias]
	Get(namespace, function, qualifier string) (catalog.Entry, error)
}

// Pool keeps it.
type Pool interface {
	Target(v *lambent.Version, t pool.Target)
	Provisioned(k pool.Key) (allocated, available int, failure string)
	InUse(k pool.Key, now time.Time) time.Time
	Warm(v *lambent.Version, reason string) bool
	Expect(v *lambent.Version, at time.Time) bool
	Watched
}

// Watched is what the pool tells of a version.
type Watched interface {
	Observe(k pool.Key) (pool.Observation, bool)
	Observed() iter.Seq2[pool.Key, pool.Observation]
	Usage(k pool.Key) []pool.Used
}

// Call is one that is known beforehand.
type Call struct {
	Namespace, Function, Qualifier string
	At                             time.Time
}

// reasonGraph is given to [pool.Pool.Warm].
const reasonGraph = "call-graph"

// every is the time between two looks at everything.
const every = time.Second

// Service is safe for use from any goroutine.
type Service struct {
	o        Options
	kick     chan struct{}
	arrivals <-chan arrival // nil without habits

	auto *autoscaler
	held goals                 // what the pool has been told last; Run's alone
	warm map[pool.Key]struct{} // made ready since the last look; Run's alone

	mu    sync.Mutex                 // guards begun; never held while calling out
	begun map[provisionKey]time.Time // LastModified of what the pool has been told
}

type provisionKey struct{ namespace, function, qualifier string }

// New makes the room. Run does its work.
func New(o Options) *Service {
	s := &Service{
		o: o, kick: make(chan struct{}, 1),
		begun: map[provisionKey]time.Time{}, held: goals{}, warm: map[pool.Key]struct{}{},
	}
	if o.Habits != nil {
		s.arrivals = o.Habits.arrivals
	}
	if s.o.Loads == nil {
		s.o.Loads = NewLoads()
	}
	if s.o.Every == 0 {
		s.o.Every = 2 * time.Second
	}
	s.auto = &autoscaler{loads: s.o.Loads, pool: o.Pool, defaults: o.Scaling, idle: o.Idle, of: map[pool.Key]*scaled{}}
	return s
}

// Kick makes Run look at once: something changed. It does not block.
func (s *Service) Kick() {
	select {
	case s.kick <- struct{}{}:
	default: // one is enough
	}
}

// Run keeps what should be warm until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	turn := time.NewTicker(s.o.Every)
	defer turn.Stop()
	save := time.NewTicker(rememberTime)
	defer save.Stop()
	s.recall(time.Now())
	defer s.remember()
	s.look(time.Now())
	for {
		select {
		case <-ctx.Done():
			s.catchUp()
			return nil
		case <-save.C:
			s.remember()
		case now := <-tick.C:
			s.look(now)
			clear(s.warm)
			s.expect(now)
		case <-s.kick:
			s.look(time.Now())
		case now := <-turn.C:
			s.scale(now)
		case <-s.o.Loads.wake:
			s.scale(time.Now())
		case a := <-s.arrivals:
			s.follow(a)
		}
	}
}

// scale decides about the load and tells the pool.
func (s *Service) scale(now time.Time) {
	next, begun := s.plan(now)
	s.auto.look(now, next, s.current)
	s.tell(next, begun)
}

// current is a version as it is now, with its function's settings; nil is none.
func (s *Service) current(k pool.Key) (lambent.Settings, *lambent.Version) {
	e, err := s.o.Catalog.Get(k.Namespace, k.Function, k.Number)
	if err != nil || !ready(e.Version) {
		return lambent.Settings{}, nil
	}
	return e.Function.Settings, e.Version
}

// look tells the pool all targets.
func (s *Service) look(now time.Time) {
	next, begun := s.plan(now)
	s.tell(next, begun)
}

// tell costs next to nothing where the targets are met.
func (s *Service) tell(next goals, begun map[provisionKey]time.Time) {
	s.auto.raise(next)
	for k, g := range next {
		s.o.Pool.Target(g.version, g.target)
		delete(s.held, k)
	}
	for _, g := range s.held {
		s.o.Pool.Target(g.version, pool.Target{})
	}
	s.held = next
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = begun
}

// expect makes ready what timers will call soon.
func (s *Service) expect(now time.Time) {
	if s.o.Timers == nil || !s.o.Guess.Timer {
		return
	}
	for _, c := range s.o.Timers(now, now.Add(pool.LongestLead)) {
		if v := s.version(c.Namespace, c.Function, c.Qualifier); v != nil {
			s.o.Pool.Expect(v, c.At)
		}
	}
}

// Allocation tells how far p has come; false while the pool has not been told of
// it.
func (s *Service) Allocation(p *lambent.Provisioned) (lambent.Allocation, bool) {
	s.mu.Lock()
	since, begun := s.begun[keyOf(p)]
	s.mu.Unlock()
	if !begun || !since.Equal(p.LastModified) {
		return lambent.Allocation{}, false
	}
	e, err := s.o.Catalog.Get(p.Namespace, p.Function, p.Qualifier)
	if err != nil {
		return lambent.Allocation{}, false
	}
	a := lambent.Allocation{Wanted: countAt(p, time.Now())}
	a.Allocated, a.Available, a.Failure = s.o.Pool.Provisioned(pool.KeyOf(e.Version))
	return a, true
}
