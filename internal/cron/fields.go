package cron

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Bounds of AWS's years.
const (
	firstYear = 1970
	lastYear  = 2199
)

// set has a bit for each value of a field.
type set uint64

func (s set) has(n int) bool { return s>>n&1 == 1 }

// fields are those of cron, read.
type fields struct {
	minutes, hours, months set
	dom                    monthDays
	dow                    weekDays
	years                  []bool // from firstYear on; nil is all
}

// monthDays are the days that a day-of-month field means.
type monthDays struct {
	any     bool // * or ?
	days    set
	last    int  // the last day less this; -1 is not meant
	weekday int  // the weekday nearest to this day; 0 is not meant
	lastOne bool // the last weekday of the month
}

// weekDays are the days that a day-of-week field means, from Sunday, 0.
type weekDays struct {
	any  bool // * or ?
	days set
	last set // the last such day of the month
	nth  int // with one day: which one of the month; 0 is all
}

// field is how the values of a field are written.
type field struct {
	what      string
	low, high int
	names     string // three letters each, of the values from low on
	base      int    // what the lowest value is in a set
}

var (
	minuteField = field{what: "minute", high: 59}
	hourField   = field{what: "hour", high: 23}
	dayField    = field{what: "day of the month", low: 1, high: 31, base: 1}
	monthField  = field{what: "month", low: 1, high: 12, names: "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", base: 1}
	plainWeek   = field{what: "day of the week", high: 6, names: "SUNMONTUEWEDTHUFRISAT"}
	awsWeek     = field{what: "day of the week", low: 1, high: 7, names: "SUNMONTUEWEDTHUFRISAT"}
)

// value reads a number or a name.
func (f field) value(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if i := strings.Index(f.names, strings.ToUpper(text)); err != nil && len(text) == 3 && i >= 0 && i%3 == 0 {
		n, err = f.low+i/3, nil
	}
	if err != nil || n < f.low || n > f.high || text[0] == '+' {
		return 0, invalid("%s %q is not from %d to %d", f.what, text, f.low, f.high)
	}
	return n - f.low + f.base, nil
}

// span reads a value, a range or *, each with a step or without, and gives the ends
// and the step.
func (f field) span(text string) (low, high, step int, err error) {
	span, every, stepped := strings.Cut(text, "/")
	first, last, ranged := strings.Cut(span, "-")
	step = 1
	if stepped {
		if step, err = strconv.Atoi(every); err != nil || step < 1 || step > f.high || every[0] == '+' {
			return 0, 0, 0, invalid("%s: the step of %q is not from 1 to %d", f.what, text, f.high)
		}
	}
	most := f.high - f.low + f.base
	if span == "*" {
		return f.base, most, step, nil
	}
	if low, err = f.value(first); err != nil {
		return 0, 0, 0, err
	}
	high = low
	switch {
	case ranged:
		if high, err = f.value(last); err != nil {
			return 0, 0, 0, err
		}
	case stepped:
		high = most
	}
	if high < low {
		return 0, 0, 0, invalid("%s: %q goes backwards", f.what, text)
	}
	return low, high, step, nil
}

// set reads spans, separated by commas.
func (f field) set(text string) (s set, err error) {
	for item := range strings.SplitSeq(text, ",") {
		low, high, step, err := f.span(item)
		if err != nil {
			return 0, err
		}
		for n := low; n <= high; n += step {
			s |= 1 << n
		}
	}
	return s, nil
}

func anyDay(text string) bool { return text == "*" || text == "?" }

func parsePlain(parts []string) (Schedule, error) {
	f, err := parseTimes(parts)
	if err != nil {
		return Schedule{}, err
	}
	if f.dom.any = anyDay(parts[2]); !f.dom.any {
		if f.dom.days, err = dayField.set(parts[2]); err != nil {
			return Schedule{}, err
		}
	}
	f.dom.last = -1
	if f.dow.any = anyDay(parts[4]); !f.dow.any {
		if f.dow.days, err = plainWeek.set(parts[4]); err != nil {
			return Schedule{}, err
		}
	}
	return Schedule{fields: f}, nil
}

