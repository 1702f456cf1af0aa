package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

func (a *app) invocationsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "invocations",
		Aliases: []string{"inv"},
		Short:   "Look at calls that are kept, and cancel, retry or replay them",
		Long: "Asynchronous calls are kept from their acceptance on; calls whose caller waited are kept\n" +
			"when they failed, and else as often as async.sample says.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.callListCommand(), a.callGetCommand(), a.callWaitCommand(), a.callCancelCommand(), a.callRetryCommand(), a.callReplayCommand(), a.callExportCommand())
	return cmd
}

// callListFlags are the choices of `lambent invocations list`.
type callListFlags struct {
	status, kind, errorType string
	labels                  []string
	since                   time.Duration
	limit                   int
}

func (a *app) callListCommand() *cobra.Command {
	var f callListFlags
	cmd := &cobra.Command{
		Use:               "list [FUNCTION]",
		Short:             "List calls, last accepted first",
		Example:           "  lambent invocations list hello --status failed --since 1h\n  lambent invocations list --label order=7",
		Args:              between(0, 1, "no more than the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.listCalls(cmd.Context(), args, f) },
	}
	cmd.Flags().StringVar(&f.status, "status", "", "waiting, running, succeeded, failed, cancelled or expired; several with commas")
	cmd.Flags().StringVar(&f.kind, "kind", "", "event, destination or call")
	cmd.Flags().StringVar(&f.errorType, "error", "", "class of the last error")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "NAME=VALUE; may be repeated")
	cmd.Flags().DurationVar(&f.since, "since", 0, "only calls accepted so long ago or less")
	cmd.Flags().IntVar(&f.limit, "limit", 50, "how many")
	return a.jsonFlag(cmd)
}

func (a *app) listCalls(ctx context.Context, args []string, f callListFlags) error {
	labels, err := parseLabels(f.labels)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	o := client.CallOptions{Status: f.status, Kind: f.kind, Error: f.errorType, Labels: labels, Limit: min(max(f.limit, 1), 1000)}
	if len(args) == 1 {
		o.Function = args[0]
	}
	if f.since > 0 {
		o.From = time.Now().Add(-f.since)
	}
	page, err := c.Calls(ctx, o)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(page.Invocations)
	}
	if len(page.Invocations) == 0 {
		a.note("there are no such invocations")
		return nil
	}
	rows := [][]string{{"ID", "FUNCTION", "STATUS", "TRIES", "ACCEPTED", "TOOK", "ERROR"}}
	for _, i := range page.Invocations {
		name := i.Function
		if i.Kind == "destination" {
			name += " (record)"
		}
		rows = append(rows, []string{
			i.ID, name, i.Status, strconv.Itoa(len(i.Attempts) + i.Dropped), i.Created.UTC().Format(time.RFC3339), tookText(i), dash(i.Error),
		})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	if page.Next != "" {
		a.note("there are more: --limit %d shows them", 2*o.Limit)
	}
	return nil
}

// tookText is the time from the acceptance to the end.
func tookText(c client.Call) string {
	if c.Ended.IsZero() {
		return "-"
	}
	return millis(float64(c.Ended.Sub(c.Created).Microseconds()) / 1000)
}

// parseLabels reads NAME=VALUE pairs.
func parseLabels(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--label %s: want NAME=VALUE", text)}
		}
		out[name] = value
	}
	return out, nil
}

// oneCall makes a command on one call.
func (a *app) oneCall(use, short string, run func(ctx context.Context, c *client.Client, id string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactly(1, "the id of an invocation"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, args[0])
		},
	}
}

func (a *app) callGetCommand() *cobra.Command {
	return a.jsonFlag(a.oneCall("get ID", "Show a call with its tries, its payload and its answer", func(ctx context.Context, c *client.Client, id string) error {
		call, err := c.Call(ctx, id, 0)
		if err != nil {
			return err
		}
		return a.printCall(call)
	}))
}

// pollFor is how long one request waits for the end of a call.
const pollFor = 30 * time.Second

func (a *app) callWaitCommand() *cobra.Command {
	var limit time.Duration
	cmd := a.oneCall("wait ID", "Wait until a call has ended, and show it", func(ctx context.Context, c *client.Client, id string) error {
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		return a.waitFor(ctx, c, id)
	})
	cmd.Long = "Wait until a call has ended, and show it. The exit status is 3 when it has not succeeded."
	cmd.Flags().DurationVar(&limit, "timeout", 0, "how long to wait (default: as long as it takes)")
	return a.jsonFlag(cmd)
}

