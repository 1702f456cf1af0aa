package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// rolloutFlags are the choices of `lambent rollout`.
type rolloutFlags struct {
	to      string
	steps   []string
	every   time.Duration
	abortOn []string
	calls   int
	wait    bool
}

func (a *app) rolloutCommand() *cobra.Command {
	var f rolloutFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "rollout FUNCTION[:ALIAS] --to VERSION",
		Short: "Move the calls of an alias to another version step by step, and back if that does worse",
		Long: `Move the calls of an alias to another version by itself, step by step. Both versions are watched: as soon as
a condition of --abort-on holds for the new one, all calls go to the old one again, and the evidence is kept. A
restarted server goes on with the step that it was at.

A condition is a figure, > and a limit: errors>1%, errors>2x, p50>80ms, p99>2x. A limit in x is times the old
version's. Without an alias the function's only one is taken.`,
		Example: "  lambent rollout shop --to 7 --steps 5,25,50,100 --every 10m --abort-on 'errors>1%,p99>2x'",
		Args:    exactly(1, "the name of a function"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.rollout(cmd, args[0], f) },
	})
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "version to move to")
	flags.StringSliceVar(&f.steps, "steps", []string{"5", "25", "50", "100"}, "percent of the calls that it gets, one after the other")
	flags.DurationVar(&f.every, "every", time.Minute, "how long each step holds")
	flags.StringSliceVar(&f.abortOn, "abort-on", nil, "conditions on which it goes back")
	flags.IntVar(&f.calls, "min-calls", 10, "calls of the new version in a step from which it is judged")
	flags.BoolVar(&f.wait, "wait", false, "wait for its end; status 1 if it went back")
	cmd.AddCommand(a.rolloutStatusCommand(), a.rolloutAbortCommand())
	return cmd
}

func (a *app) rolloutStatusCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "status FUNCTION", Short: "Show the rollouts of a function with their evidence", Args: exactly(1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, alias, err := named(args[0], "")
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.Rollouts(cmd.Context(), name)
			if err != nil {
				return a.missing(err, name)
			}
			all = slices.DeleteFunc(all, func(r lambent.Rollout) bool { return alias != "" && r.Alias != alias })
			return a.printRollouts(name, all)
		},
	})
}

func (a *app) rolloutAbortCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "abort FUNCTION[:ALIAS]", Short: "Lead all calls to the old version again", Args: exactly(1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, name, alias, err := a.aliasOf(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := c.AbortRollout(cmd.Context(), name, alias)
			if err != nil {
				return err
			}
			return a.printRollouts(name, []lambent.Rollout{r})
		},
	})
}

// aliasOf reads FUNCTION[:ALIAS]; without an alias it is the function's only one.
func (a *app) aliasOf(ctx context.Context, text string) (c *client.Client, name, alias string, err error) {
	if name, alias, err = named(text, ""); err != nil {
		return nil, "", "", err
	}
	if c, err = a.client(); err != nil || alias != "" {
		return c, name, alias, err
	}
	all, err := c.Aliases(ctx, name)
	if err != nil {
		return nil, "", "", a.missing(err, name)
	}
	if len(all) != 1 {
		return nil, "", "", usageError{fmt.Errorf("%s has %d aliases: want %s:ALIAS (`lambent alias %s live VERSION` makes one)", name, len(all), name, name)}
	}
	return c, name, all[0].Name, nil
}

func (a *app) rollout(cmd *cobra.Command, text string, f rolloutFlags) error {
	if f.to == "" {
		return usageError{errors.New("--to: want the number of a published version")}
	}
	in := client.NewRollout{To: f.to, EverySeconds: f.every.Seconds(), AbortOn: f.abortOn, MinCalls: f.calls}
	for _, s := range f.steps {
		share, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "%"), 64)
		if err != nil {
			return usageError{fmt.Errorf("--steps: %q is no percent", s)}
		}
		in.Steps = append(in.Steps, share)
	}
	c, name, alias, err := a.aliasOf(cmd.Context(), text)
	if err != nil {
		return err
	}
	r, err := c.Rollout(cmd.Context(), name, alias, in)
	if err != nil {
		return err
	}
	if f.wait {
		if r, err = a.rolledOut(cmd.Context(), c, r); err != nil {
			return err
		}
	}
	if err := a.printRollouts(name, []lambent.Rollout{r}); err != nil {
		return err
	}
	if f.wait && r.State != lambent.RolloutDone {
		return statusError(exitError)
	}
	return nil
}

