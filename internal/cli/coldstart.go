package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// coldStartFlags are the choices of `lambent coldstart`.
type coldStartFlags struct {
	qualifier string
	last      int
	fresh     bool
	payload   string
}

func (a *app) coldStartCommand() *cobra.Command {
	var f coldStartFlags
	cmd := &cobra.Command{
		Use:   "coldstart FUNCTION",
		Short: "Show where the time of a function's cold starts went",
		Long: "Show the six stages of a function's latest cold start as bars: sandbox, code and layers,\n" +
			"environment and files, network and mounts, the runtime, and the function's own\n" +
			"initialisation, with which billing starts. Stages overlap where work goes on side by side.\n" +
			"--fresh ends the function's instances and calls it, so that there is a new one.",
		Example:           "  lambent coldstart hello\n  lambent coldstart hello:live --last 5\n  lambent coldstart hello --fresh -d '{\"name\": \"you\"}'",
		Args:              exactly(1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.coldStart(cmd, args[0], f) },
	}
	cmd.Flags().StringVar(&f.qualifier, "qualifier", "", "version or alias (default $LATEST)")
	cmd.Flags().IntVar(&f.last, "last", 1, "how many of the latest cold starts")
	cmd.Flags().BoolVar(&f.fresh, "fresh", false, "make one now: end the instances and call the function")
	cmd.Flags().StringVarP(&f.payload, "payload", "d", "", "payload of the call of --fresh: JSON, @FILE, or -")
	return a.jsonFlag(cmd)
}

// named takes NAME:QUALIFIER apart; a qualifier given beside it must not differ.
func named(name, qualifier string) (string, string, error) {
	if arn, ok := strings.CutPrefix(name, "arn:"); ok { // what AWS's tools call it
		_, name, _ = strings.Cut(arn, ":function:")
	}
	base, of, ok := strings.Cut(name, ":")
	switch {
	case !ok || of == "":
		return base, qualifier, nil
	case qualifier != "" && qualifier != of:
		return "", "", usageError{fmt.Errorf("%s names a qualifier already, which is not %s", name, qualifier)}
	}
	return base, of, nil
}

