// Package decide is the autoscaler's decision as a pure function: how many
// instances a version shall have, from what was observed of it, its settings and
// the time, all of which come in as arguments. It owns the arithmetic and its
// explanation in words, and the replay of recorded loads against it; it starts and
// reads nothing. The scale room feeds it and carries out what it says; the command
// line replays with it; below it is the predict room's forecast.
package decide

import (
	"math"
	"time"

	"lambent.dev/lambent"
)

// Settings are a version's: [lambent.Scaling] with nothing left open, and the
// bounds that come from elsewhere.
type Settings struct {
	lambent.Scaling
	Min int // instances that are kept whatever the load
}

// Defaults are the settings of a server that was told nothing. The windows, rates
// and thresholds are those that Knative documents for its autoscaler ("Configuring
// the Autoscaler"), so that what was tuned there holds here, but for the scale-down
// delay, which is none there: without one, a load that comes and goes within the
// windows has instances come and go with it.
func Defaults() lambent.Scaling {
	return lambent.Scaling{
		Mode: lambent.ScaleConcurrency, Utilisation: 0.7,
		Stable: time.Minute, Panic: 6 * time.Second, Threshold: 2,
		UpRate: 1000, DownRate: 2, Initial: 1, DownDelay: time.Minute, Forecast: lambent.Off, Factor: 1,
	}
}

// Sample is what was seen of a version since the sample before.
type Sample struct {
	At   time.Time     // its end
	Span time.Duration // its length
	// Value is the average over Span of the mode's measure, summed over the
	// instances.
	Value float64
	// Used tells that there was a request in it.
	Used bool
}

// Input is all that a decision depends on.
type Input struct {
	Now      time.Time
	Samples  []Sample // oldest first
	Ready    int      // instances that take requests
	Waiting  int      // requests that have no instance
	Expected float64  // what the forecast says of Value soon; 0 is nothing
	Settings Settings
}

// State is what one decision leaves for the next. The zero value is that of a
// version that was never looked at.
type State struct {
	Panicked time.Time // when there was last a surge; zero when there is none
	Most     int       // most that was wanted in this surge
	Used     time.Time // when there was last a request
	Wanted   []Want    // not yet older than the scale-down delay, falling
}

// Want is what a decision would have had without the delay.
type Want struct {
	At time.Time
	N  int
}

// Rule is which part of the arithmetic had the last word.
type Rule string

// The rules.
const (
	RuleStable   Rule = "stable"   // the stable window
	RulePanic    Rule = "panic"    // the panic window, in a surge
	RuleForecast Rule = "forecast" // what is expected
	RuleUpRate   Rule = "up-rate"
	RuleDownRate Rule = "down-rate"
	RuleInitial  Rule = "initial"
	RuleDelay    Rule = "down-delay"
	RuleGrace    Rule = "grace"  // one is kept, because a request was there lately
	RuleZero     Rule = "zero"   // none has been
	RuleMin      Rule = "min"    // of the settings
	RuleMax      Rule = "max"    // of the settings
	RuleHold     Rule = "hold"   // nothing was observed yet
	RuleDemand   Rule = "demand" // one request per instance: the calls themselves start instances
)

// Decision is how many instances there shall be, and why.
type Decision struct {
	At      time.Time
	Desired int
	Rule    Rule

	// What it was made from.
	Ready, Waiting int
	Stable, Panic  float64 // averages of the measure
	Expected       float64
	PerInstance    float64 // of the measure that an instance is meant to have
	Panicking      bool
	Idle           time.Duration // since the last request
	Settings       Settings
}

// Decide decides. It changes nothing that it is given.
func Decide(in Input, old State) (Decision, State) {
	s := in.Settings
	next := old
	d := Decision{
		At: in.Now, Ready: in.Ready, Waiting: in.Waiting, Expected: in.Expected, Settings: s,
		PerInstance: s.Target * s.Utilisation,
	}
	recent := since(in.Samples, in.Now.Add(-s.Stable))
	for _, x := range recent {
		if x.Used && x.At.After(next.Used) {
			next.Used = x.At
		}
	}
	if in.Waiting > 0 || next.Used.IsZero() && in.Ready > 0 {
		next.Used = in.Now // what nothing is known of counts as used just now
	}
	if !next.Used.IsZero() {
		d.Idle = max(in.Now.Sub(next.Used), 0)
	}
	d.Stable, d.Panic = average(recent), average(since(recent, in.Now.Add(-s.Panic)))

	d.Desired = d.wanted(in, &next)
	d.delay(min(ceil(d.Panic/d.PerInstance), in.Ready), &next)
	d.bounds(next)
	return d, next
}

