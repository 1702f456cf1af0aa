package telemetry

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestCaller(t *testing.T) {
	const (
		id   = "01234567-89abcdef0123456789abcdef"
		w3c  = "0123456789abcdef0123456789abcdef"
		span = "00f067aa0ba902b7"
	)
	for _, tt := range []struct{ parent, amzn, want string }{
		{"", "", ""},
		{"", "anything", "anything"},
		{"", strings.Repeat("x", MaxTrace), strings.Repeat("x", MaxTrace)},
		{"", strings.Repeat("x", MaxTrace+1), ""},
		{"", "Root=1-5;\xff", ""},
		{"", "Root=1-5\t", ""},
		{"00-" + w3c + "-" + span + "-01", "", "Root=1-" + id + ";Parent=" + span + ";Sampled=1"},
		{"00-" + w3c + "-" + span + "-02", "Root=1-5", "Root=1-" + id + ";Parent=" + span + ";Sampled=0"},
		{"cc-" + w3c + "-" + span + "-01-more", "", "Root=1-" + id + ";Parent=" + span + ";Sampled=1"},
		{"cc-" + w3c + "-" + span + "-01more", "a", "a"},
		{"00-" + w3c + "-" + span + "-01-more", "a", "a"},
		{"ff-" + w3c + "-" + span + "-01", "a", "a"},
		{"00-" + strings.ToUpper(w3c) + "-" + span + "-01", "a", "a"},
		{"00-" + strings.Repeat("0", 32) + "-" + span + "-01", "a", "a"},
		{"00-" + w3c + "-0000000000000000-01", "a", "a"},
		{"00-" + w3c + "-" + span + "-0x", "a", "a"},
	} {
		h := http.Header{}
		if tt.parent != "" {
			h.Set("traceparent", tt.parent)
		}
		if tt.amzn != "" {
			h.Set("X-Amzn-Trace-Id", tt.amzn)
		}
		if got := Caller(h); got != tt.want {
			t.Errorf("%q and %q: %q, want %q", tt.parent, tt.amzn, got, tt.want)
		}
	}
	two := http.Header{"Traceparent": {"00-" + w3c + "-" + span + "-01", "00-" + w3c + "-" + span + "-01"}}
	if got := Caller(two); got != "" {
		t.Errorf("two headers make %q", got)
	}
}

// FuzzTraceID checks that what is read of either header is written back the same.
func FuzzTraceID(f *testing.F) {
	f.Add("Root=1-01234567-89abcdef0123456789abcdef;Parent=00f067aa0ba902b7;Sampled=1")
	f.Add("Self=1-1-1; Root=1-5759E988-BD862E3FE1BE46A994272793 ;Sampled=?;Lineage=1:x/2")
	f.Add("00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01")
	f.Add("Root=1-;Root=2-01234567-89abcdef0123456789abcdef;;=;Parent=zz")
	f.Fuzz(func(t *testing.T, text string) {
		if got := Caller(http.Header{"Traceparent": {text}}); got != "" {
			c, ok := parseTraceID(got)
			if !ok || c.header(c.parent, "") != got {
				t.Errorf("%q became %q", text, got)
			}
			h := http.Header{}
			if Carry(h, got); Caller(h) != got {
				t.Errorf("%q is carried as %v", got, h)
			}
		}
		c, ok := parseTraceID(text)
		if !ok {
			return
		}
		again := c.header(c.parent, text)
		if len(again) > len(text)+96 {
			t.Errorf("%q grew to %q", text, again)
		}
		d, ok := parseTraceID(again)
		if !ok || d.trace != c.trace || d.parent != c.parent {
			t.Errorf("%q became %q", text, again)
		}
	})
}

// value is that of a series in a scrape; 0 if it is not there.
func value(t *testing.T, text, series string) float64 {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n"+series+" ")
	if !found {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(line, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lockedText is a log that the sender writes.
type lockedText struct {
	mu sync.Mutex // guards the rest
	b  bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
