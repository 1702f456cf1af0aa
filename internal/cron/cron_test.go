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

var refused = []string{
	"", "* * * *", "cron(* * * * *)", "cron(* * * * * *)", "cron(0 9 ? * ? *)", "cron(0 9 L * ? *)", "cron(0 9 ? * 2#1 *)",
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
	for _, s := range append(refused, "0 9 * * 1-5", "cron(0 9 ? * 2-6 2028/3)", "rate(5 minutes)") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if next := s.Next(anchor, anchor); !next.IsZero() && !next.After(anchor) {
			t.Errorf("%q: the next moment after %v is %v", text, anchor, next)
		}
	})
}
