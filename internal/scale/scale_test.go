package scale

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
)

const account = "000000000000"

// shelf is a catalog whose parts a test sets.
type shelf struct {
	mu       sync.Mutex // guards all
	kept     []catalog.Kept
	aliases  []*lambent.Alias
	versions map[string]*lambent.Version // by "function:qualifier"
	settings lambent.Settings
}

func (c *shelf) Kept() iter.Seq[catalog.Kept] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Values(slices.Clone(c.kept))
}
func (c *shelf) Weighted() iter.Seq[*lambent.Alias] { return slices.Values(c.aliases) }
func (c *shelf) Get(_, function, qualifier string) (catalog.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.versions[function+":"+qualifier]
	if v == nil {
		return catalog.Entry{}, lambent.Errorf(lambent.CodeNotFound, "no %s:%s", function, qualifier)
	}
	return catalog.Entry{Function: &lambent.Function{Namespace: account, Name: function, Settings: c.settings}, Version: v}, nil
}

func (c *shelf) put(function, qualifier, number string) *lambent.Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &lambent.Version{Namespace: account, Function: function, Number: number, State: lambent.StateActive}
	if c.versions == nil {
		c.versions = map[string]*lambent.Version{}
	}
	c.versions[function+":"+qualifier] = v
	c.versions[function+":"+number] = v
	return v
}

// basin is a pool that only remembers what it was told.
type basin struct {
	mu      sync.Mutex // guards all
	targets map[pool.Key]pool.Target
	used    map[pool.Key]time.Time
	seen    map[pool.Key]pool.Observation
	usage   []pool.Used
	warmed  []string
}

func (b *basin) Target(v *lambent.Version, t pool.Target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.targets == nil {
		b.targets = map[pool.Key]pool.Target{}
	}
	b.targets[pool.KeyOf(v)] = t
	if t == (pool.Target{}) {
		delete(b.targets, pool.KeyOf(v))
	}
}
func (b *basin) Provisioned(k pool.Key) (allocated, available int, failure string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.targets[k].Provisioned
	return n, n - 1, "slow"
}
func (b *basin) Observe(k pool.Key) (pool.Observation, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.seen[k]
	return o, ok
}
func (b *basin) Observed() iter.Seq2[pool.Key, pool.Observation] { return maps.All(b.seen) }
func (b *basin) Usage(pool.Key) []pool.Used                      { return b.usage }
func (b *basin) InUse(k pool.Key, _ time.Time) time.Time         { return b.used[k] }
func (b *basin) Warm(v *lambent.Version, reason string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warmed = append(b.warmed, v.Function+" "+reason)
	return true
}
func (b *basin) Expect(v *lambent.Version, at time.Time) bool {
	return time.Until(at) <= 5*time.Second && b.Warm(v, pool.ReasonTimer)
}

// reasons takes what was made ready so far.
func (b *basin) reasons() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	warmed := b.warmed
	b.warmed = nil
	return warmed
}

func (b *basin) told(t *testing.T, want map[pool.Key]pool.Target) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !maps.Equal(b.targets, want) {
		t.Errorf("targets %+v, want %+v", b.targets, want)
	}
}

