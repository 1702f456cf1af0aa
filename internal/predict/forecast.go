package predict

import "time"

// ForecastOptions are what a forecast is made from. Zero members take the
// defaults.
type ForecastOptions struct {
	Period time.Duration // after which the pattern comes again; 24 h
	Bin    time.Duration // of the pattern; 1 min
	Window time.Duration // of history that says how today compares; 30 min
	Ahead  time.Duration // how far to look; 2 min
}

// Bounds of how far today may differ from the days before. A history of nothing
// but noise must not multiply.
const (
	leastLevel = 0.25
	mostLevel  = 4
)

// Forecast expects load by what there was at the same time in the periods before,
// times how the last while compares with that. It says nothing within the first
// period. It is not safe for concurrent use.
type Forecast struct {
	o       ForecastOptions
	origin  time.Time
	pattern []float32 // average by bin of the period, of all periods; newer ones weigh more
	known   []bool
	// current is the bin that is being filled.
	current   int // since origin
	sum, span float64
	recent    []float32 // the last bins, oldest first
}

// NewForecast makes one that knows nothing.
func NewForecast(o ForecastOptions) *Forecast {
	if o.Period <= 0 {
		o.Period = 24 * time.Hour
	}
	if o.Bin <= 0 {
		o.Bin = time.Minute
	}
	if o.Window <= 0 {
		o.Window = 30 * time.Minute
	}
	if o.Ahead <= 0 {
		o.Ahead = 2 * time.Minute
	}
	n := max(int(o.Period/o.Bin), 1)
	return &Forecast{o: o, pattern: make([]float32, n), known: make([]bool, n)}
}

// Add learns the average load of a span that ends at a moment. Spans come in order.
func (f *Forecast) Add(at time.Time, span time.Duration, value float64) {
	if f.origin.IsZero() {
		f.origin = at.Add(-span).Truncate(f.o.Bin)
	}
	bin := int(at.Add(-span/2).Sub(f.origin) / f.o.Bin)
	for f.current < bin {
		f.turn()
	}
	f.sum += value * span.Seconds()
	f.span += span.Seconds()
}

// turn ends the current bin. One in which nothing was looked at had no load: who
// is looked at has one.
func (f *Forecast) turn() {
	value := float32(0)
	if f.span > 0 {
		value = float32(f.sum / f.span)
	}
	i := f.current % len(f.pattern)
	if f.known[i] {
		f.pattern[i] = (f.pattern[i] + value) / 2
	} else {
		f.pattern[i], f.known[i] = value, true
	}
	f.recent = append(f.recent, value)
	if n := len(f.recent) - max(int(f.o.Window/f.o.Bin), 1); n > 0 {
		f.recent = append(f.recent[:0], f.recent[n:]...)
	}
	f.current++
	f.sum, f.span = 0, 0
}

// At is the most load that is expected between now and a while ahead; 0 when
// nothing is.
func (f *Forecast) At(now time.Time) float64 {
	if f.current < len(f.pattern) {
		return 0
	}
	first := int(now.Sub(f.origin) / f.o.Bin)
	most := float32(0)
	for b := first; b <= first+int(f.o.Ahead/f.o.Bin); b++ {
		if i := b % len(f.pattern); f.known[i] {
			most = max(most, f.pattern[i])
		}
	}
	return float64(most) * f.level()
}

// level is how the last while compares with the same time before.
func (f *Forecast) level() float64 {
	var now, before float64
	for i, v := range f.recent {
		b := f.current - len(f.recent) + i
		now += float64(v)
		before += float64(f.pattern[b%len(f.pattern)])
	}
	if before <= 0 || now <= 0 {
		return 1
	}
	return min(max(now/before, leastLevel), mostLevel)
}
