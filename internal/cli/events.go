package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// eventFlags are the choices of `lambent events set`.
type eventFlags struct {
	retries              int
	maxAge               time.Duration
	onSuccess, onFailure string
	deadLetter           string
	rules                []string
	noRules              bool
}

func (a *app) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show and change what becomes of a function's asynchronous calls",
	}
	cmd.AddCommand(a.eventsSetCommand(), a.jsonFlag(&cobra.Command{
		Use: "show FUNCTION[:QUALIFIER]", Short: "Show how often its events are tried, for how long, who is told, and what waits",
		Args: exactly(1, "the name of a function"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.showEvents(cmd, args[0]) },
	}), &cobra.Command{
		Use: "remove FUNCTION[:QUALIFIER]", Short: "Bring back the defaults",
		Long: `Bring back the defaults of a function, one of its versions or an alias: no destinations, no rules, no dead letter.
Only the dead letter of a published version stays: it is a part of the version, which does not change any more.`,
		Args: exactly(1, "the name of a function"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.removeEvents(cmd, args[0]) },
	})
	return cmd
}

func (a *app) eventsSetCommand() *cobra.Command {
	var f eventFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "set FUNCTION[:QUALIFIER]",
		Short: "Change what becomes of a function's asynchronous calls",
		Long: `Change what becomes of the asynchronous calls of a function, one of its versions or an alias. What no flag names
stays as it is.

A destination is the ARN of a function, a queue, a topic, a bucket or an event bus, the URL of an HTTP endpoint, or
none. A rule is for errors whose type fits its pattern, in which * is any text; the first one that fits holds, and
--retries for all other errors:

  PATTERN retries=N delay=TIME factor=N max-delay=TIME jitter=SHARE

of which only retries has to be there. The rules that are given replace all that there were.`,
		Example: "  lambent events set hello --retries 1 --max-age 1h --on-failure https://example.com/hook\n" +
			"  lambent events set hello --rule 'Net* retries=9 delay=1s factor=2 jitter=0.2' --rule '* retries=0'",
		Args: exactly(1, "the name of a function"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.setEvents(cmd, args[0], f) },
	})
	flags := cmd.Flags()
	flags.IntVar(&f.retries, "retries", lambent.DefaultRetries, "how often a call that failed is tried again")
	flags.DurationVar(&f.maxAge, "max-age", lambent.DefaultEventAge, "how old an event may be when it is tried")
	flags.StringVar(&f.onSuccess, "on-success", "", "destination of what succeeded; none takes it back")
	flags.StringVar(&f.onFailure, "on-failure", "", "destination of what failed; none takes it back")
	flags.StringVar(&f.deadLetter, "dead-letter", "", "ARN of where the events of calls that failed go; none takes it back")
	flags.StringArrayVar(&f.rules, "rule", nil, "how calls are tried again after errors of a kind; may be repeated")
	flags.BoolVar(&f.noRules, "no-rules", false, "drop all rules")
	return cmd
}

// change is what the flags that were given ask for.
func (f *eventFlags) change(given func(flag string) bool) (client.EventSettings, error) {
	var s client.EventSettings
	if given("retries") {
		s.MaxRetries = &f.retries
	}
	if given("max-age") {
		s.MaxAgeSeconds = new(f.maxAge.Seconds())
	}
	if given("on-success") {
		s.OnSuccess = eventDestination(f.onSuccess)
	}
	if given("on-failure") {
		s.OnFailure = eventDestination(f.onFailure)
	}
	if given("dead-letter") {
		if f.deadLetter == none {
			f.deadLetter = ""
		}
		s.DeadLetter = &f.deadLetter
	}
	if f.noRules && len(f.rules) > 0 {
		return s, usageError{errors.New("--no-rules and --rule: want one of them")}
	}
	if f.noRules || len(f.rules) > 0 {
		s.Rules = &[]client.RetryRule{}
	}
	for _, text := range f.rules {
		r, err := retryRule(text)
		if err != nil {
			return s, usageError{fmt.Errorf("--rule %q: %w", text, err)}
		}
		*s.Rules = append(*s.Rules, r)
	}
	if s == (client.EventSettings{}) {
		return s, usageError{errors.New("want a flag that says what to change: see `lambent events set --help`")}
	}
	return s, nil
}

// none is what takes a destination back.
const none = "none"

func eventDestination(text string) *client.EventDestination {
	switch {
	case text == none:
		return &client.EventDestination{}
	case strings.HasPrefix(text, "http://"), strings.HasPrefix(text, "https://"):
		return &client.EventDestination{URL: text}
	}
	return &client.EventDestination{ARN: text}
}

// retryRule reads PATTERN NAME=VALUE...
func retryRule(text string) (client.RetryRule, error) {
	words := strings.Fields(text)
	if len(words) == 0 || strings.Contains(words[0], "=") {
		return client.RetryRule{}, errors.New("want a pattern for the error's type first, such as *")
	}
	r := client.RetryRule{Error: words[0], MaxRetries: -1}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		if err := setRule(&r, name, value); err != nil {
			return r, fmt.Errorf("%s: %w", word, err)
		}
	}
	if r.MaxRetries < 0 {
		return r, errors.New("want retries=N, from 0 on")
	}
	return r, nil
}

