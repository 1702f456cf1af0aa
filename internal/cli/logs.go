package cli

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// logFlags are the choices of `lambent logs`.
type logFlags struct {
	follow  bool
	request string
	since   string
	times   bool
}

// defaultSince is how far back `lambent logs` looks.
const defaultSince = "10m"

func (a *app) logsCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:               "logs FUNCTION[:VERSION|:ALIAS]",
		Short:             "Print what a function, or one version of it, has logged",
		Example:           "  lambent logs hello --follow\n  lambent logs hello --request 8f1c... \n  lambent logs hello --since 2h --json",
		Args:              exactly(1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.logs(cmd, args[0], f) },
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new lines")
	cmd.Flags().StringVar(&f.request, "request", "", "only the invocation with this request id")
	cmd.Flags().StringVar(&f.since, "since", "", "an age such as 90s or 2h, or a time (RFC 3339) (default 10m, and no limit with --request)")
	cmd.Flags().BoolVar(&f.times, "times", false, "begin each line with its time")
	return a.jsonFlag(cmd)
}

func (a *app) logs(cmd *cobra.Command, name string, f logFlags) error {
	since, err := sinceTime(f.since, f.request != "", time.Now())
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	name, qualifier, err := named(name, "")
	if err != nil {
		return err
	}
	stream := "" // of any version
	if qualifier != "" {
		v, err := c.Function(cmd.Context(), name, qualifier)
		if err != nil {
			return a.missing(err, name)
		}
		stream = "[" + v.Version + "]" // the names of streams have it
	}
	lines := 0
	for e, err := range c.Logs(cmd.Context(), name, client.LogOptions{Since: since, RequestID: f.request, Follow: f.follow}) {
		if err != nil {
			return a.ended(cmd, f, a.missing(err, name))
		}
		if !strings.Contains(e.Stream, stream) {
			continue
		}
		lines++
		if err := a.printEvent(e, f.times); err != nil {
			return err
		}
	}
	if lines == 0 && !f.follow {
		a.note("%s", nothingLogged(name, f))
	}
	return nil
}

// ended makes an interrupt the regular end of --follow.
func (a *app) ended(cmd *cobra.Command, f logFlags, err error) error {
	if !f.follow || cmd.Context().Err() == nil {
		return err
	}
	return nil
}

func nothingLogged(name string, f logFlags) string {
	switch {
	case f.request != "":
		return name + " logged nothing for request " + f.request
	case f.since != "":
		return name + " logged nothing since " + f.since
	}
	return name + " logged nothing in the last " + defaultSince + ": --since looks further back"
}

// sinceTime reads --since.
func sinceTime(text string, request bool, now time.Time) (time.Time, error) {
	if text == "" {
		if request {
			return time.Time{}, nil
		}
		text = defaultSince
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	age, err := time.ParseDuration(text)
	if err != nil || age < 0 {
		return time.Time{}, usageError{lambent.Errorf(lambent.CodeInvalid, "--since %q: want an age such as 10m or a time such as 2026-01-02T15:04:05Z", text)}
	}
	return now.Add(-age), nil
}

// lineEnds are what some runtimes put between the lines of an error, which they log
// as one.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func (a *app) printEvent(e client.LogEvent, times bool) error {
	if a.json {
		return a.printLine(e)
	}
	text := lineEnds.Replace(strings.TrimRight(e.Message, "\r\n")) + "\n"
	if times {
		text = e.Time.UTC().Format("2006-01-02T15:04:05.000Z") + " " + text
	}
	if a.StdoutTerminal {
		text = terminalText(text)
	}
	_, err := io.WriteString(a.Stdout, text)
	return err
}