// wanted is what the load asks for at this moment, within the rates.
func (d *Decision) wanted(in Input, next *State) int {
	s := d.Settings
	if len(in.Samples) == 0 && in.Waiting == 0 {
		d.Rule = RuleHold
		return in.Ready
	}
	ready := max(1, in.Ready)
	// At least one more and one less is always possible, however low the rates.
	most := max(ceil(float64(ready)*s.UpRate), ready+1)
	least := min(int(float64(ready)/s.DownRate), ready-1)

	stable, panicked := ceil(d.Stable/d.PerInstance), ceil(d.Panic/d.PerInstance)
	n := stable
	d.Rule = RuleStable
	if over := float64(panicked) >= s.Threshold*float64(ready); over {
		next.Panicked = in.Now
	} else if in.Now.Sub(next.Panicked) > s.Stable {
		next.Panicked, next.Most = time.Time{}, 0
	}
	if d.Panicking = !next.Panicked.IsZero(); d.Panicking {
		if m := max(panicked, next.Most); m > n {
			n, d.Rule = m, RulePanic
		}
	}
	if e := ceil(d.Expected * s.Factor / d.PerInstance); e > n {
		n, d.Rule = e, RuleForecast
	}
	switch {
	case n > most:
		n, d.Rule = most, RuleUpRate
	case n < least:
		n, d.Rule = least, RuleDownRate
	}
	if d.Panicking { // in a surge nothing is taken away
		next.Most = max(next.Most, n)
	}
	if in.Ready == 0 && s.Initial > n && (n > 0 || in.Waiting > 0) {
		n, d.Rule = s.Initial, RuleInitial
	}
	return n
}

// delay keeps the largest number that was wanted within the scale-down delay, and
// of the instances that there are as many as the panic window has needed: one that a
// wave needs at its height is not taken away at its ebb. It is for fewer instances;
// when there are none is the grace's alone.
func (d *Decision) delay(needed int, next *State) {
	if d.Settings.DownDelay <= 0 {
		next.Wanted = nil
		return
	}
	n := max(d.Desired, needed)
	// What is smaller than a later one is never the largest again.
	keep := make([]Want, 0, len(next.Wanted)+1)
	for _, w := range next.Wanted {
		if d.At.Sub(w.At) < d.Settings.DownDelay && w.N > n {
			keep = append(keep, w)
		}
	}
	next.Wanted = append(keep, Want{d.At, n})
	if n := next.Wanted[0].N; n > d.Desired {
		d.Desired, d.Rule = n, RuleDelay
	}
}

// bounds applies what holds whatever the load: none after the grace, at least one
// before, and the bounds of the settings.
func (d *Decision) bounds(next State) {
	s := d.Settings
	foreseen := ceil(d.Expected*s.Factor/d.PerInstance) > 0
	switch {
	case foreseen:
	case next.Used.IsZero() || d.Idle >= s.Grace:
		d.Desired, d.Rule = 0, RuleZero
	case d.Desired < 1:
		d.Desired, d.Rule = 1, RuleGrace
	}
	if s.Max > 0 && d.Desired > s.Max {
		d.Desired, d.Rule = s.Max, RuleMax
	}
	if d.Desired < s.Min { // who asks for instances by name gets them, even beyond Max
		d.Desired, d.Rule = s.Min, RuleMin
	}
}

// since is the samples that ended after a moment.
func since(samples []Sample, from time.Time) []Sample {
	for i, s := range samples {
		if s.At.After(from) {
			return samples[i:]
		}
	}
	return nil
}

// average weighs each sample by its length: what was not looked at does not count
// as nothing.
func average(samples []Sample) float64 {
	var sum, length float64
	for _, s := range samples {
		sum += s.Value * s.Span.Seconds()
		length += s.Span.Seconds()
	}
	if length <= 0 {
		return 0
	}
	return sum / length
}

// ceil is the smallest whole number that is not below f, but for what arithmetic
// leaves behind; it never exceeds what may be asked for.
func ceil(f float64) int {
	const rounding = 1e-9
	if !(f > rounding) { // so that NaN is nothing
		return 0
	}
	return int(math.Min(math.Ceil(f-rounding), lambent.MaxScale))
}
