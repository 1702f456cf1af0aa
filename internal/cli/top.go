package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

// topRows is how many versions a terminal shows.
const topRows = 30

// topFlags are the settings of a look at what runs.
type topFlags struct {
	every time.Duration
	once  bool
}

func (a *app) topCommand() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top [FUNCTION...]",
		Short: "Show what runs now: calls a second, instances and memory of every version",
		Long: "Show the versions that are called or have instances, the busiest first: calls a second and those of them\n" +
			"that failed, over the time of --every; how many run and how many wait for an instance; instances, and what they\n" +
			"hold in memory; how long calls have taken since the version was called again after a while without.\n" +
			"On a terminal it goes on until it is interrupted.",
		Example: "  lambent top\n  lambent top shop --every 5s\n  lambent top --once --json",
		Args:    cobra.ArbitraryArgs, ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.top(cmd, args, f) },
	}
	cmd.Flags().DurationVar(&f.every, "every", 2*time.Second, "time between two looks")
	cmd.Flags().BoolVar(&f.once, "once", false, "look once, as where the output is no terminal")
	return a.jsonFlag(cmd)
}

func (a *app) top(cmd *cobra.Command, names []string, f topFlags) error {
	if f.every <= 0 {
		return usageError{errors.New("--every: want a duration such as 5s")}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	before, at := []client.Scale(nil), time.Now()
	for looks := 0; ; looks++ {
		now, err := c.Scales(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // an interrupt is the regular end
		case err != nil:
			return err
		}
		took := time.Since(at)
		at = at.Add(took)
		if looks > 0 {
			if err := a.showTop(topOf(before, now, names, took)); err != nil || f.once || a.json || !a.StdoutTerminal {
				return err
			}
		}
		before = now
		select {
		case <-ctx.Done():
		case <-time.After(f.every):
		}
	}
}

// topLine is a version, with its calls since the last look.
type topLine struct {
	client.Scale
	CallsPerSecond  float64 `json:"callsPerSecond"`
	FailedPerSecond float64 `json:"failedPerSecond"`
}

// topOf compares two looks at what runs, and puts the busiest version first. names are
// the functions that are asked for; none is all.
func topOf(before, now []client.Scale, names []string, took time.Duration) []topLine {
	was := map[string]client.Scale{}
	for _, v := range before {
		was[v.Function+":"+v.Version] = v
	}
	lines := []topLine{}
	for _, v := range now {
		if len(names) > 0 && !slices.Contains(names, v.Function) {
			continue
		}
		old := was[v.Function+":"+v.Version]
		if old.Calls > v.Calls { // it was forgotten meanwhile, and counts anew
			old = client.Scale{}
		}
		lines = append(lines, topLine{v, float64(v.Calls-old.Calls) / took.Seconds(), float64(v.Failed-min(old.Failed, v.Failed)) / took.Seconds()})
	}
	slices.SortStableFunc(lines, func(x, y topLine) int {
		return cmp.Or(cmp.Compare(y.CallsPerSecond, x.CallsPerSecond), cmp.Compare(y.Running, x.Running), cmp.Compare(y.MemoryBytes, x.MemoryBytes))
	})
	return lines
}

// showTop writes one look, on a terminal in place of the last one.
func (a *app) showTop(lines []topLine) error {
	if a.json {
		return a.printJSON(lines)
	}
	var all topLine
	rows := [][]string{{"VERSION", "CALLS/S", "FAILED/S", "RUNNING", "WAITING", "BUSY", "IDLE", "STARTING", "FROZEN", "MEMORY", "P50", "P99"}}
	for _, v := range lines {
		all.CallsPerSecond += v.CallsPerSecond
		all.FailedPerSecond += v.FailedPerSecond
		all.Ready += v.Ready
		all.Busy += v.Busy
		all.MemoryBytes += v.MemoryBytes
		rows = append(rows, []string{
			v.Function + ":" + v.Version, perSecond(v.CallsPerSecond), perSecond(v.FailedPerSecond), strconv.Itoa(v.Running), strconv.Itoa(v.Waiting),
			strconv.Itoa(v.Busy), strconv.Itoa(max(0, v.Ready-v.Busy)), strconv.Itoa(v.Starting), strconv.Itoa(v.Frozen),
			bytesText(v.MemoryBytes), ofCalls(v.Calls, v.P50MS), ofCalls(v.Calls, v.P99MS),
		})
	}
	if a.StdoutTerminal && a.getenv("TERM") != "dumb" {
		if err := a.printf("\x1b[H\x1b[J"); err != nil { // to the first line, and nothing below
			return err
		}
	}
	more := ""
	if a.StdoutTerminal && len(rows) > topRows+1 {
		more = fmt.Sprintf("; the busiest %d of %d versions", topRows, len(lines))
		rows = rows[:topRows+1]
	}
	err := a.printf("%s calls/s, %s of them failed; %d instances, %d of them busy, with %s%s\n", perSecond(all.CallsPerSecond),
		perSecond(all.FailedPerSecond), all.Ready, all.Busy, bytesText(all.MemoryBytes), more)
	if err != nil || len(lines) == 0 {
		return err
	}
	return a.table(rows)
}

// perSecond is a rate as a person reads it.
func perSecond(rate float64) string {
	if rate == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", rate)
}
