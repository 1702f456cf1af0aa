package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

func (a *app) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule",
		Short: "Show, create and delete what calls functions at set times",
		Long: "A schedule calls a function asynchronously at its times: 'rate(5 minutes)',\n" +
			"'cron(0 9 ? * MON-FRI *)' (minute, hour, day of the month, month, day of the week, year) or\n" +
			"'at(2030-01-02T15:04:05)', in the time zone that --timezone names. The API of Amazon\n" +
			"EventBridge Scheduler, at the server's address, has the same schedules.",
	}
	var group string
	cmd.PersistentFlags().StringVar(&group, "group", "", "group of schedules (default \"default\")")
	cmd.AddCommand(a.scheduleCreateCommand(&group), a.jsonFlag(&cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the schedules", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.schedules(cmd, group) },
	}), a.jsonFlag(&cobra.Command{
		Use: "show NAME", Short: "Show a schedule, and its next three times", Args: exactly(1, "the name of a schedule"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.scheduleOf(cmd, group, args[0]) },
	}), &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a schedule", Args: exactly(1, "the name of a schedule"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteSchedule(cmd, group, args[0]) },
	})
	return cmd
}

// scheduleFlags are the choices of `lambent schedule create`.
type scheduleFlags struct {
	client.Schedule
	input, start, end string
	flexible, maxAge  time.Duration
	retries           int
	replace           bool
}

func (a *app) scheduleCreateCommand(group *string) *cobra.Command {
	var f scheduleFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use: "create NAME --function FUNCTION[:ALIAS] --at EXPRESSION", Short: "Call a function at set times",
		Example: "  lambent schedule create tidy --function clean --at 'cron(0 3 * * ? *)' --timezone Europe/Berlin\n" +
			"  lambent schedule create poll --function fetch:live --at 'rate(5 minutes)' --input '{\"n\": 1}'\n" +
			"  lambent schedule create party --function remind --at 'at(2030-12-31T23:59:00)' --delete-after",
		Args: exactly(1, "the name of the schedule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Name, f.Group = args[0], *group
			if cmd.Flags().Changed("retries") {
				f.MaxRetries = &f.retries
			}
			return a.createSchedule(cmd, f)
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&f.Function, "function", "", "function that is called, and perhaps :VERSION or :ALIAS")
	flags.StringVar(&f.Expression, "at", "", "when: 'rate(...)', 'cron(...)' or 'at(...)'")
	flags.StringVar(&f.Timezone, "timezone", "", "time zone of cron and at, such as Europe/Berlin (default UTC)")
	flags.StringVar(&f.input, "input", "", "event: JSON, @FILE, or - for standard input (default AWS's scheduled event)")
	flags.StringVar(&f.start, "start", "", "no call before, such as 2030-01-02T15:04:05Z; a rate counts from there")
	flags.StringVar(&f.end, "end", "", "no call from that time on")
	flags.DurationVar(&f.flexible, "flexible", 0, "window after each time in which the call may come, in whole minutes")
	flags.IntVar(&f.retries, "retries", 0, "how often the hand-over to the queue is tried again (default 185)")
	flags.DurationVar(&f.maxAge, "max-age", 0, "for how long it is tried, and how late a missed call may be (default 24h)")
	flags.StringVar(&f.DeadLetter, "dead-letter", "", "ARN of a queue for events that could not be handed over")
	flags.StringVar(&f.Description, "description", "", "what it is for")
	flags.BoolVar(&f.Disabled, "disabled", false, "keep it without calling")
	flags.BoolVar(&f.DeleteAfter, "delete-after", false, "delete it after its last call")
	flags.BoolVar(&f.replace, "replace", false, "take the place of the schedule of that name")
	return cmd
}

func (a *app) createSchedule(cmd *cobra.Command, f scheduleFlags) (err error) {
	if f.Function == "" || f.Expression == "" {
		return usageError{errors.New("want --function and --at")}
	}
	if f.flexible%time.Minute != 0 {
		return usageError{fmt.Errorf("--flexible %s: want whole minutes", f.flexible)}
	}
	f.FlexibleMinutes, f.MaxAgeSeconds = int(f.flexible.Minutes()), int(f.maxAge.Seconds())
	for _, t := range []struct {
		flag, text string
		into       *time.Time
	}{{"start", f.start, &f.Start}, {"end", f.end, &f.End}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = time.Parse(time.RFC3339, t.text); err != nil {
			return usageError{fmt.Errorf("--%s %s: want a time such as 2030-01-02T15:04:05Z", t.flag, t.text)}
		}
	}
	if f.input != "" {
		input, err := a.payload(f.input)
		if err != nil {
			return err
		}
		f.Input = string(input)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	write := c.CreateSchedule
	if f.replace {
		write = c.ReplaceSchedule
	}
	s, err := write(cmd.Context(), f.Schedule)
	if err != nil {
		return err
	}
	return a.showSchedule(s)
}

func (a *app) schedules(cmd *cobra.Command, group string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	all, err := c.Schedules(cmd.Context(), group)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(client.ScheduleList{Schedules: all})
	}
	if len(all) == 0 {
		a.note("there are no schedules: `lambent schedule create NAME --function F --at 'rate(5 minutes)'` makes one")
		return nil
	}
	rows := [][]string{{"GROUP", "NAME", "FUNCTION", "WHEN", "NEXT", "LAST"}}
	for _, s := range all {
		rows = append(rows, []string{s.Group, s.Name, s.Function, s.Expression, nextTime(s), timeOr(s.Last, "never")})
	}
	return a.table(rows)
}

// nextTime is when a schedule calls next, or why it does not.
func nextTime(s client.Schedule) string {
	switch {
	case s.Disabled:
		return "disabled"
	case len(s.Next) == 0:
		return "over"
	}
	return s.Next[0].Format(time.RFC3339)
}

func timeOr(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.Format(time.RFC3339)
}

func (a *app) scheduleOf(cmd *cobra.Command, group, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	s, err := c.Schedule(cmd.Context(), group, name)
	if err != nil {
		return err
	}
	return a.showSchedule(s)
}

func (a *app) showSchedule(s client.Schedule) error {
	if a.json {
		return a.printJSON(s)
	}
	next := []string{nextTime(s)}
	if !s.Disabled {
		for _, t := range s.Next[min(1, len(s.Next)):] {
			next = append(next, t.Format(time.RFC3339))
		}
	}
	rows := [][]string{
		{"Schedule", s.Group + "/" + s.Name}, {"Function", s.Function}, {"When", s.Expression + " " + s.Timezone},
		{"Next", strings.Join(next, "  ")}, {"Last", timeOr(s.Last, "never")},
	}
	if s.FlexibleMinutes > 0 {
		rows = append(rows, []string{"Flexible", fmt.Sprintf("%d minutes", s.FlexibleMinutes)})
	}
	rows = append(rows, []string{"Event", cmp.Or(s.Input, "AWS's scheduled event")})
	return a.table(rows)
}

func (a *app) deleteSchedule(cmd *cobra.Command, group, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.DeleteSchedule(cmd.Context(), group, name); err != nil {
		return err
	}
	a.note("schedule %s is deleted", name)
	return nil
}
