package cli

import (
	"context"
	"fmt"
	"strings"

	"lambent.dev/lambent/internal/client"
)

// deployed is a deploy as JSON, with how the application was tried.
type deployed struct {
	client.Deployed
	Check *client.Started `json:"check,omitempty"`
}

// finish tells of a deploy and, unless unchecked, whether the application starts. The
// error says that it does not.
func (a *app) finish(ctx context.Context, c *client.Client, src source, d client.Deployed, unchecked bool) error {
	if !a.json {
		if err := a.printDeployed(src, d); err != nil {
			return err
		}
	}
	out := deployed{Deployed: d}
	if d.Function.App != nil && !unchecked && d.Trouble == "" {
		out.Check = a.check(ctx, c, d.Function.Name)
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	if d.Trouble != "" {
		return fmt.Errorf("%s is deployed but cannot start: %s", d.Function.Name, printable(d.Trouble))
	}
	if out.Check != nil && out.Check.Failure != nil {
		f := out.Check.Failure
		hint := entryHint(f.Type, f.Message)
		if f.Type == "Runtime.OutOfMemory" {
			hint = "it gets more with --memory"
		}
		if hint != "" {
			hint = "; " + hint
		}
		return fmt.Errorf("%s is deployed but does not start: %s (%s)%s", d.Function.Name, printable(f.Message), printable(f.Type), hint)
	}
	if !a.json {
		a.next(d.Function)
	}
	return nil
}

// check tries an application and shows what it wrote when it does not start. It is
// nil where there could be no try, which is no fault of the application.
func (a *app) check(ctx context.Context, c *client.Client, name string) *client.Started {
	stop := a.spin("starting " + name)
	started, err := c.Start(ctx, name, "")
	stop()
	switch {
	case err != nil:
		a.note("note: whether it starts could not be tried: %s", printable(err.Error()))
		return nil
	case a.json:
	case started.Failure != nil:
		for _, line := range started.Output {
			a.note("  | %s", terminalText(lineEnds.Replace(line)))
		}
	case started.Status >= 500:
		a.note("note: it starts, and answers its first page with %d: see `lambent logs %s`", started.Status, name)
	default:
		a.note("it starts: tried in %s", millis(started.MS))
	}
	return &started
}

// entryHint says what else may be meant where a program cannot be run: the system has
// few words for that.
func entryHint(kind, message string) string {
	switch {
	case kind != "Runtime.InvalidEntrypoint":
	case strings.HasSuffix(message, ": no such file or directory"):
		return "it is not there, or what it names is not: a script's interpreter, a program's loader"
	case strings.HasSuffix(message, ": exec format error"):
		return "it is for another processor, or a script whose first line does not begin with #!"
	case strings.HasSuffix(message, ": permission denied"):
		return "its file may not be run: chmod +x"
	}
	return ""
}
