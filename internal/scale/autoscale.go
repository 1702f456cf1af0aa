package scale

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
	"lambent.dev/lambent/internal/scale/decide"
)

// Bounds of what is remembered of decisions: of an application, of a function, whose
// calls decide themselves, and of how many versions that are not called any more.
const (
	decisionsApp      = 32
	decisionsFunction = 8
	decisionsAll      = 1024
)

// Made is a decision, and how often it was made again unchanged.
type Made struct {
	decide.Decision           // as it was made last
	Since           time.Time // when it was made first
	Times           int
}

// autoscaler decides how many instances there shall be for the load, and remembers
// why.
type autoscaler struct {
	loads    *Loads
	pool     Pool
	defaults lambent.Scaling
	idle     time.Duration

	of map[pool.Key]*scaled // Run's alone, but for made and seen

	mu sync.Mutex // guards made and seen of all of them, and the map itself when it is written or read elsewhere
}

// scaled is one version under the autoscaler.
type scaled struct {
	version  *lambent.Version
	samples  []decide.Sample
	state    decide.State
	last     Totals
	at       time.Time                // of last
	cpu      map[string]time.Duration // by instance, at that time
	forecast *predict.Forecast        // nil unless it is wanted
	target   pool.Target              // what it asks for

	made []Made // oldest first
	seen time.Time
}

// look decides about every version that is called or has instances to lose. base
// is what else is asked for of each.
func (a *autoscaler) look(now time.Time, base goals, get func(pool.Key) (lambent.Settings, *lambent.Version)) {
	for k, load := range a.loads.all {
		total, running, v := load.at(now)
		if v == nil { // only recorded, and not called
			a.loads.forget(k, load)
			continue
		}
		settings, current := get(k)
		o, there := a.pool.Observe(k)
		s := a.of[k]
		if current == nil || s != nil && s.done(now, total, running, there) {
			a.drop(k, load, current == nil)
			continue
		}
		if s == nil {
			s = &scaled{at: now, last: total.Minus(total)}
			s.last.Load = total.Load
			a.mu.Lock()
			a.of[k] = s
			a.mu.Unlock()
		}
		s.version = current
		a.decide(s, seen{now: now, key: k, total: total, running: running, pool: o}, a.settings(settings, current, o, base[k].target))
	}
}

// seen is what there is to decide by.
type seen struct {
	now     time.Time
	key     pool.Key
	total   Totals
	running int
	pool    pool.Observation
}

// done tells that nobody calls the version and nothing of it is left. What has a
// history to learn from is not forgotten.
func (s *scaled) done(now time.Time, total Totals, running int, there bool) bool {
	return running == 0 && !there && s.forecast == nil && total.Began == s.last.Began && now.Sub(s.state.Used) > time.Minute
}

// drop ends the work on a version. Its decisions are kept for those who ask, unless
// it is gone.
func (a *autoscaler) drop(k pool.Key, load *Load, gone bool) {
	a.loads.forget(k, load)
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.of[k]
	switch {
	case s == nil:
	case gone:
		delete(a.of, k)
	default:
		*s = scaled{version: s.version, made: s.made, seen: s.seen}
	}
	if len(a.of) > decisionsAll {
		a.shrinkLocked()
	}
}

// shrinkLocked forgets the tenth that was decided about longest ago.
func (a *autoscaler) shrinkLocked() {
	keys := make([]pool.Key, 0, len(a.of))
	for k := range a.of {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y pool.Key) int { return a.of[x].seen.Compare(a.of[y].seen) })
	for _, k := range keys[:len(keys)/10] {
		delete(a.of, k)
	}
}

// settings are those that hold for v now.
func (a *autoscaler) settings(f lambent.Settings, v *lambent.Version, o pool.Observation, base pool.Target) decide.Settings {
	own := f.Scaling
	s := decide.Settings{Scaling: own.Over(a.defaults).Over(decide.Defaults()), Min: max(base.Provisioned, base.Minimum)}
	if s.Grace == 0 {
		s.Grace = cmp.Or(o.Keep, a.idle)
	}
	if v.App == nil { // takes one request at a time
		s.Mode, s.Target, s.Utilisation = lambent.ScaleConcurrency, 1, 1
		return s
	}
	if s.Target == 0 {
		s.Target = s.Mode.DefaultTarget(v.App.Concurrency)
	}
	return s
}

