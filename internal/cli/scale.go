package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func (a *app) scaleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Show why there are so many instances, and try other settings on a recorded load",
	}
	cmd.AddCommand(a.scaleStatusCommand(), a.scaleWhyCommand(), a.scaleRecordCommand(), a.scaleSimulateCommand())
	return cmd
}

func (a *app) scaleStatusCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "status", Short: "Show the instances and the load of every version",
		Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.scaleStatus(cmd) },
	})
}

func (a *app) scaleStatus(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	list, err := c.Scales(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		a.note("nothing is called, and there are no instances")
		return nil
	}
	rows := [][]string{{"VERSION", "READY", "BUSY", "DRAINING", "STARTING", "FROZEN", "WANTED", "RUNNING", "WAITING", "CALLS", "FAILED", "P50", "P99"}}
	for _, v := range list {
		wanted := "-"
		if n := len(v.Decisions); n > 0 && v.Decisions[n-1].Rule != "demand" {
			wanted = strconv.Itoa(v.Decisions[n-1].Desired)
		}
		rows = append(rows, []string{
			v.Function + ":" + v.Version, strconv.Itoa(v.Ready), strconv.Itoa(v.Busy), strconv.Itoa(v.Draining), strconv.Itoa(v.Starting),
			strconv.Itoa(v.Frozen), wanted, strconv.Itoa(v.Running), strconv.Itoa(v.Waiting),
			strconv.FormatUint(v.Calls, 10), strconv.FormatUint(v.Failed, 10), ofCalls(v.Calls, v.P50MS), ofCalls(v.Calls, v.P99MS),
		})
	}
	return a.table(rows)
}

func (a *app) scaleWhyCommand() *cobra.Command {
	var last int
	cmd := a.jsonFlag(&cobra.Command{
		Use: "why FUNCTION[:QUALIFIER]", Short: "Tell the last decisions about the instances, a sentence each",
		Example: "  lambent scale why shop:live", Args: exactly(1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.scaleWhy(cmd, args[0], last) },
	})
	cmd.Flags().IntVar(&last, "last", 10, "how many")
	return cmd
}

func (a *app) scaleWhy(cmd *cobra.Command, name string, last int) error {
	name, qualifier, err := named(name, "")
	if err != nil {
		return err
	}
	if last < 1 {
		return usageError{errors.New("--last: want a number from 1 on")}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	s, err := c.Scale(cmd.Context(), name, qualifier)
	if err != nil {
		return a.missing(err, name)
	}
	s.Decisions = s.Decisions[max(0, len(s.Decisions)-last):]
	if a.json {
		return a.printJSON(s)
	}
	if s.Trouble != "" {
		a.note("the last starts have failed: %s", terminalText(strings.TrimSpace(s.Trouble)))
	}
	if s.Held != "" {
		a.note("%s", printable(s.Held))
	}
	if len(s.Decisions) == 0 {
		a.note("nothing was decided about %s:%s: it was not called since the server started", s.Function, s.Version)
		return nil
	}
	for _, d := range s.Decisions {
		again := ""
		if d.Times > 1 {
			again = fmt.Sprintf(" (and so until %s, %d times in all)", d.At.Local().Format("15:04:05"), d.Times)
		}
		if err := a.printf("%s  %s%s\n", d.Since.Local().Format("2006-01-02 15:04:05"), printable(d.Sentence), again); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) scaleRecordCommand() *cobra.Command {
	var last time.Duration
	var out string
	cmd := &cobra.Command{
		Use: "record FUNCTION[:QUALIFIER]", Short: "Record the calls of a version, to replay them with `lambent scale simulate`",
		Long: "Record when a version is called and how long that takes, until the time is over or the\n" +
			"command is interrupted, and write it as one JSON object per line.",
		Example: "  lambent scale record shop:live --for 1h --out shop.trace", Args: exactly(1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.scaleRecord(cmd, args[0], last, out) },
	}
	cmd.Flags().DurationVar(&last, "for", time.Minute, "how long")
	cmd.Flags().StringVar(&out, "out", "-", "file to write; - is standard output")
	return cmd
}

func (a *app) scaleRecord(cmd *cobra.Command, name string, last time.Duration, out string) error {
	name, qualifier, err := named(name, "")
	if err != nil {
		return err
	}
	if last <= 0 {
		return usageError{errors.New("--for: want a duration such as 10m")}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.Record(cmd.Context(), name, qualifier); err != nil {
		return a.missing(err, name)
	}
	stop := a.spin("recording " + name)
	select {
	case <-cmd.Context().Done(): // what there is by then is what was asked for
	case <-time.After(last):
	}
	stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), time.Minute)
	defer cancel()
	r, err := c.Recorded(ctx, name, qualifier)
	if err != nil {
		return err
	}
	if r.Cut {
		a.note("there were more calls than are recorded: the first %d are here", len(r.Calls))
	}
	return a.writeRecording(r, out)
}

func (a *app) writeRecording(r client.Recording, path string) error {
	w := bufio.NewWriter(a.Stdout)
	if path != "-" {
		if !filepath.IsAbs(path) {
			path = filepath.Join(a.Dir, path)
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // Flush has told what went wrong
		w = bufio.NewWriter(f)
	}
	lines := json.NewEncoder(w)
	errs := []error{lines.Encode(map[string]any{"function": r.Function, "version": r.Version, "from": r.From})}
	slices.SortFunc(r.Calls, func(x, y client.RecordedCall) int { return int(1000 * (x.AtMS - y.AtMS)) })
	for _, call := range r.Calls {
		errs = append(errs, lines.Encode(call))
	}
	return errors.Join(append(errs, w.Flush())...)
}

// parseScaling reads NAME=VALUE pairs of scaling settings.
func parseScaling(pairs []string) (lambent.Scaling, error) {
	var s lambent.Scaling
	for _, text := range pairs {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return s, usageError{fmt.Errorf("--set %s: want NAME=VALUE, a name among %s", text, strings.Join(lambent.ScalingNames(), ", "))}
		}
		if err := s.Set(strings.TrimPrefix(name, "scale."), value); err != nil {
			return s, usageError{fmt.Errorf("--set: %w", err)}
		}
	}
	return s, nil
}