// waitFor shows a call when it has ended.
func (a *app) waitFor(ctx context.Context, c *client.Client, id string) error {
	stop := a.spin("waiting for " + id)
	defer stop()
	shown := ""
	for {
		call, err := c.Call(ctx, id, pollFor)
		if err != nil {
			return err
		}
		if call.HasEnded() {
			stop()
			if err := a.printCall(call); err != nil {
				return err
			}
			if call.Status != client.CallSucceeded {
				return statusError(exitFunctionError)
			}
			return nil
		}
		if p := string(call.Progress); p != shown {
			shown = p
			a.note("progress: %s", printable(p))
		}
	}
}

func (a *app) callCancelCommand() *cobra.Command {
	return a.jsonFlag(a.oneCall("cancel ID", "End a call that waits or runs", func(ctx context.Context, c *client.Client, id string) error {
		call, err := c.Cancel(ctx, id)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(call)
		}
		return a.printf("%s is %s\n", call.ID, call.Status)
	}))
}

func (a *app) callRetryCommand() *cobra.Command {
	return a.jsonFlag(a.oneCall("retry ID", "Make an ended call again, under a new id", func(ctx context.Context, c *client.Client, id string) error {
		again, err := c.Retry(ctx, id)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(again)
		}
		return a.printf("%s\n", again.ID)
	}))
}

func (a *app) callReplayCommand() *cobra.Command {
	var qualifier, function string
	cmd := a.oneCall("replay ID|@FILE", "Run a call's event against another version, and compare the answers", func(ctx context.Context, c *client.Client, id string) error {
		var r client.Replay
		var err error
		if name, ok := strings.CutPrefix(id, "@"); ok {
			r, err = a.replayFile(ctx, c, name, function, qualifier)
		} else {
			r, err = c.Replay(ctx, id, qualifier)
		}
		if err != nil {
			return err
		}
		return a.printReplay(r)
	})
	cmd.Long = "Run the event of a kept call, or of a file that `lambent invocations export` has written,\n" +
		"against another version or alias, and compare the answers. Nothing is kept of the second\n" +
		"run. The exit status is 3 when the answers differ."
	cmd.Example = "  lambent invocations replay 0197... --qualifier 7\n  lambent invocations replay @failure.json --function hello"
	cmd.Flags().StringVar(&qualifier, "qualifier", "", "version or alias (default $LATEST)")
	cmd.Flags().StringVar(&function, "function", "", "another function than the file names")
	return a.jsonFlag(cmd)
}

// exported is a call as a file.
type exported struct {
	Format    string          `json:"format"` // exportFormat
	ID        string          `json:"id"`
	Function  string          `json:"function"`
	Qualifier string          `json:"qualifier,omitempty"`
	Created   time.Time       `json:"created"`
	Payload   json.RawMessage `json:"payload"`
	Status    string          `json:"status"`
	Error     string          `json:"error,omitempty"`
	Answer    json.RawMessage `json:"answer,omitempty"`
}

const exportFormat = "lambent-invocation/1"