func at(clock string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", "2026-11-02 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

func TestCountAt(t *testing.T) {
	p := &lambent.Provisioned{Requested: 2, LastModified: at("00:00:30"), Windows: []lambent.Window{
		{Start: "0 9 * * 1-5", Duration: 8 * time.Hour, Count: 10},
		{Start: "cron(0 12 ? * 2 *)", Duration: time.Hour, Count: 20},
		{Start: "0 22 * * *", Duration: 4 * time.Hour, Count: 0},
		{Start: "rate(12 hours)", Duration: time.Minute, Count: 7},
		{Start: "nonsense", Duration: time.Hour, Count: 99},
	}}
	for _, c := range []struct {
		clock string
		want  int
	}{
		{"08:59:59", 2}, {"09:00:00", 10}, {"11:59:59", 10}, {"12:00:00", 20}, {"12:59:59", 20}, {"13:00:00", 10},
		{"16:59:59", 10}, {"17:00:00", 2}, {"22:00:00", 0}, {"23:59:00", 0}, {"01:59:59", 0}, {"02:00:00", 2}, {"00:00:45", 7}, {"12:00:45", 20},
	} {
		if got := countAt(p, at(c.clock)); got != c.want {
			t.Errorf("at %s: %d, want %d", c.clock, got, c.want)
		}
	}
}

func TestPlan(t *testing.T) {
	c, b := &shelf{}, &basin{}
	c.put("f", "live", "1")
	c.put("g", "prod", "3")
	c.put("g", lambent.Latest, lambent.Latest)
	pending := c.put("g", "9", "9")
	pending.State = lambent.StatePending
	p := &lambent.Provisioned{Namespace: account, Function: "f", Qualifier: "live", Requested: 3, LastModified: at("01:00:00")}
	c.kept = []catalog.Kept{
		{Function: &lambent.Function{Namespace: account, Name: "f", Settings: lambent.Settings{MinInstances: map[string]int{"1": 5}}}, Provisioned: []*lambent.Provisioned{p}},
		{Function: &lambent.Function{Namespace: account, Name: "g", Settings: lambent.Settings{MinInstances: map[string]int{"prod": 1, lambent.Latest: 2, "9": 4, "gone": 1}}}},
	}
	s := New(Options{Catalog: c, Pool: b, Log: slog.New(slog.DiscardHandler), Idle: time.Minute})
	if _, begun := s.Allocation(p); begun {
		t.Error("an allocation was begun before the pool was told")
	}
	s.look(at("02:00:00"))
	b.told(t, map[pool.Key]pool.Target{
		{Namespace: account, Function: "f", Number: "1"}:            {Provisioned: 3, Minimum: 5},
		{Namespace: account, Function: "g", Number: "3"}:            {Minimum: 1},
		{Namespace: account, Function: "g", Number: lambent.Latest}: {Minimum: 2},
	})
	if a, begun := s.Allocation(p); !begun || a != (lambent.Allocation{Wanted: 3, Allocated: 3, Available: 2, Failure: "slow"}) {
		t.Errorf("allocation %+v, %v", a, begun)
	}
	changed := *p
	changed.LastModified = at("03:00:00")
	if _, begun := s.Allocation(&changed); begun {
		t.Error("a change counts as begun before the pool was told")
	}
	// The alias moves, and one function's wishes end.
	c.put("f", "live", "2")
	c.kept = c.kept[:1]
	c.kept[0].Function.Settings = lambent.Settings{}
	s.look(at("02:00:01"))
	b.told(t, map[pool.Key]pool.Target{{Namespace: account, Function: "f", Number: "2"}: {Provisioned: 3}})
}

func TestSiblingsOfAWeightedAlias(t *testing.T) {
	one := pool.Key{Namespace: account, Function: "f", Number: "1"}
	two := pool.Key{Namespace: account, Function: "f", Number: "2"}
	now := at("12:00:00")
	for _, c := range []struct {
		name    string
		used    map[pool.Key]time.Time
		share   float64
		setting lambent.Settings
		off     bool
		want    map[pool.Key]pool.Target
	}{
		{name: "nobody calls", share: .1},
		{name: "one side", used: map[pool.Key]time.Time{one: now.Add(-30 * time.Second)}, share: .1, want: map[pool.Key]pool.Target{two: {Likely: 1}}},
		{name: "long ago", used: map[pool.Key]time.Time{one: now.Add(-2 * time.Minute)}, share: .1},
		{name: "both", used: map[pool.Key]time.Time{one: now, two: now}, share: .1, want: map[pool.Key]pool.Target{one: {Likely: 1}, two: {Likely: 1}}},
		{name: "all to the other", used: map[pool.Key]time.Time{two: now}, share: 1},
		{name: "the function will not", used: map[pool.Key]time.Time{one: now}, share: .1, setting: lambent.Settings{NoPrediction: true}},
		{name: "switched off", used: map[pool.Key]time.Time{one: now}, share: .1, off: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cat, b := &shelf{settings: c.setting}, &basin{used: c.used}
			cat.put("f", "1", "1")
			cat.put("f", "2", "2")
			cat.aliases = []*lambent.Alias{{Namespace: account, Function: "f", Name: "live", Version: "1", Weights: map[string]float64{"2": c.share}}}
			s := New(Options{Catalog: cat, Pool: b, Log: slog.New(slog.DiscardHandler), Idle: time.Minute, Guess: Guess{Alias: !c.off}})
			s.look(now)
			if c.want == nil {
				c.want = map[pool.Key]pool.Target{}
			}
			b.told(t, c.want)
		})
	}
}

func TestRunFollowsTheClockAndKicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := &shelf{}, &basin{}
		c.put("f", "1", "1")
		c.put("timed", lambent.Latest, lambent.Latest)
		keep := func(n int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.kept = []catalog.Kept{{Function: &lambent.Function{Namespace: account, Name: "f",
				Settings: lambent.Settings{MinInstances: map[string]int{"1": n}}}}}
		}
		keep(1)
		due := time.Now().Add(8 * time.Second)
		s := New(Options{Catalog: c, Pool: b, Log: slog.New(slog.DiscardHandler), Guess: Guess{Timer: true},
			Timers: func(from, to time.Time) []Call {
				if due.Before(from) || due.After(to) {
					return nil
				}
				return []Call{{account, "timed", lambent.Latest, due}}
			}})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Run(ctx) })
		synctest.Wait()
		k := pool.Key{Namespace: account, Function: "f", Number: "1"}
		b.told(t, map[pool.Key]pool.Target{k: {Minimum: 1}})
		keep(2)
		s.Kick()
		synctest.Wait()
		b.told(t, map[pool.Key]pool.Target{k: {Minimum: 2}})
		keep(0)
		time.Sleep(2 * time.Second)
		b.told(t, map[pool.Key]pool.Target{})
		if warmed := b.reasons(); len(warmed) != 0 {
			t.Errorf("made ready too early: %v", warmed)
		}
		time.Sleep(2 * time.Second)
		if warmed := b.reasons(); !slices.Contains(warmed, "timed timer") {
			t.Errorf("a timer's function is not ready: %v", warmed)
		}
		cancel()
		wg.Wait()
	})
}

// TestHabitsAreFollowed lets one function's calls follow those of another.
func TestHabitsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := &shelf{}, &basin{}
		front, back := pool.KeyOf(c.put("front", "1", "1")), pool.KeyOf(c.put("back", "1", "1"))
		p := NewHabits(predict.New(predict.Options{Idle: time.Minute}), 0)
		s := New(Options{Catalog: c, Pool: b, Log: slog.New(slog.DiscardHandler), Guess: Guess{Graph: true}, Habits: p})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Run(ctx) })
		for range 30 {
			p.Arrived(front, pool.Key{}, time.Now(), 1)
			time.Sleep(100 * time.Millisecond)
			p.Arrived(back, pool.Key{}, time.Now(), 1)
			time.Sleep(time.Minute)
		}
		b.reasons()
		p.Arrived(front, pool.Key{}, time.Now(), 1)
		synctest.Wait()
		if warmed := b.reasons(); !slices.Equal(warmed, []string{"back call-graph"}) {
			t.Errorf("made ready: %v, want the function that is called next", warmed)
		}
		if _, keep := p.Keep(back, time.Now(), pool.Cost{Cold: time.Second, MemoryMB: 128}); keep(1) <= 0 {
			t.Errorf("an instance is kept for %v", keep(1))
		}
		cancel()
		wg.Wait()
	})
}