func setRule(r *client.RetryRule, name, value string) (err error) {
	var d time.Duration
	switch name {
	case "retries":
		r.MaxRetries, err = strconv.Atoi(value)
	case "factor":
		r.Factor, err = strconv.ParseFloat(value, 64)
	case "jitter":
		r.Jitter, err = strconv.ParseFloat(value, 64)
	case "delay":
		d, err = time.ParseDuration(value)
		r.DelaySeconds = d.Seconds()
	case "max-delay":
		d, err = time.ParseDuration(value)
		r.MaxDelaySeconds = d.Seconds()
	default:
		return errors.New("there is no such part: want retries, delay, factor, max-delay or jitter")
	}
	if err != nil {
		return errors.New("want a number, or a time such as 30s for a delay")
	}
	return nil
}

func (a *app) setEvents(cmd *cobra.Command, text string, f eventFlags) error {
	change, err := f.change(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	c, name, qualifier, err := a.eventsOf(text)
	if err != nil {
		return err
	}
	s, err := c.SetEventSettings(cmd.Context(), name, qualifier, change)
	if err != nil {
		return a.missing(err, name)
	}
	return a.printEvents(text, s)
}

func (a *app) showEvents(cmd *cobra.Command, text string) error {
	c, name, qualifier, err := a.eventsOf(text)
	if err != nil {
		return err
	}
	if _, err := c.Function(cmd.Context(), name, qualifier); err != nil {
		return a.missing(err, name)
	}
	s, err := c.EventSettings(cmd.Context(), name, qualifier)
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		a.note("nothing is set for %s: these are the defaults", text)
		s, err = client.EventSettings{Qualifier: qualifier}, nil
	}
	if err != nil {
		return err
	}
	if err := a.printEvents(text, s); err != nil || a.json {
		return err
	}
	return a.printQueue(cmd, c, name)
}

// printQueue tells what waits of a function's calls, whatever version they are for.
func (a *app) printQueue(cmd *cobra.Command, c *client.Client, name string) error {
	q, err := c.EventQueue(cmd.Context(), name)
	if err != nil || q.Waiting+q.Running == 0 {
		return err
	}
	rows := [][]string{{"running", strconv.Itoa(q.Running)}, {"waiting", strconv.Itoa(q.Waiting)}}
	if q.OldestSeconds >= 1 {
		rows = append(rows, []string{"oldest", shortDuration(time.Duration(q.OldestSeconds) * time.Second)})
	}
	return a.table(rows)
}

func (a *app) removeEvents(cmd *cobra.Command, text string) error {
	c, name, qualifier, err := a.eventsOf(text)
	if err != nil {
		return err
	}
	if err := c.DeleteEventSettings(cmd.Context(), name, qualifier); err != nil {
		return a.missing(err, name)
	}
	a.note("%s has the defaults again", text)
	if s, err := c.EventSettings(cmd.Context(), name, qualifier); err == nil && s.DeadLetter != nil {
		a.note("the dead letter %s stays: it is a part of the version", *s.DeadLetter)
	}
	return nil
}

// eventsOf reads FUNCTION[:QUALIFIER].
func (a *app) eventsOf(text string) (c *client.Client, name, qualifier string, err error) {
	if name, qualifier, err = named(text, ""); err != nil {
		return nil, "", "", err
	}
	c, err = a.client()
	return c, name, cmp.Or(qualifier, lambent.Latest), err
}

func (a *app) printEvents(name string, s client.EventSettings) error {
	if a.json {
		return a.printJSON(s)
	}
	retries, age := lambent.DefaultRetries, lambent.DefaultEventAge
	if s.MaxRetries != nil {
		retries = *s.MaxRetries
	}
	if s.MaxAgeSeconds != nil {
		age = time.Duration(*s.MaxAgeSeconds * float64(time.Second))
	}
	rows := [][]string{{name, "retries", strconv.Itoa(retries)}, {"", "max-age", shortDuration(age)}}
	if s.Rules != nil {
		for _, r := range *s.Rules {
			rows = append(rows, []string{"", "rule", printable(ruleText(r))})
		}
	}
	for _, d := range []struct {
		name string
		to   *client.EventDestination
	}{{"on-success", s.OnSuccess}, {"on-failure", s.OnFailure}} {
		if d.to != nil {
			rows = append(rows, []string{"", d.name, printable(cmp.Or(d.to.URL, d.to.ARN))})
		}
		if d.to != nil && d.to.Secret != "" {
			rows = append(rows, []string{"", "  secret", printable(d.to.Secret)})
		}
	}
	if s.DeadLetter != nil && *s.DeadLetter != "" {
		rows = append(rows, []string{"", "dead-letter", printable(*s.DeadLetter)})
	}
	return a.table(rows)
}

// ruleText is a rule as --rule takes it.
func ruleText(r client.RetryRule) string {
	text := cmp.Or(r.Error, "*") + " retries=" + strconv.Itoa(r.MaxRetries)
	part := func(name, value string, set bool) {
		if set {
			text += " " + name + "=" + value
		}
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	span := func(seconds float64) string { return shortDuration(time.Duration(seconds * float64(time.Second))) }
	part("delay", span(r.DelaySeconds), r.DelaySeconds > 0)
	part("factor", number(r.Factor), r.Factor > 0)
	part("max-delay", span(r.MaxDelaySeconds), r.MaxDelaySeconds > 0)
	part("jitter", number(r.Jitter), r.Jitter > 0)
	return text
}
