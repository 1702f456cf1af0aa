// Package cron reads schedules: five fields of cron, or AWS's six, cron(...) and
// rate(...). It owns their grammar; it refuses to keep time, which its callers,
// such as the scale room, bring along. Everything is in UTC.
package cron

import (
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"lambent.dev/lambent"
)

// Schedule is a sequence of moments.
type Schedule struct {
	fields cron.Schedule // nil for a rate
	years  []bool        // from firstYear on; nil is all
	rate   time.Duration
}

// Bounds of AWS's grammar (Amazon EventBridge user guide, "Cron expressions
// reference").
const (
	firstYear = 1970
	lastYear  = 2199
	maxLength = 256
)

// Parse reads "m h dom mon dow", "m h dom mon dow year" as AWS has it (days of
// the week are 1 to 7 from Sunday, and one of the two day fields is ?), the same
// in cron(...), or rate(5 minutes). AWS's L, W and # are not supported. The error
// is CodeInvalid and says what is wrong.
func Parse(expression string) (Schedule, error) {
	text := strings.TrimSpace(expression)
	if len(text) > maxLength {
		return Schedule{}, invalid("a schedule has at most %d characters", maxLength)
	}
	if inner, ok := call(text, "rate"); ok {
		return parseRate(inner)
	}
	inner, aws := call(text, "cron")
	if !aws {
		inner = text
	}
	switch fields := strings.Fields(inner); {
	case len(fields) == 6:
		return parseAWS(fields)
	case len(fields) == 5 && !aws:
		return parseFields(fields)
	case aws:
		return Schedule{}, invalid("cron(...) has six fields, %q has %d", expression, len(fields))
	default:
		return Schedule{}, invalid("%q is no schedule: want five fields of cron, cron(...) or rate(...)", expression)
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
	if err != nil || n < 1 || n > 1_000_000 {
		return Schedule{}, invalid("rate(%s): want a whole number and minutes, hours or days", inner)
	}
	one, plural := strings.CutSuffix(strings.TrimSpace(unit), "s")
	each, ok := units[one]
	if !ok || plural == (n == 1) {
		return Schedule{}, invalid("rate(%s): the unit is minute, hour or day for 1, else minutes, hours or days", inner)
	}
	return Schedule{rate: time.Duration(n) * each}, nil
}

// parser reads the five common fields. It knows a time zone prefix too, which
// allowed keeps from it.
var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

func parseFields(fields []string) (Schedule, error) {
	for _, f := range fields {
		if i := strings.IndexFunc(f, notAllowed); i >= 0 {
			return Schedule{}, invalid("%q has %q, which is not supported", strings.Join(fields, " "), f[i:i+1])
		}
	}
	s, err := parser.Parse(strings.Join(fields, " "))
	if err != nil {
		return Schedule{}, invalid("%q: %w", strings.Join(fields, " "), err)
	}
	return Schedule{fields: s}, nil
}

func notAllowed(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	digit := r >= '0' && r <= '9'
	return !letter && !digit && !strings.ContainsRune("*?,-/", r)
}

func parseAWS(fields []string) (Schedule, error) {
	if (fields[2] == "?") == (fields[4] == "?") {
		return Schedule{}, invalid("%q: exactly one of day-of-month and day-of-week is ?", strings.Join(fields, " "))
	}
	days, err := fromSunday(fields[4])
	if err != nil {
		return Schedule{}, err
	}
	s, err := parseFields([]string{fields[0], fields[1], fields[2], fields[3], days})
	if err != nil {
		return Schedule{}, err
	}
	s.years, err = parseYears(fields[5])
	return s, err
}

// fromSunday turns AWS's days of the week, 1 to 7 from Sunday, into cron's, 0 to
// 6. Names are the same in both.
func fromSunday(field string) (string, error) {
	items := strings.Split(field, ",")
	for i, item := range items {
		days, step, stepped := strings.Cut(item, "/")
		low, high, ranged := strings.Cut(days, "-")
		for _, end := range []*string{&low, &high} {
			n, err := strconv.Atoi(*end)
			if err != nil {
				continue // a name, * or ?
			}
			if n < 1 || n > 7 {
				return "", invalid("day of the week %q is not from 1 to 7", *end)
			}
			*end = strconv.Itoa(n - 1)
		}
		items[i] = low
		if ranged {
			items[i] += "-" + high
		}
		if stepped {
			items[i] += "/" + step
		}
	}
	return strings.Join(items, ","), nil
}

// parseYears reads *, or years, ranges and steps, separated by commas.
func parseYears(field string) ([]bool, error) {
	if field == "*" {
		return nil, nil
	}
	years := make([]bool, lastYear-firstYear+1)
	for item := range strings.SplitSeq(field, ",") {
		span, every, stepped := strings.Cut(item, "/")
		low, high, ranged := strings.Cut(span, "-")
		if low == "*" {
			low = strconv.Itoa(firstYear)
		}
		if !ranged {
			high = low
			if stepped {
				high = strconv.Itoa(lastYear)
			}
		}
		if !stepped {
			every = "1"
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		step, err3 := strconv.Atoi(every)
		if err1 != nil || err2 != nil || err3 != nil || from < firstYear || to > lastYear || from > to || step < 1 {
			return nil, invalid("year %q is not from %d to %d", item, firstYear, lastYear)
		}
		for y := from; y <= to; y += step {
			years[y-firstYear] = true
		}
	}
	return years, nil
}

// Next is the first moment after t; a rate counts from anchor. It is the zero
// time when there is none.
func (s Schedule) Next(t, anchor time.Time) time.Time {
	if s.rate > 0 {
		if t.Before(anchor) {
			return anchor
		}
		return anchor.Add((t.Sub(anchor)/s.rate + 1) * s.rate)
	}
	for t = t.UTC(); ; {
		t = s.fields.Next(t)
		if t.IsZero() || t.Year() > lastYear {
			return time.Time{}
		}
		if s.years == nil || t.Year() >= firstYear && s.years[t.Year()-firstYear] {
			return t
		}
		// The last second of the year: nothing before it can be meant.
		t = time.Date(t.Year(), time.December, 31, 23, 59, 59, 0, time.UTC)
	}
}