// rolledOut waits until the rollout has ended.
func (a *app) rolledOut(ctx context.Context, c *client.Client, r lambent.Rollout) (lambent.Rollout, error) {
	stop := a.spin("rolling " + r.Function + ":" + r.Alias + " out")
	defer stop()
	for r.State == lambent.RolloutMoving {
		select {
		case <-ctx.Done():
			return r, lambent.Errorf(lambent.CodeCanceled, "wait for the rollout of %s:%s, which goes on: %w", r.Function, r.Alias, ctx.Err())
		case <-time.After(5 * waitEvery):
		}
		all, err := c.Rollouts(ctx, r.Function)
		if err != nil {
			return r, err
		}
		for _, x := range all {
			if x.Alias == r.Alias {
				r = x
			}
		}
	}
	return r, nil
}

func (a *app) printRollouts(name string, all []lambent.Rollout) error {
	if a.json {
		return a.printJSON(all)
	}
	if len(all) == 0 {
		a.note("%s has no rollouts", name)
		return nil
	}
	for _, r := range all {
		head := fmt.Sprintf("%s:%s  version %s to %s  %s", r.Function, r.Alias, r.From, r.To, r.State)
		if r.Reason != "" {
			head += ", because " + r.Reason
		}
		if err := a.printf("%s\n", printable(head)); err != nil {
			return err
		}
		rows := [][]string{{"STEP", "BEGAN", "LASTED", "NEW: CALLS", "FAILED", "P50", "P99", "OLD: CALLS", "FAILED", "P50", "P99"}}
		for _, e := range r.Evidence {
			lasted := "-"
			if !e.Ended.IsZero() {
				lasted = e.Ended.Sub(e.Began).Round(time.Second).String()
			}
			row := []string{strconv.FormatFloat(e.Percent, 'g', -1, 64) + " %", e.Began.Local().Format("15:04:05"), lasted}
			rows = append(rows, append(append(row, rolloutFigures(e.New)...), rolloutFigures(e.Old)...))
		}
		if err := a.table(rows); err != nil {
			return err
		}
	}
	return nil
}

func rolloutFigures(f lambent.RolloutFigures) []string {
	toMS := func(d time.Duration) string { return millis(float64(d) / float64(time.Millisecond)) }
	return []string{strconv.FormatUint(f.Calls, 10), fmt.Sprintf("%d (%s)", f.Failed, percent(f.Errors())), toMS(f.P50), toMS(f.P99)}
}

// aliasFlags are the choices of `lambent alias`.
type aliasFlags struct {
	weights []string
	when    []string
	plain   bool
	remove  bool
}

func (a *app) aliasCommand() *cobra.Command {
	var f aliasFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "alias FUNCTION [ALIAS [VERSION]]",
		Short: "Show the aliases of a function, or lead one to a version",
		Long: `Show the aliases of a function, make one, or lead one to another version. --weight gives a share of the
calls to a second version, --when sends calls with a header or a cookie of some value to a version of their own.`,
		Example: "  lambent alias shop live 6\n  lambent alias shop live 6 --weight 7=10%\n" +
			"  lambent alias shop live --when 'header X-Tester=yes -> 7' --when 'cookie beta=1 -> 8'\n  lambent alias shop live --plain",
		Args: between(1, 3, "the name of a function, and perhaps an alias and a version"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.alias(cmd, args, f) },
	})
	cmd.Flags().StringArrayVar(&f.weights, "weight", nil, "share of a second version: VERSION=PERCENT%")
	cmd.Flags().StringArrayVar(&f.when, "when", nil, "rule: header NAME=VALUE -> VERSION, or cookie NAME=VALUE -> VERSION")
	cmd.Flags().BoolVar(&f.plain, "plain", false, "end all weights and rules")
	cmd.Flags().BoolVar(&f.remove, "delete", false, "delete the alias")
	return cmd
}

