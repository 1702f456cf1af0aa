package trigger

import (
	"hash/fnv"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/cron"
)

// plan says when a schedule is due. It is a value, and keeps no time.
type plan struct {
	when   cron.Schedule
	anchor time.Time     // what a rate counts from
	first  time.Time     // times before it are not meant
	end    time.Time     // and from here on; zero is no end
	offset time.Duration // into the flexible window, the same for every time
}

// planOf reads a schedule's expression in its zone.
func planOf(s *lambent.Schedule) (plan, error) {
	when, err := cron.Parse(s.Expression)
	if err != nil {
		return plan{}, err
	}
	zone, err := zoneOf(s.Timezone)
	if err != nil {
		return plan{}, err
	}
	p := plan{when: when.In(zone)}
	if !when.Once() {
		p.end = s.End
	}
	if s.Flexible > 0 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(keyOf(s).record())) // never fails
		p.offset = (time.Duration(h.Sum64()>>1) % s.Flexible).Truncate(time.Second)
	}
	p.since(s)
	return p, nil
}

// since has the times begin when s says.
func (p *plan) since(s *lambent.Schedule) {
	p.first, p.anchor = s.Since, s.Since
	if !s.Start.IsZero() && !p.when.Once() {
		p.first, p.anchor = later(s.Since, s.Start), s.Start
	}
}

// zones are the time zones that schedules have, by name, so that each is in memory
// once. There are some hundred.
var zones sync.Map

// zoneOf finds a time zone of the IANA database.
func zoneOf(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" || len(name) > maxTimezone {
		return nil, lambent.Errorf(lambent.CodeInvalid, "Invalid Schedule Expression Timezone %.60s.", name).WithReason("Timezone")
	}
	zones.Store(name, zone)
	return zone, nil
}

// after is the last moment that does not count when the schedule has called at
// fired.
func (p *plan) after(fired time.Time) time.Time { return later(fired, p.first.Add(-1)) }

// next is the first time after that at which it has called; zero is none.
func (p *plan) next(fired time.Time) time.Time {
	at := p.when.Next(p.after(fired), p.anchor)
	if !p.end.IsZero() && !at.Before(p.end) {
		return time.Time{}
	}
	return at
}

// due is the latest time that has come by now and is not yet called; zero is none.
// Earlier ones that were missed are left out.
func (p *plan) due(fired, now time.Time) time.Time {
	until := now.Add(-p.offset)
	if !p.end.IsZero() && !until.Before(p.end) {
		until = p.end.Add(-1)
	}
	return p.when.Last(p.after(fired), until, p.anchor)
}
