package scale

import (
	"cmp"
	"iter"
	"slices"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/telemetry"
)

// Status is what a version does, and what was decided about it last.
type Status struct {
	Key     pool.Key
	Pool    pool.Observation
	Running int    // calls, waiting ones included
	Memory  int64  // bytes that its instances hold, but for frozen ones
	Total   Totals // since it was called again after a while without calls
	Last    Made   // the zero value if nothing was decided yet
}

// Status tells of every version of a namespace that is called or has instances, by
// name.
func (s *Service) Status(namespace string) []Status {
	known := map[pool.Key]struct{}{}
	for k := range s.o.Loads.all {
		known[k] = struct{}{}
	}
	for k := range s.o.Pool.Observed() {
		known[k] = struct{}{}
	}
	var all []Status
	for k := range known {
		if k.Namespace == namespace {
			all = append(all, s.StatusOf(k))
		}
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Key.Function, b.Key.Function), cmp.Compare(len(a.Key.Number), len(b.Key.Number)), cmp.Compare(a.Key.Number, b.Key.Number))
	})
	return all
}

// StatusOf tells of one version, and of its last starts where nothing else is left.
func (s *Service) StatusOf(k pool.Key) Status {
	x := Status{Key: k}
	if load, ok := s.o.Loads.byKey.Load(k); ok {
		x.Total, x.Running, _ = load.(*Load).at(time.Now())
	}
	x.Pool, _ = s.o.Pool.Observe(k)
	for _, used := range s.o.Pool.Usage(k) {
		x.Memory += used.MemoryBytes
	}
	if made := s.auto.decisions(k); len(made) > 0 {
		x.Last = made[len(made)-1]
	}
	return x
}

// Decisions are the last ones about a version, oldest first.
func (s *Service) Decisions(k pool.Key) []Made { return s.auto.decisions(k) }

// Record begins to record the calls of a version; false if too many are recorded.
func (s *Service) Record(k pool.Key) bool { return s.o.Loads.Record(k) }

// Recorded ends that and hands out what was recorded; false if nothing was.
func (s *Service) Recorded(k pool.Key) (Recording, bool) { return s.o.Loads.Recorded(k) }

// Figures begins to count the calls of a version. What it returns tells what there
// was since, and may be called from any goroutine.
func (l *Loads) Figures(namespace, function, number string) func() lambent.RolloutFigures {
	k := pool.Key{Namespace: namespace, Function: function, Number: number}
	var mu sync.Mutex // guards base
	base, _ := l.Totals(k)
	return func() lambent.RolloutFigures {
		total, _ := l.Totals(k)
		mu.Lock()
		defer mu.Unlock()
		if total.Began < base.Began { // it was not called for so long that it was forgotten
			base = Totals{}
		}
		since := total.Minus(base)
		return lambent.RolloutFigures{
			Calls: since.Ended, Failed: since.Failed,
			P50: since.Took.Quantile(.5), P95: since.Took.Quantile(.95), P99: since.Took.Quantile(.99),
		}
	}
}

// Versions is [Service.Status] of all namespaces as metrics tell it, of what is
// called.
func (s *Service) Versions() iter.Seq[telemetry.VersionLoad] {
	return func(yield func(telemetry.VersionLoad) bool) {
		now := time.Now()
		for k, load := range s.o.Loads.all {
			total, running, _ := load.at(now)
			o, _ := s.o.Pool.Observe(k)
			v := telemetry.VersionLoad{
				Namespace: k.Namespace, Function: k.Function, Version: k.Number,
				Calls: total.Ended, Failed: total.Failed, Refused: total.Refused, Running: running,
				P50: total.Took.Quantile(.5), P99: total.Took.Quantile(.99), Ready: o.Ready, Wanted: o.Target.Scaled,
			}
			if !yield(v) {
				return
			}
		}
	}
}