func (a *app) alias(cmd *cobra.Command, args []string, f aliasFlags) error {
	put, err := f.change(args)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	name := args[0]
	switch {
	case f.remove:
		return c.DeleteAlias(cmd.Context(), name, args[1])
	case put != (client.PutAlias{}):
		made, err := c.PutAlias(cmd.Context(), name, args[1], put)
		if err != nil {
			return err
		}
		return a.printAliases(name, []client.Alias{made})
	}
	all, err := c.Aliases(cmd.Context(), name)
	if err != nil {
		return a.missing(err, name)
	}
	if len(args) > 1 {
		all = slices.DeleteFunc(all, func(x client.Alias) bool { return x.Name != args[1] })
		if len(all) == 0 {
			return lambent.Errorf(lambent.CodeNotFound, "%s has no alias %s: `lambent alias %s %s VERSION` makes it", name, args[1], name, args[1])
		}
	}
	return a.printAliases(name, all)
}

// change is what the command line asks for.
func (f aliasFlags) change(args []string) (put client.PutAlias, err error) {
	changes := len(f.weights) > 0 || len(f.when) > 0 || f.plain || f.remove
	if changes && len(args) < 2 {
		return put, usageError{errors.New("want the name of an alias")}
	}
	if len(args) == 3 {
		put.Version = &args[2]
	}
	if len(f.weights) > 0 || f.plain || put.Version != nil { // a version alone gets all calls
		weights := map[string]float64{}
		for _, text := range f.weights {
			version, share, ok := strings.Cut(text, "=")
			number, err := strconv.ParseFloat(strings.TrimSuffix(share, "%"), 64)
			if !ok || err != nil {
				return put, usageError{fmt.Errorf("--weight %s: want VERSION=PERCENT%%", text)}
			}
			weights[version] = number / 100
		}
		put.Weights = &weights
	}
	if len(f.when) > 0 || f.plain {
		rules := []lambent.AliasRule{}
		for _, text := range f.when {
			r, err := parseRule(text)
			if err != nil {
				return put, usageError{fmt.Errorf("--when %s: %w", text, err)}
			}
			rules = append(rules, r)
		}
		put.Rules = &rules
	}
	return put, nil
}

// parseRule reads "header NAME=VALUE -> VERSION" or "cookie NAME=VALUE -> VERSION".
func parseRule(text string) (r lambent.AliasRule, err error) {
	form := errors.New("want header NAME=VALUE -> VERSION, or cookie NAME=VALUE -> VERSION")
	match, version, ok := cutLast(text, "->")
	kind, pair, ok2 := strings.Cut(strings.TrimSpace(match), " ")
	name, value, ok3 := strings.Cut(pair, "=")
	if !ok || !ok2 || !ok3 {
		return r, form
	}
	r.Version, r.Value = strings.TrimSpace(version), strings.TrimSpace(value)
	switch kind {
	case "header":
		r.Header = strings.TrimSpace(name)
	case "cookie":
		r.Cookie = strings.TrimSpace(name)
	default:
		return r, form
	}
	return r, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (a *app) printAliases(name string, all []client.Alias) error {
	if a.json {
		return a.printJSON(all)
	}
	if len(all) == 0 {
		a.note("%s has no aliases: `lambent publish %s --alias live` makes a version and one that leads to it", name, name)
		return nil
	}
	rows := [][]string{{"ALIAS", "VERSION", "WEIGHTS", "RULES"}}
	for _, x := range all {
		var weights, rules []string
		for _, v := range slices.Sorted(maps.Keys(x.Weights)) {
			weights = append(weights, v+"="+strconv.FormatFloat(100*x.Weights[v], 'g', 4, 64)+"%")
		}
		for _, r := range x.Rules {
			kind := "header " + r.Header
			if r.Cookie != "" {
				kind = "cookie " + r.Cookie
			}
			rules = append(rules, kind+"="+r.Value+" -> "+r.Version)
		}
		rows = append(rows, []string{x.Name, x.Version, dash(strings.Join(weights, " ")), dash(strings.Join(rules, "; "))})
	}
	return a.table(rows)
}
