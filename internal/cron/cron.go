// Package cron reads schedules: five fields of cron, or AWS's six, cron(...),
// rate(...) and at(...), and tells their moments in a time zone. It owns their
// grammar; it refuses to keep time, which its callers, such as the scale and the
// trigger rooms, bring along.
package cron

import (
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Schedule is a sequence of moments, in UTC until [Schedule.In] says otherwise.
type Schedule struct {
	fields *fields // nil for a rate and for one moment
	rate   time.Duration
	at     time.Time // the one moment, as a clock on the wall shows it
	zone   *time.Location
}

// maxLength bounds an expression, in bytes, as the Scheduler API does.
const maxLength = 256

// Parse reads "m h dom mon dow", "m h dom mon dow year" as AWS has it (days of
// the week are 1 to 7 from Sunday, one of the two day fields is ?, and the other may
// have L, W or #; Amazon EventBridge user guide, "Cron expressions reference"), the
// same in cron(...), rate(5 minutes), or at(2026-11-23T05:00:00). The error is
// CodeInvalid and says what is wrong.
func Parse(expression string) (Schedule, error) {
	text := strings.TrimSpace(expression)
	if len(text) > maxLength {
		return Schedule{}, invalid("a schedule has at most %d characters", maxLength)
	}
	if inner, ok := call(text, "rate"); ok {
		return parseRate(inner)
	}
	if inner, ok := call(text, "at"); ok {
		return parseAt(inner)
	}
	inner, aws := call(text, "cron")
	if !aws {
		inner = text
	}
	switch parts := strings.Fields(inner); {
	case len(parts) == 6:
		return parseAWS(parts)
	case len(parts) == 5 && !aws:
		return parsePlain(parts)
	case aws:
		return Schedule{}, invalid("cron(...) has six fields, %q has %d", expression, len(parts))
	default:
		return Schedule{}, invalid("%q is no schedule: want five fields of cron, cron(...), rate(...) or at(...)", expression)
	}
}

func invalid(format string, args ...any) *lambent.Error {
	return lambent.Errorf(lambent.CodeInvalid, format, args...).WithReason("Schedule")
}

// call gives what stands in the brackets of name(...).
func call(text, name string) (string, bool) {
	rest, ok := strings.CutPrefix(text, name+"(")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ")")
}

// units are those of rate, of which one is singular.
var units = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

func parseRate(inner string) (Schedule, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(inner), " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 100_000 {
		return Schedule{}, invalid("rate(%s): want a whole number and minutes, hours or days", inner)
	}
	one, plural := strings.CutSuffix(strings.TrimSpace(unit), "s")
	each, ok := units[one]
	if !ok || plural == (n == 1) {
		return Schedule{}, invalid("rate(%s): the unit is minute, hour or day for 1, else minutes, hours or days", inner)
	}
	return Schedule{rate: time.Duration(n) * each}, nil
}

func parseAt(inner string) (Schedule, error) {
	at, err := time.Parse("2006-01-02T15:04:05", strings.TrimSpace(inner))
	if err != nil || strings.Contains(inner, ".") { // Parse takes fractions that the layout has not
		return Schedule{}, invalid("at(%s): want a time such as at(2026-11-23T05:00:00)", inner)
	}
	return Schedule{at: at}, nil
}

// In is the schedule with its fields read in a time zone. A rate has none.
func (s Schedule) In(zone *time.Location) Schedule {
	s.zone = zone
	return s
}

// Once tells whether there is one moment only.
func (s Schedule) Once() bool { return !s.at.IsZero() }

// Next is the first moment after t; a rate counts from anchor. It is the zero
// time when there is none. A time of day that a change of the clocks leaves out is
// left out, and one that comes twice counts the first time only ("Daylight savings
// time", EventBridge Scheduler user guide).
func (s Schedule) Next(t, anchor time.Time) time.Time {
	zone := s.zone
	if zone == nil {
		zone = time.UTC
	}
	switch {
	case s.rate > 0:
		if t.Before(anchor) {
			return anchor
		}
		return anchor.Add((t.Sub(anchor)/s.rate + 1) * s.rate)
	case s.Once():
		if at, _ := onWall(s.at, zone); at.After(t) {
			return at
		}
		return time.Time{}
	case s.fields == nil:
		return time.Time{}
	}
	local := t.In(zone)
	wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)
	for {
		wall = s.fields.next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if at, exists := onWall(wall, zone); exists && at.After(t) {
			return at
		}
	}
}

// Last is the latest moment that is after one time and not after another; zero when
// there is none. A rate counts from anchor.
func (s Schedule) Last(after, until, anchor time.Time) time.Time {
	// The nearest of the windows that double in length and hold a moment holds few.
	var last time.Time
	for back := time.Minute; last.IsZero(); back *= 2 {
		from := until.Add(-back)
		if back > 1<<61 || !from.After(after) {
			from = after
		}
		for at := s.Next(from, anchor); !at.IsZero() && !at.After(until); at = s.Next(at, anchor) {
			last = at
		}
		if !from.After(after) {
			break
		}
	}
	return last
}

// onWall is the moment at which the clocks of a zone first show what wall says, and
// whether they do at all; where they skip it, the moment is one close to it.
func onWall(wall time.Time, zone *time.Location) (at time.Time, exists bool) {
	at = time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	if at.Hour() != wall.Hour() || at.Minute() != wall.Minute() {
		return at, false
	}
	begin, _ := at.ZoneBounds()
	if begin.IsZero() {
		return at, true
	}
	_, now := at.Zone()
	_, before := begin.Add(-1).Zone()
	if first := at.Add(time.Duration(now-before) * time.Second); before > now && first.Before(begin) {
		return first, true
	}
	return at, true
}
