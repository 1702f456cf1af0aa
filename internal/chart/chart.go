// Package chart draws figures: as SVG on a [Canvas], and as one line of text. It owns
// shapes and their escaping and knows no figures of anybody; those who have some say
// what goes where. The command line and the benchmarks draw with it.
package chart

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Canvas is an SVG picture that is being drawn. Its unit is the pixel, its origin the
// top left corner.
type Canvas struct {
	b strings.Builder
}

// New makes an empty white canvas.
func New(width, height int) *Canvas {
	c := &Canvas{}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`, width, height)
	c.b.WriteString(`<rect width="100%" height="100%" fill="white"/>`)
	return c
}

// Text writes text whose line begins at x, or ends there with anchor "end".
func (c *Canvas) Text(x, y float64, anchor, text string) {
	if anchor != "" {
		anchor = ` text-anchor="` + anchor + `"`
	}
	fmt.Fprintf(&c.b, `<text x="%s" y="%s"%s>%s</text>`, at(x), at(y), anchor, html.EscapeString(text))
}

// Rect fills a rectangle.
func (c *Canvas) Rect(x, y, width, height float64, fill string) {
	fmt.Fprintf(&c.b, `<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>`, at(x), at(y), at(width), at(height), fill)
}

// Line draws a line; dash is the pattern of a dashed one, or "".
func (c *Canvas) Line(x1, y1, x2, y2 float64, stroke, dash string) {
	if dash != "" {
		dash = ` stroke-dasharray="` + dash + `"`
	}
	fmt.Fprintf(&c.b, `<line x1="%s" x2="%s" y1="%s" y2="%s" stroke="%s"%s/>`, at(x1), at(x2), at(y1), at(y2), stroke, dash)
}

// Steps draws a line that keeps each value until the next one.
func (c *Canvas) Steps(xs, ys []float64, stroke string) {
	fmt.Fprintf(&c.b, `<path fill="none" stroke="%s" stroke-width="1.4" d="`, stroke)
	for i := range xs {
		if i == 0 {
			fmt.Fprintf(&c.b, "M%s %s", at(xs[0]), at(ys[0]))
			continue
		}
		if ys[i] == ys[i-1] && i+1 < len(xs) {
			continue // the next corner draws it
		}
		fmt.Fprintf(&c.b, "H%sV%s", at(xs[i]), at(ys[i]))
	}
	c.b.WriteString(`"/>`)
}

// String is the picture.
func (c *Canvas) String() string { return c.b.String() + "</svg>\n" }

// at writes a coordinate with a tenth of a pixel.
func at(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
}

// Panel is one diagram of a stack.
type Panel struct {
	Title  string
	Series []Series
}

// Series is one line in a diagram.
type Series struct {
	Name   string
	Color  string
	Values []float64 // at the stack's xs
}

const (
	stackWidth  = 960
	panelHeight = 150
	panelGap    = 40
	marginLeft  = 60
	marginRight = 20
	maxColumns  = 900
)

// Stack draws diagrams below each other over the same x, which rises. label says what
// is written at an x.
func Stack(xs []float64, label func(x float64) string, panels ...Panel) string {
	c := New(stackWidth, len(panels)*(panelHeight+panelGap)+panelGap)
	if len(xs) == 0 {
		return c.String()
	}
	first, last := xs[0], xs[len(xs)-1]
	scale := float64(stackWidth-marginLeft-marginRight) / math.Max(last-first, 1e-9)
	for i, p := range panels {
		top := float64(panelGap + i*(panelHeight+panelGap))
		bottom := top + panelHeight
		most := round125(p)
		c.Text(marginLeft, top-8, "", p.Title)
		legend(c, top-8, p)
		for share := 0.0; share <= 1; share += 0.5 {
			y := bottom - share*panelHeight
			c.Line(marginLeft, y, stackWidth-marginRight, y, "#ddd", "")
			c.Text(marginLeft-6, y+4, "end", strconv.FormatFloat(share*most, 'g', 3, 64))
		}
		for _, s := range p.Series {
			px, py := shrink(xs, s.Values, maxColumns)
			for j := range px {
				px[j], py[j] = marginLeft+(px[j]-first)*scale, bottom-py[j]/most*panelHeight
			}
			c.Steps(px, py, s.Color)
		}
		for k := range 5 {
			x := first + (last-first)*float64(k)/4
			c.Text(marginLeft+(x-first)*scale, bottom+14, anchorOf(k), label(x))
		}
	}
	return c.String()
}

func anchorOf(k int) string {
	switch k {
	case 0:
		return ""
	case 4:
		return "end"
	}
	return "middle"
}

func legend(c *Canvas, y float64, p Panel) {
	x := float64(stackWidth - marginRight)
	for i := len(p.Series) - 1; i >= 0; i-- {
		c.Text(x, y, "end", p.Series[i].Name)
		x -= float64(7*len(p.Series[i].Name) + 8)
		c.Rect(x, y-9, 10, 10, p.Series[i].Color)
		x -= 12
	}
}

// round125 is the largest value of a panel, rounded up to one, two or five.
func round125(p Panel) float64 {
	most := 0.0
	for _, s := range p.Series {
		for _, v := range s.Values {
			most = max(most, v)
		}
	}
	if !(most > 0) || math.IsInf(most, 0) {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{1, 2, 5, 10} {
		if most <= f*unit {
			return f * unit
		}
	}
	return most
}

// shrink keeps the largest value of each of at most n columns.
func shrink(xs, values []float64, n int) (px, py []float64) {
	width := (len(xs) + n - 1) / n
	for i := 0; i < len(xs); i += width {
		most := values[i]
		for _, v := range values[i:min(i+width, len(xs))] {
			most = max(most, v)
		}
		px, py = append(px, xs[i]), append(py, most)
	}
	return px, py
}

var (
	blocks = []rune(" ▁▂▃▄▅▆▇█")
	ascii  = []rune(" .:-=+*#@")
)

// Spark is values as one line of text of at most width characters, the largest of
// each column; plain is in ASCII. Their largest is what the highest character means.
func Spark(values []float64, width int, plain bool) (line string, most float64) {
	glyphs := blocks
	if plain {
		glyphs = ascii
	}
	_, columns := shrink(values, values, max(width, 1))
	for _, v := range columns {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range columns {
		i := 0
		if most > 0 && v > 0 {
			i = max(1, int(math.Round(v/most*float64(len(glyphs)-1))))
		}
		b.WriteRune(glyphs[i])
	}
	return b.String(), most
}