// parseTimes reads the fields that both forms write alike.
func parseTimes(parts []string) (*fields, error) {
	f := &fields{}
	for _, p := range []struct {
		at   int
		kind field
		into *set
	}{{0, minuteField, &f.minutes}, {1, hourField, &f.hours}, {3, monthField, &f.months}} {
		var err error
		if *p.into, err = p.kind.set(parts[p.at]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func parseAWS(parts []string) (Schedule, error) {
	if (parts[2] == "?") == (parts[4] == "?") {
		return Schedule{}, invalid("%q: exactly one of day-of-month and day-of-week is ?", strings.Join(parts, " "))
	}
	f, err := parseTimes(parts)
	if err != nil {
		return Schedule{}, err
	}
	if f.dom, err = parseMonthDays(parts[2]); err != nil {
		return Schedule{}, err
	}
	if f.dow, err = parseWeekDays(parts[4]); err != nil {
		return Schedule{}, err
	}
	f.years, err = parseYears(parts[5])
	return Schedule{fields: f}, err
}

// parseMonthDays reads days, or L, L-3, 15W or LW.
func parseMonthDays(text string) (d monthDays, err error) {
	d.last = -1
	switch {
	case anyDay(text):
		d.any = true
	case text == "L":
		d.last = 0
	case text == "LW":
		d.lastOne = true
	case strings.HasPrefix(text, "L-"):
		if d.last, err = dayField.value(text[2:]); err == nil && d.last > 30 {
			err = invalid("%q is before every month", text)
		}
	case strings.HasSuffix(text, "W"):
		d.weekday, err = dayField.value(text[:len(text)-1])
	default:
		d.days, err = dayField.set(text)
	}
	return d, err
}

// parseWeekDays reads days from 1, Sunday, or 5L, L, 3#2.
func parseWeekDays(text string) (d weekDays, err error) {
	day, nth, numbered := strings.Cut(text, "#")
	var one int
	switch {
	case anyDay(text):
		d.any = true
	case text == "L": // the last day of the week
		d.days = 1 << time.Saturday
	case strings.HasSuffix(text, "L"):
		one, err = awsWeek.value(text[:len(text)-1])
		d.last = 1 << one
	case numbered:
		if one, err = awsWeek.value(day); err == nil {
			d.nth, err = field{what: "week of " + text, low: 1, high: 5, base: 1}.value(nth)
		}
		d.days = 1 << one
	default:
		d.days, err = awsWeek.set(text)
	}
	return d, err
}

// parseYears reads *, or years, ranges and steps, separated by commas.
func parseYears(text string) ([]bool, error) {
	if text == "*" {
		return nil, nil
	}
	kind := field{what: "year", low: firstYear, high: lastYear}
	years := make([]bool, lastYear-firstYear+1)
	for item := range strings.SplitSeq(text, ",") {
		low, high, step, err := kind.span(item)
		if err != nil {
			return nil, err
		}
		for y := low; y <= high; y += step {
			years[y] = true
		}
	}
	return years, nil
}

// next is the first time after wall at which a clock shows what the fields say;
// zero when there is none.
func (f *fields) next(wall time.Time) time.Time {
	day := time.Date(wall.Year(), wall.Month(), wall.Day(), 0, 0, 0, 0, time.UTC)
	minute := wall.Hour()*60 + wall.Minute() + 1
	for day.Year() <= lastYear {
		switch {
		case !f.year(day.Year()):
			day = time.Date(day.Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC)
		case !f.months.has(int(day.Month())):
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		default:
			if f.day(day) {
				if n := f.minute(minute); n >= 0 {
					return day.Add(time.Duration(n) * time.Minute)
				}
			}
			day = day.AddDate(0, 0, 1)
		}
		minute = 0
	}
	return time.Time{}
}

func (f *fields) year(y int) bool {
	return f.years == nil || y >= firstYear && f.years[y-firstYear]
}

// minute is the first minute of a day from one on; -1 when there is none.
func (f *fields) minute(from int) int {
	for hour, minute := from/60, from%60; hour < 24; hour, minute = hour+1, 0 {
		if left := f.minutes >> minute << minute; f.hours.has(hour) && left != 0 {
			return hour*60 + bits.TrailingZeros64(uint64(left))
		}
	}
	return -1
}

// day tells whether a day is meant: by both fields where one of them is free, by
// either where both are bound, as cron has it.
func (f *fields) day(d time.Time) bool {
	if f.dom.any || f.dow.any {
		return f.dom.has(d) && f.dow.has(d)
	}
	return f.dom.has(d) || f.dow.has(d)
}

func (m *monthDays) has(d time.Time) bool {
	length := time.Date(d.Year(), d.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	switch {
	case m.any:
		return true
	case m.last >= 0:
		return d.Day() == length-m.last
	case m.lastOne:
		return d.Day() == nearestWeekday(d, length, length)
	case m.weekday > 0:
		return m.weekday <= length && d.Day() == nearestWeekday(d, m.weekday, length)
	}
	return m.days.has(d.Day())
}

// nearestWeekday is the day from Monday to Friday nearest to a day of d's month, in
// that month.
func nearestWeekday(d time.Time, day, length int) int {
	switch time.Date(d.Year(), d.Month(), day, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday:
		if day == 1 {
			return 3
		}
		return day - 1
	case time.Sunday:
		if day == length {
			return day - 2
		}
		return day + 1
	}
	return day
}

func (w *weekDays) has(d time.Time) bool {
	day := int(d.Weekday())
	switch {
	case w.any:
		return true
	case w.last != 0:
		return w.last.has(day) && d.AddDate(0, 0, 7).Month() != d.Month()
	case w.nth > 0:
		return w.days.has(day) && (d.Day()-1)/7+1 == w.nth
	}
	return w.days.has(day)
}