// decide takes a sample and decides about one version.
func (a *autoscaler) decide(s *scaled, x seen, settings decide.Settings) {
	a.sample(s, x, settings)
	in := decide.Input{Now: x.now, Samples: s.samples, Ready: x.pool.Ready, Waiting: x.pool.Waiting, Settings: settings}
	if x.pool.Ready == 0 {
		in.Waiting = x.running // a call is noted before the pool knows of it
	}
	if s.forecast != nil {
		in.Expected = s.forecast.At(x.now)
	}
	var d decide.Decision
	d, s.state = decide.Decide(in, s.state)
	s.target = pool.Target{Most: settings.Max}
	if s.version.App == nil {
		d.Desired, d.Rule = x.pool.Ready, decide.RuleDemand
	} else {
		s.target.Managed, s.target.Scaled = true, d.Desired
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.note(d)
}

// note remembers a decision. One that is as the one before only counts.
func (s *scaled) note(d decide.Decision) {
	s.seen = d.At
	if n := len(s.made); n > 0 {
		if last := &s.made[n-1]; last.Desired == d.Desired && last.Rule == d.Rule && last.Ready == d.Ready {
			last.Decision = d
			last.Times++
			return
		}
	}
	most := decisionsFunction
	if s.version.App != nil {
		most = decisionsApp
	}
	if len(s.made) >= most {
		s.made = slices.Delete(s.made, 0, len(s.made)-most+1)
	}
	s.made = append(s.made, Made{d, d.At, 1})
}

// shortest is the least time that a sample is taken of: a decision that is made out
// of turn is made by what there was before.
const shortest = 100 * time.Millisecond

// sample ends what was measured since the last one.
func (a *autoscaler) sample(s *scaled, x seen, settings decide.Settings) {
	span := x.now.Sub(s.at)
	if span < shortest {
		return
	}
	since := x.total.Minus(s.last)
	value := since.Load.Seconds() / span.Seconds()
	switch settings.Mode {
	case lambent.ScaleRPS:
		value = float64(since.Began) / span.Seconds()
	case lambent.ScaleCPU, lambent.ScaleMemory:
		value = a.usage(s, x.key, settings.Mode, span)
	}
	s.last, s.at = x.total, x.now
	s.samples = append(s.samples, decide.Sample{At: x.now, Span: span, Value: value, Used: since.Began > 0 || x.running > 0})
	s.samples = decide.Recent(s.samples, x.now.Add(-settings.Stable))
	switch {
	case settings.Forecast != lambent.On || s.version.App == nil:
		s.forecast = nil
		return
	case s.forecast == nil:
		s.forecast = predict.NewForecast(predict.ForecastOptions{})
	}
	s.forecast.Add(x.now, span, value)
}

// usage is the sum over the instances of what each uses, in percent of what it has.
func (a *autoscaler) usage(s *scaled, k pool.Key, mode lambent.ScaleMode, span time.Duration) (sum float64) {
	before := s.cpu
	s.cpu = map[string]time.Duration{}
	for _, u := range a.pool.Usage(k) {
		s.cpu[u.ID] = u.CPU
		if mode == lambent.ScaleMemory {
			sum += 100 * float64(u.MemoryBytes) / float64(int64(max(s.version.MemoryMB, 1))<<20)
		} else if was, known := before[u.ID]; known && s.version.CPUs() > 0 {
			sum += 100 * (u.CPU - was).Seconds() / span.Seconds() / s.version.CPUs()
		}
	}
	return sum
}

// raise adds what the load asks for to what is asked for anyway.
func (a *autoscaler) raise(g goals) {
	for _, s := range a.of {
		if s.target != (pool.Target{}) {
			g.raise(s.version, s.target)
		}
	}
}

// decisions are those that were made about a version, oldest first.
func (a *autoscaler) decisions(k pool.Key) []Made {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.of[k]; s != nil {
		return slices.Clone(s.made)
	}
	return nil
}