func (a *app) callExportCommand() *cobra.Command {
	var output string
	cmd := a.oneCall("export ID", "Write a call to a file that can be replayed", func(ctx context.Context, c *client.Client, id string) error {
		call, err := c.Call(ctx, id, 0)
		if err != nil {
			return err
		}
		if call.Payload == nil {
			return fmt.Errorf("the payload of %s was too large to keep", id)
		}
		e := exported{
			Format: exportFormat, ID: call.ID, Function: call.Function, Qualifier: call.Qualifier, Created: call.Created,
			Payload: call.Payload, Status: call.Status, Error: call.Error,
		}
		if call.Answer != nil {
			e.Answer = call.Answer.Payload
		}
		if output == "" || output == "-" {
			return a.printJSON(e)
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(e); err != nil {
			return err
		}
		if err := os.WriteFile(a.path(output), text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write export: %w", err)
		}
		a.note("%s: replay it with `lambent invocations replay @%s`", output, output)
		return nil
	})
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write (default: standard output)")
	return cmd
}

// replayFile runs an exported event.
func (a *app) replayFile(ctx context.Context, c *client.Client, name, function, qualifier string) (client.Replay, error) {
	var r client.Replay
	data, err := os.ReadFile(a.path(name))
	if err != nil {
		return r, fmt.Errorf("read export: %w", err)
	}
	var e exported
	if err := json.Unmarshal(data, &e); err != nil || e.Format != exportFormat {
		return r, fmt.Errorf("%s is not what `lambent invocations export` writes", name)
	}
	if function == "" {
		function = e.Function
	}
	r.Was = client.Call{ID: e.ID, Function: e.Function, Qualifier: e.Qualifier, Created: e.Created, Status: e.Status, Error: e.Error, Answer: &client.CallAnswer{Payload: e.Answer}}
	r.Now, err = c.Invoke(ctx, function, e.Payload, client.InvokeOptions{Qualifier: qualifier, Tail: true})
	if err != nil {
		return r, a.missing(err, function)
	}
	r.Same = sameJSON(e.Answer, r.Now.Payload)
	if !r.Same {
		r.Differences = []client.Difference{{Path: "$", Was: e.Answer, Now: r.Now.Payload}}
	}
	return r, nil
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	if json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
		return bytes.Equal(a, b)
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

func (a *app) printReplay(r client.Replay) error {
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		rows := [][]string{{"", "STATUS", "ANSWER"}, {"was", r.Was.Status, ""}, {"now", r.Now.Status, short(r.Now.Payload)}}
		if r.Was.Answer != nil {
			rows[1][2] = short(r.Was.Answer.Payload)
		}
		for _, d := range r.Differences {
			rows = append(rows, []string{d.Path, "differs", short(d.Was) + " -> " + short(d.Now)})
		}
		if err := a.table(rows); err != nil {
			return err
		}
	}
	if !r.Same {
		return statusError(exitFunctionError)
	}
	if !a.json {
		a.note("the answers are the same")
	}
	return nil
}

// short is the beginning of a JSON text.
func short(text []byte) string {
	const most = 60
	if len(text) == 0 {
		return "-"
	}
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "..."
	}
	return string(text)
}

// printCall shows a call.
func (a *app) printCall(c client.Call) error {
	if a.json {
		return a.printJSON(c)
	}
	name := c.Function
	if c.Qualifier != "" {
		name += ":" + c.Qualifier
	}
	rows := [][]string{{"id", c.ID}, {"function", name}, {"status", c.Status}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("error", c.Error)
	add("accepted", c.Created.UTC().Format(time.RFC3339Nano))
	if !c.Due.IsZero() && !c.HasEnded() {
		add("due", c.Due.UTC().Format(time.RFC3339Nano))
	}
	if !c.Ended.IsZero() {
		add("ended", c.Ended.UTC().Format(time.RFC3339Nano)+" (after "+tookText(c)+")")
	}
	var labels []string
	for k, v := range c.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	add("labels", strings.Join(labels, " "))
	add("key", c.Key)
	add("retry of", c.RetryOf)
	add("record of", c.For)
	add("goes to", c.To)
	add("progress", string(c.Progress))
	for i, t := range c.Attempts {
		add("try "+strconv.Itoa(c.Dropped+i+1), attemptText(t))
	}
	for _, d := range c.Destinations {
		text := d.To + " (" + d.Condition + "): " + d.Job
		if d.Note != "" {
			text = d.To + " (" + d.Condition + "): " + d.Note
		}
		add("destination", text)
	}
	add("payload", short(c.Payload))
	if c.Answer != nil {
		add("answer", short(c.Answer.Payload))
	}
	if err := a.table(rows); err != nil {
		return err
	}
	if c.Answer != nil && c.Answer.LogTail != "" {
		return a.printf("%s\n", terminalText(lineEnds.Replace(strings.TrimRight(c.Answer.LogTail, "\r\n"))))
	}
	return nil
}

func attemptText(t client.CallAttempt) string {
	text := t.Start.UTC().Format(time.RFC3339Nano) + "  "
	if t.Error == "" {
		text += "ok"
	} else {
		text += strings.TrimSuffix(t.Error+": "+t.Message, ": ")
	}
	if t.Version != "" {
		text += fmt.Sprintf("  %s  version %s", millis(t.DurationMS), t.Version)
	}
	if t.Cold {
		text += "  cold start " + millis(t.InitMS)
	}
	if !t.Next.IsZero() {
		text += "  again at " + t.Next.UTC().Format(time.RFC3339)
	}
	return text
}
