package linux

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

type lines struct {
	mu   sync.Mutex // guards text
	text []string
}

func (l *lines) WriteLine(_ time.Time, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
}

func TestOutputSplitsLines(t *testing.T) {
	for _, c := range []struct{ writes, want []string }{
		{[]string{"a\nb\n"}, []string{"a", "b"}},
		{[]string{"a", "b\nc", "\n\n"}, []string{"ab", "c", ""}},
		{[]string{"end"}, []string{"end"}},
		{[]string{strings.Repeat("x", maxLine), "y\n"}, []string{strings.Repeat("x", maxLine), "y"}},
		{[]string{strings.Repeat("x", maxLine) + "\n"}, []string{strings.Repeat("x", maxLine)}},
	} {
		to := &lines{}
		o := &output{to: to}
		for _, w := range c.writes {
			o.take(time.Time{}, []byte(w))
		}
		o.flush()
		if !slices.Equal(to.text, c.want) {
			t.Errorf("%.40q: %d lines %.60q, want %.60q", c.writes, len(to.text), to.text, c.want)
		}
	}
}

// FuzzOutput: however the bytes come, none is lost, and no line is too long.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("a\nb"), 1)
	f.Add([]byte("\n\n\n"), 2)
	f.Add(bytes.Repeat([]byte("long "), 100), 7)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		to := &lines{}
		o := &output{to: to}
		step = max(1, step&0xffff)
		for rest := text; len(rest) > 0; {
			n := min(step, len(rest))
			o.take(time.Time{}, rest[:n])
			rest = rest[n:]
		}
		o.flush()
		for _, l := range to.text {
			if len(l) > maxLine || strings.Contains(l, "\n") {
				t.Fatalf("line of %d bytes: %.40q", len(l), l)
			}
		}
		if got, want := strings.Join(to.text, ""), string(bytes.ReplaceAll(text, []byte("\n"), nil)); got != want {
			t.Fatalf("%q became %q", want, got)
		}
	})
}

// TestOutputDrain: what was written before a drain has arrived after it, while
// the reader runs, and the end of the writer ends the reader.
func TestOutputDrain(t *testing.T) {
	to := &lines{}
	o, w, err := newOutput(to)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(o.run)
	for n := range 2000 {
		fmt.Fprintf(w, "line %d\n", n)
		o.drain()
		to.mu.Lock()
		got := len(to.text)
		to.mu.Unlock()
		if got != n+1 {
			t.Fatalf("%d lines after %d", got, n+1)
		}
	}
	w.Close()
	wg.Wait()
	o.drain() // harmless afterwards
	o.pipe.Close()
	o.drain()
}