func (a *app) coldStart(cmd *cobra.Command, name string, f coldStartFlags) error {
	name, qualifier, err := named(name, f.qualifier)
	if err != nil {
		return err
	}
	if f.last < 1 {
		return usageError{errors.New("--last: want a number from 1 on")}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if f.fresh {
		if err := a.makeCold(cmd, c, name, qualifier, f.payload); err != nil {
			return err
		}
	}
	found, err := c.ColdStarts(cmd.Context(), name, qualifier)
	if err != nil {
		return a.missing(err, name)
	}
	found.ColdStarts = found.ColdStarts[max(0, len(found.ColdStarts)-f.last):]
	if a.json {
		return a.printJSON(found)
	}
	if len(found.ColdStarts) == 0 {
		a.note("%s:%s has had no cold start since the server started: `lambent coldstart %s --fresh` makes one",
			found.Function, printable(found.Version), strings.TrimSuffix(name+":"+qualifier, ":"))
		return nil
	}
	return a.drawColdStarts(found)
}

// makeCold ends the instances of a version and calls it.
func (a *app) makeCold(cmd *cobra.Command, c *client.Client, name, qualifier, payload string) error {
	data, err := a.payload(payload)
	if err != nil {
		return err
	}
	if err := c.Retire(cmd.Context(), name, qualifier); err != nil {
		return a.missing(err, name)
	}
	stop := a.spin("starting " + name)
	result, err := c.Invoke(cmd.Context(), name, data, client.InvokeOptions{Qualifier: qualifier})
	stop()
	switch {
	case err != nil:
		return err
	case result.Error != nil:
		a.note("the function failed: %s", failureText(result.Error))
	case !result.Report.Cold:
		a.note("an instance was made ready before the call: what is shown is not of this call (see `lambent set` and `lambent provision`)")
	}
	return nil
}

// origins say where an instance's process came from.
var origins = map[string]string{
	string(lambent.OriginStart):  "started from nothing",
	string(lambent.OriginBlank):  "from a reserve",
	string(lambent.OriginFork):   "forked from a warm interpreter",
	string(lambent.OriginModule): "from a compiled module",
}

func (a *app) drawColdStarts(found client.ColdStarts) error {
	most := 0.0
	for _, s := range found.ColdStarts {
		most = max(most, reach(s))
	}
	p := a.painter(most)
	var text strings.Builder
	for i, s := range found.ColdStarts {
		if i > 0 {
			text.WriteByte('\n')
		}
		head := []string{found.Function + ":" + found.Version, found.Runtime, s.Began.Local().Format("2006-01-02 15:04:05.000"), millis(s.TotalMS)}
		if o := s.Origin; o != "" {
			if words, ok := origins[o]; ok {
				o = words
			}
			head = append(head, o)
		}
		if s.Ahead != "" {
			head = append(head, "ahead of a call ("+s.Ahead+")")
		}
		if s.Failure != "" {
			head = append(head, "failed: "+s.Failure)
		}
		text.WriteString(printable(strings.Join(head, "  ")) + "\n")
		for _, stage := range stagesOf(s) {
			text.WriteString(p.row(stage, s.Stages))
		}
	}
	return a.printf("%s", text.String())
}

// reach is the end of the last span in milliseconds, or of all where that is later.
func reach(s client.ColdStart) float64 {
	end := s.TotalMS
	for _, span := range s.Stages {
		end = max(end, span.StartMS+span.MS)
	}
	return end
}

// stagesOf is the six stages, and what else a newer server may tell.
func stagesOf(s client.ColdStart) []string {
	names := lambent.Stages()
	for _, span := range s.Stages {
		if !slices.Contains(names, span.Name) {
			names = append(names, span.Name)
		}
	}
	return names
}

// Widths of a row, in characters.
const (
	labelWidth   = 8
	valueWidth   = 10
	shortestBar  = 10
	longestBar   = 100
	usualColumns = 80
)

// painter draws spans on a line of a given width.
type painter struct {
	plain bool // ASCII only, no colour
	width int
	most  float64 // milliseconds that the width stands for
}

// painter fits the terminal. Where there is none, or colour is not wanted
// (no-color.org), it draws in ASCII.
func (a *app) painter(most float64) painter {
	wide := a.Columns
	if wide <= 0 {
		wide = usualColumns
	}
	return painter{
		plain: !a.StdoutTerminal || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb",
		width: min(max(wide-labelWidth-valueWidth-2, shortestBar), longestBar),
		most:  max(most, 1e-6),
	}
}

// row is one stage: its name, its spans as a bar, and their sum.
func (p painter) row(stage string, spans []client.Span) string {
	total := 0.0
	covered := make([]cell, p.width)
	for _, s := range spans {
		if s.Name == stage {
			total += s.MS
			p.cover(covered, s)
		}
	}
	var bar strings.Builder
	for _, c := range covered {
		bar.WriteRune(c.glyph(p.plain))
	}
	text := bar.String()
	if !p.plain {
		colour := "36" // cyan
		if stage == lambent.StageInit {
			colour = "33" // yellow: from here on it is billed
		}
		text = "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	value := "-"
	if total > 0 {
		value = millis(total)
	}
	return fmt.Sprintf("%-*s %s %*s\n", labelWidth, cut(printable(stage), labelWidth), text, valueWidth, cut(value, valueWidth))
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	runes := []rune(s)
	return string(runes[:min(len(runes), n)])
}

// cell is how much of one character is covered, and whether from its left edge.
type cell struct {
	share float64
	right bool // the span begins in it
}

// cover marks the cells of a span. However short it is, it shows.
func (p painter) cover(cells []cell, s client.Span) {
	scale := float64(p.width) / p.most
	from, to := max(s.StartMS*scale, 0), (s.StartMS+s.MS)*scale
	if !(to >= from) || from >= float64(p.width) { // NaN, or what cannot be
		return
	}
	to = min(to, float64(p.width))
	for i := int(from); i < p.width && float64(i) <= to; i++ {
		left, right := max(from, float64(i)), min(to, float64(i+1))
		if right <= left && i > int(from) {
			break
		}
		cells[i].share = min(cells[i].share+max(right-left, 1.0/16), 1)
		cells[i].right = left > float64(i) && right == float64(i+1)
	}
}

// blocks are a character filled from its left edge, in eighths.
var blocks = []rune("▏▏▎▍▌▋▊▉█")

func (c cell) glyph(plain bool) rune {
	switch {
	case c.share == 0:
		return ' '
	case plain && c.share < 0.5:
		return '|'
	case plain:
		return '#'
	case c.right && c.share < 0.25:
		return '▕'
	case c.right && c.share < 1:
		return '▐'
	}
	return blocks[int(math.Round(c.share*8))]
}
