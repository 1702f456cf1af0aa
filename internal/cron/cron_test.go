package cron

import (
	"testing"
	"time"

	"lambent.dev/lambent"
)

var (
	anchor = time.Date(2026, 11, 2, 8, 0, 30, 0, time.UTC) // a Monday
	layout = "2006-01-02 15:04:05"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ schedule, after, want string }{
		{"0 9 * * 1-5", "2026-11-06 09:00:00", "2026-11-09 09:00:00"},
		{"*/15 * * * *", "2026-11-06 09:00:00", "2026-11-06 09:15:00"},
		{"0 0 29 2 *", "2026-11-06 09:00:00", "2028-02-29 00:00:00"},
		{"0 0 31 2 *", "2026-11-06 09:00:00", ""},
		{"cron(0 9 ? * 2-6 *)", "2026-11-06 09:00:00", "2026-11-09 09:00:00"},
		{"cron(0 9 ? * MON-FRI *)", "2026-11-06 09:00:00", "2026-11-09 09:00:00"},
		{"0 9 ? * 1 *", "2026-11-06 09:00:00", "2026-11-08 09:00:00"},
		{"cron(0 9 1 * ? 2028-2030)", "2026-11-06 09:00:00", "2028-01-01 09:00:00"},
		{"cron(0 9 1 1 ? 2020)", "2026-11-06 09:00:00", ""},
		{"cron(0 9 1 1 ? */100)", "2026-11-06 09:00:00", "2070-01-01 09:00:00"},
		{"cron(0/20 9-10 ? JAN MON *)", "2026-11-06 09:00:00", "2027-01-04 09:00:00"},
		{"cron(0/20 9-10 ? JAN MON *)", "2027-01-04 10:40:00", "2027-01-11 09:00:00"},
		{"cron(0 9 L * ? *)", "2027-02-01 00:00:00", "2027-02-28 09:00:00"},
		{"cron(0 9 L-3 * ? *)", "2028-02-01 00:00:00", "2028-02-26 09:00:00"},
		{"cron(0 9 LW * ? *)", "2026-10-31 00:00:00", "2026-11-30 09:00:00"},
		{"cron(0 9 LW * ? *)", "2026-05-30 00:00:00", "2026-06-30 09:00:00"},
		{"cron(0 9 1W * ? *)", "2026-08-01 00:00:00", "2026-08-03 09:00:00"},
		{"cron(0 9 15W * ? *)", "2026-08-01 00:00:00", "2026-08-14 09:00:00"},
		{"cron(0 9 31W * ? *)", "2026-10-31 00:00:00", "2026-12-31 09:00:00"},
		{"cron(0 9 ? * 2#1 *)", "2026-11-02 09:00:00", "2026-12-07 09:00:00"},
		{"cron(0 9 ? * FRI#5 *)", "2026-11-02 09:00:00", "2027-01-29 09:00:00"},
		{"cron(0 9 ? * 6L *)", "2026-11-02 09:00:00", "2026-11-27 09:00:00"},
		{"cron(0 9 ? * L *)", "2026-11-02 09:00:00", "2026-11-07 09:00:00"},
		{"0 9 13 * 5", "2026-11-06 09:00:00", "2026-11-13 09:00:00"},
		{"0 9 14 * 5", "2026-11-13 09:00:00", "2026-11-14 09:00:00"},
		{"at(2026-11-23T05:00:01)", "2026-11-23 05:00:00", "2026-11-23 05:00:01"},
		{"at(2026-11-23T05:00:01)", "2026-11-23 05:00:01", ""},
		{"rate(5 minutes)", "2026-11-02 08:00:30", "2026-11-02 08:05:30"},
		{"rate(1 day)", "2026-11-05 08:00:29", "2026-11-05 08:00:30"},
		{" rate(2 hours) ", "2026-11-01 00:00:00", "2026-11-02 08:00:30"},
	} {
		s, err := Parse(c.schedule)
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		after, err := time.Parse(layout, c.after)
		if err != nil {
			t.Fatal(err)
		}
		next := s.Next(after, anchor)
		if got := next.Format(layout); !next.IsZero() && got != c.want || next.IsZero() != (c.want == "") {
			t.Errorf("%s after %s: %s, want %s", c.schedule, c.after, got, c.want)
		}
	}
}

