package decide

import (
	"fmt"
	"strconv"
	"time"

	"lambent.dev/lambent"
)

// Sentence says the decision and its reason in one sentence.
func (d *Decision) Sentence() string { return d.change() + ": " + d.reason() + "." }

// change says what becomes of the instances.
func (d *Decision) change() string {
	have := counted(d.Ready, "instance")
	switch {
	case d.Rule == RuleDemand:
		return "keeps " + have
	case d.Desired == d.Ready:
		return "stays at " + have
	case d.Desired == 0:
		return "from " + have + " to none"
	}
	return "from " + strconv.Itoa(d.Ready) + " to " + counted(d.Desired, "instance")
}

func (d *Decision) reason() string {
	s := d.Settings
	switch d.Rule {
	case RulePanic:
		return fmt.Sprintf("a surge: %s over %s, %s per instance, and %s more are wanted than there are; nothing is taken away until %s without one",
			d.measure(d.Panic), s.Panic, d.per(), factor(s.Threshold), s.Stable)
	case RuleForecast:
		return fmt.Sprintf("%s are expected soon (by the days before, times %s), %s per instance; now it is %s over %s",
			d.measure(d.Expected), plain(s.Factor), d.per(), d.measure(d.Stable), s.Stable)
	case RuleUpRate:
		return fmt.Sprintf("%s over %s want more, but one step multiplies by no more than %s", d.measure(max(d.Stable, d.Panic)), s.Panic, plain(s.UpRate))
	case RuleDownRate:
		return fmt.Sprintf("%s over %s want less, but one step divides by no more than %s", d.measure(d.Stable), s.Stable, plain(s.DownRate))
	case RuleInitial:
		return fmt.Sprintf("the first request after none brings %d at once", s.Initial)
	case RuleDelay:
		return fmt.Sprintf("%s over %s want less, but not yet for %s", d.measure(d.Stable), s.Stable, s.DownDelay)
	case RuleGrace:
		return fmt.Sprintf("the last request was %s ago, and one instance is kept for %s", short(d.Idle), s.Grace)
	case RuleZero:
		if d.Idle == 0 {
			return "there was never a request"
		}
		return fmt.Sprintf("no request for %s, the grace is %s", short(d.Idle), s.Grace)
	case RuleMin:
		return fmt.Sprintf("its settings ask for at least %d; the load is %s over %s", s.Min, d.measure(d.Stable), s.Stable)
	case RuleMax:
		return fmt.Sprintf("its settings allow at most %d; the load is %s over %s (%s over %s)", s.Max, d.measure(d.Stable), s.Stable, plain(d.Panic), s.Panic)
	case RuleHold:
		return "nothing was observed yet"
	case RuleDemand:
		least := ""
		if s.Min > 0 {
			least = fmt.Sprintf(", and its settings ask for at least %d", s.Min)
		}
		return fmt.Sprintf("an instance takes one request at a time, so a request that waits starts one (%d wait); %s over %s, idle ones stay for %s%s",
			d.Waiting, d.measure(d.Stable), s.Stable, s.Grace, least)
	}
	return fmt.Sprintf("%s over %s, %s per instance", d.measure(d.Stable), s.Stable, d.per())
}

// measure is an amount of what the mode counts.
func (d *Decision) measure(v float64) string {
	switch d.Settings.Mode {
	case lambent.ScaleRPS:
		return plain(v) + " requests per second"
	case lambent.ScaleCPU:
		return plain(v) + " % of an instance's processor share"
	case lambent.ScaleMemory:
		return plain(v) + " % of an instance's memory"
	}
	return plain(v) + " requests at a time"
}

// per is what an instance is meant to have, and how that came about.
func (d *Decision) per() string {
	s := d.Settings
	if s.Utilisation == 1 {
		return plain(s.Target)
	}
	return plain(d.PerInstance) + " (" + plain(s.Utilisation) + " of " + plain(s.Target) + ")"
}

func counted(n int, noun string) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func factor(f float64) string { return plain(f) + " times" }

// little is what is told of an average that has all but faded, without its digits.
const little = 0.01

// plain writes a number with three digits that mean something.
func plain(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f > 0 && f < little:
		return "less than " + strconv.FormatFloat(little, 'g', 3, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func short(d time.Duration) string { return d.Round(time.Second).String() }
