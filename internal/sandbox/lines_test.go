package sandbox_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// text keeps what it is given.
type text struct{ lines []string }

func (t *text) WriteLine(_ time.Time, p []byte) { t.lines = append(t.lines, string(p)) }

func TestLines(t *testing.T) {
	for _, c := range []struct{ writes, want []string }{
		{[]string{"a\nb\n"}, []string{"a", "b"}},
		{[]string{"a", "b\nc", "\n\n"}, []string{"ab", "c", ""}},
		{[]string{"end"}, []string{"end"}},
		{[]string{strings.Repeat("x", sandbox.MaxLine), "y\n"}, []string{strings.Repeat("x", sandbox.MaxLine), "y"}},
		{[]string{strings.Repeat("x", sandbox.MaxLine) + "\n"}, []string{strings.Repeat("x", sandbox.MaxLine)}},
	} {
		to := &text{}
		l := sandbox.Lines{To: to}
		for _, w := range c.writes {
			l.Take(time.Time{}, []byte(w))
		}
		l.Flush(time.Time{})
		if !slices.Equal(to.lines, c.want) {
			t.Errorf("%.40q: %d lines %.60q, want %.60q", c.writes, len(to.lines), to.lines, c.want)
		}
	}
}

// FuzzLines: however the bytes come, none is lost, and no line is too long.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb"), 1)
	f.Add([]byte("\n\n\n"), 2)
	f.Add(bytes.Repeat([]byte("long "), 100), 7)
	f.Fuzz(func(t *testing.T, written []byte, step int) {
		to := &text{}
		l := sandbox.Lines{To: to}
		step = max(1, step&0xffff)
		for rest := written; len(rest) > 0; {
			n := min(step, len(rest))
			l.Take(time.Time{}, rest[:n])
			rest = rest[n:]
		}
		l.Flush(time.Time{})
		for _, line := range to.lines {
			if len(line) > sandbox.MaxLine || strings.Contains(line, "\n") {
				t.Fatalf("line of %d bytes: %.40q", len(line), line)
			}
		}
		if got, want := strings.Join(to.lines, ""), string(bytes.ReplaceAll(written, []byte("\n"), nil)); got != want {
			t.Fatalf("%q became %q", want, got)
		}
	})
}
