package cli

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func TestPainter(t *testing.T) {
	start := client.ColdStart{TotalMS: 10, Stages: []client.Span{
		{Name: "code", StartMS: 0, MS: 0.01}, {Name: "sandbox", StartMS: 1, MS: 2}, {Name: "init", StartMS: 5.5, MS: 4.5},
	}}
	for name, tt := range map[string]struct {
		state State
		want  string
	}{
		"terminal": {State{StdoutTerminal: true, Columns: 40}, "" +
			"sandbox  \x1b[36m  ████              \x1b[0m    2.00 ms\n" +
			"code     \x1b[36m▏                   \x1b[0m    0.01 ms\n" +
			"init     \x1b[33m           █████████\x1b[0m    4.50 ms\n"},
		"pipe":          {State{Columns: 30}, "sandbox   ##           2.00 ms\ncode     |             0.01 ms\ninit          #####    4.50 ms\n"},
		"no colour":     {State{StdoutTerminal: true, Columns: 30, Environ: []string{"NO_COLOR=1"}}, "sandbox   ##           2.00 ms\ncode     |             0.01 ms\ninit          #####    4.50 ms\n"},
		"dumb terminal": {State{StdoutTerminal: true, Columns: 30, Environ: []string{"TERM=dumb"}}, "sandbox   ##           2.00 ms\ncode     |             0.01 ms\ninit          #####    4.50 ms\n"},
	} {
		p := (&app{State: &tt.state}).painter(reach(start))
		got := p.row("sandbox", start.Stages) + p.row("code", start.Stages) + p.row("init", start.Stages)
		if got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}

// TestPainterFits lets a server say anything: the rows stay rows.
func TestPainterFits(t *testing.T) {
	number := rapid.OneOf(rapid.Float64Range(-5, 50), rapid.SampledFrom([]float64{0, -1, 1e300, math.Inf(1), math.NaN(), math.MaxFloat64}))
	rapid.Check(t, func(r *rapid.T) {
		var s client.ColdStart
		s.TotalMS = number.Draw(r, "total")
		for range rapid.IntRange(0, 8).Draw(r, "spans") {
			name := rapid.OneOf(rapid.SampledFrom(lambent.Stages()), rapid.String()).Draw(r, "name")
			s.Stages = append(s.Stages, client.Span{Name: name, StartMS: number.Draw(r, "start"), MS: number.Draw(r, "ms")})
		}
		columns := rapid.IntRange(-1, 300).Draw(r, "columns")
		var out bytes.Buffer
		a := &app{State: &State{Stdout: &out, Columns: columns}}
		if err := a.drawColdStarts(client.ColdStarts{Function: "f", Version: "1", ColdStarts: []client.ColdStart{s}}); err != nil {
			r.Fatal(err)
		}
		rows := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(rows) != 1+len(stagesOf(s)) {
			r.Fatalf("%d rows for %d stages:\n%s", len(rows), len(stagesOf(s)), out.String())
		}
		width := utf8.RuneCountInString(rows[1])
		for _, row := range rows[1:] {
			if n := utf8.RuneCountInString(row); n != width {
				r.Fatalf("%q has %d characters, not %d", row, n, width)
			}
		}
	})
}

func TestNamed(t *testing.T) {
	for in, want := range map[[2]string][3]string{
		{"f", ""}: {"f", "", ""}, {"f", "1"}: {"f", "1", ""}, {"f:1", ""}: {"f", "1", ""}, {"f:1", "1"}: {"f", "1", ""}, {"f:", "live"}: {"f", "live", ""},
		{"f:1", "2"}: {"", "", "error"},
	} {
		name, qualifier, err := named(in[0], in[1])
		if name != want[0] || qualifier != want[1] || (err != nil) != (want[2] != "") {
			t.Errorf("%v: %q, %q, %v", in, name, qualifier, err)
		}
	}
}

// TestWindowReadsBack parses windows as the command line shows them.
func TestWindowReadsBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(200*time.Hour/time.Second)).Draw(r, "seconds")) * time.Second
		w := client.Window{
			Start:           rapid.SampledFrom([]string{"0 8 * * 1-5", "cron(0 8 ? * MON-FRI *)", "rate(5 minutes)", "a=b:c"}).Draw(r, "start"),
			DurationSeconds: d.Seconds(), Count: rapid.IntRange(0, 1000).Draw(r, "count"),
		}
		text := fmt.Sprintf("%s=%s:%d", w.Start, shortDuration(d), w.Count)
		if got, err := parseWindow(text); err != nil || got != w {
			r.Fatalf("%q is %+v, %v, want %+v", text, got, err, w)
		}
	})
}
