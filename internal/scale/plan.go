package scale

import (
	"iter"
	"maps"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/cron"
	"lambent.dev/lambent/internal/pool"
)

// goals are the targets of versions.
type goals map[pool.Key]goal

type goal struct {
	version *lambent.Version
	target  pool.Target
}

// raise asks for at least t of v.
func (g goals) raise(v *lambent.Version, t pool.Target) {
	k := pool.KeyOf(v)
	old := g[k].target
	g[k] = goal{v, pool.Target{
		Provisioned: max(old.Provisioned, t.Provisioned),
		Minimum:     max(old.Minimum, t.Minimum),
		Likely:      max(old.Likely, t.Likely),
		Scaled:      max(old.Scaled, t.Scaled),
		Managed:     old.Managed || t.Managed,
		Most:        max(old.Most, t.Most),
	}}
}

// plan works out all targets at this moment, and which provisioned concurrency is
// in them.
func (s *Service) plan(now time.Time) (goals, map[provisionKey]time.Time) {
	next := goals{}
	begun := map[provisionKey]time.Time{}
	for kept := range s.o.Catalog.Kept() {
		for _, p := range kept.Provisioned {
			if v := s.version(p.Namespace, p.Function, p.Qualifier); v != nil {
				begun[keyOf(p)] = p.LastModified
				next.raise(v, pool.Target{Provisioned: countAt(p, now)})
			}
		}
		f := kept.Function
		for qualifier, n := range f.Settings.MinInstances {
			if v := s.version(f.Namespace, f.Name, qualifier); v != nil {
				next.raise(v, pool.Target{Minimum: n})
			}
		}
	}
	if !s.o.Guess.Alias {
		return next, begun
	}
	for a := range s.o.Catalog.Weighted() {
		for number := range s.siblings(a, now) {
			e, err := s.o.Catalog.Get(a.Namespace, a.Function, number)
			if err == nil && ready(e.Version) && !e.Function.Settings.NoPrediction {
				next.raise(e.Version, pool.Target{Likely: 1})
			}
		}
	}
	return next, begun
}

// version finds one that can be started; nil if there is none yet.
func (s *Service) version(namespace, function, qualifier string) *lambent.Version {
	e, err := s.o.Catalog.Get(namespace, function, qualifier)
	if err != nil || !ready(e.Version) {
		return nil
	}
	return e.Version
}

func ready(v *lambent.Version) bool { return v.State == lambent.StateActive }

// siblings yields the versions of a weighted alias that are kept warm because
// another one of it is in use.
func (s *Service) siblings(a *lambent.Alias, now time.Time) iter.Seq[string] {
	return func(yield func(string) bool) {
		shares := sharesOf(a)
		for number := range shares {
			for other := range shares {
				last := s.o.Pool.InUse(pool.Key{Namespace: a.Namespace, Function: a.Function, Number: other}, now)
				if other != number && !last.IsZero() && now.Sub(last) < s.o.Idle {
					if !yield(number) {
						return
					}
					break
				}
			}
		}
	}
}

// sharesOf is what of an alias's calls each version gets, if any.
func sharesOf(a *lambent.Alias) map[string]float64 {
	shares := map[string]float64{}
	rest := 1.0
	for number, share := range a.Weights {
		shares[number] = share
		rest -= share
	}
	shares[a.Version] = rest
	maps.DeleteFunc(shares, func(_ string, share float64) bool { return share <= 1e-9 })
	return shares
}

// countAt is how many instances p asks for at this moment. A window whose start
// cannot be read is never open; the doors refuse to store one.
func countAt(p *lambent.Provisioned, now time.Time) int {
	count, open := 0, false
	for _, w := range p.Windows {
		start, err := cron.Parse(w.Start)
		if err != nil {
			continue
		}
		// A window is open if it started after the last moment at which it would be
		// over by now.
		if at := start.Next(now.Add(-w.Duration), p.LastModified); !at.IsZero() && !at.After(now) {
			count, open = max(count, w.Count), true
		}
	}
	if open {
		return count
	}
	return p.Requested
}

func keyOf(p *lambent.Provisioned) provisionKey {
	return provisionKey{p.Namespace, p.Function, p.Qualifier}
}

var (
	_ Catalog = (*catalog.Catalog)(nil)
	_ Pool    = (*pool.Pool)(nil)
)
