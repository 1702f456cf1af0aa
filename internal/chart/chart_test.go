package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// wellFormed reads all of a picture.
func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

func TestStackIsWellFormed(t *testing.T) {
	xs := make([]float64, 5000)
	values := make([]float64, len(xs))
	for i := range xs {
		xs[i], values[i] = float64(i), math.Abs(math.Sin(float64(i)/100))*37
	}
	values[17] = math.NaN()
	label := func(float64) string { return `<&">` }
	svg := Stack(xs, label, Panel{Title: "a < b", Series: []Series{{"one", "#123456", values}, {"two", "#654321", values}}}, Panel{Title: "none"})
	wellFormed(t, svg)
	if len(svg) > 60_000 {
		t.Errorf("a picture of %d bytes", len(svg))
	}
	wellFormed(t, Stack(nil, label, Panel{}))
}

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		plain bool
		width int
		want  string
		most  float64
	}{
		{true, 8, " .-*@", 8}, {false, 8, " ▁▃▆█", 8}, {true, 3, ".*@", 8},
	} {
		got, most := Spark([]float64{0, .1, 3, 6, 8}, c.width, c.plain)
		if got != c.want || most != c.most {
			t.Errorf("%q to %v, want %q", got, most, c.want)
		}
	}
	if got, _ := Spark([]float64{0, 0}, 5, true); got != "  " {
		t.Errorf("nothing is %q", got)
	}
}