// TestClocksChange has times that a zone's clocks skip, and such that they show
// twice.
func TestClocksChange(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ schedule, after, want string }{
		{"cron(30 2 * * ? *)", "2026-03-07T12:00:00Z", "2026-03-09T06:30:00Z"}, // skipped on the 8th
		{"cron(30 1 * * ? *)", "2026-10-31T12:00:00Z", "2026-11-01T05:30:00Z"}, // the first of two
		{"cron(30 1 * * ? *)", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"},
		{"cron(0 9 * * ? *)", "2026-03-07T15:00:00Z", "2026-03-08T13:00:00Z"},
		{"rate(1 day)", "2026-03-08T05:00:00Z", "2026-03-08T12:00:00Z"}, // 24 hours, whatever the clocks
		{"at(2026-11-01T01:30:00)", "2026-10-31T12:00:00Z", "2026-11-01T05:30:00Z"},
		{"at(2026-07-01T09:00:00)", "2026-03-07T12:00:00Z", "2026-07-01T13:00:00Z"},
	} {
		s, err := Parse(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		next := s.In(zone).Next(after, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		if got := next.UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s after %s: %s, want %s", c.schedule, c.after, got, c.want)
		}
	}
}

func TestLast(t *testing.T) {
	for _, c := range []struct{ schedule, after, until, want string }{
		{"rate(5 minutes)", "2026-11-02 08:00:00", "2026-11-02 08:13:00", "2026-11-02 08:10:30"},
		{"rate(5 minutes)", "2026-11-02 08:10:30", "2026-11-02 08:13:00", ""},
		{"cron(0 9 1 1 ? *)", "2020-01-01 00:00:00", "2026-11-02 08:13:00", "2026-01-01 09:00:00"},
		{"cron(0 9 1 1 ? *)", "2026-01-01 09:00:00", "2026-11-02 08:13:00", ""},
		{"cron(* * * * ? *)", "0001-01-01 00:00:00", "2026-11-02 08:13:00", "2026-11-02 08:13:00"},
	} {
		s, err := Parse(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		after, err1 := time.Parse(layout, c.after)
		until, err2 := time.Parse(layout, c.until)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		last := s.Last(after, until, anchor)
		if got := last.Format(layout); !last.IsZero() && got != c.want || last.IsZero() != (c.want == "") {
			t.Errorf("%s after %s until %s: %s, want %s", c.schedule, c.after, c.until, got, c.want)
		}
	}
}

var refused = []string{
	"", "* * * *", "cron(* * * * *)", "cron(* * * * * *)", "cron(0 9 ? * ? *)", "cron(0 9 L-31 * ? *)", "cron(0 9 ? * 2#6 *)", "cron(0 9 ? * L-1 *)", "cron(0 9 W * ? *)",
	"cron(+1 9 1 * ? *)", "cron(0 9 1 JANU ? *)", "cron(0 9 1 ANF ? *)", "cron(0/60 9 1 * ? *)", "cron(, 9 1 * ? *)",
	"at(2026-11-23)", "at(2026-11-23T25:00:00)", "at(2026-11-23T05:00:00Z)", "at(2026-11-23T05:00:00.5)", "rate(100001 days)",
	"cron(0 9 ? * 8 *)", "cron(0 9 1 * ? 1969)", "cron(0 9 1 * ? 2030-2020)", "cron(0 9 1 * ? 2020/0)",
	"rate(0 minutes)", "rate(1 minutes)", "rate(5 minute)", "rate(5 weeks)", "rate(minutes)", "rate(5 minutes",
	"TZ=", "TZ=Europe/Berlin 0 9 * * *", "CRON_TZ=x * * * *", "@hourly", "60 * * * *", "0 9 * * 1-", "0 9 * * 5-1", "*/0 * * * *",
}

func TestRefused(t *testing.T) {
	for _, s := range refused {
		if _, err := Parse(s); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("Parse(%q): %v", s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range append(refused, "at(2026-11-23T05:00:01)", "cron(0 9 LW * ? *)", "cron(0 9 ? * 6L *)", "0 9 * * 1-5", "cron(0 9 ? * 2-6 2028/3)", "rate(5 minutes)") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		next := s.Next(anchor, anchor)
		if next.IsZero() {
			return
		}
		if !next.After(anchor) {
			t.Errorf("%q: the next moment after %v is %v", text, anchor, next)
		}
		if last := s.Last(anchor, next, anchor); !last.Equal(next) {
			t.Errorf("%q: the last moment until %v is %v", text, next, last)
		}
	})
}
