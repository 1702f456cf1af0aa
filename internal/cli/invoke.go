package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// invokeFlags are the choices of `lambent invoke`.
type invokeFlags struct {
	data      string
	qualifier string
	tail      bool
	laterFlags
}

func (a *app) invokeCommand() *cobra.Command {
	var f invokeFlags
	cmd := &cobra.Command{
		Use:   "invoke NAME [PAYLOAD]",
		Short: "Call a function and print its answer",
		Long: "Call a function, print its answer on standard output and the report of the call on\n" +
			"standard error. The exit status is 3 when the function failed.",
		Example:           "  lambent invoke hello '{\"name\": \"you\"}'\n  lambent invoke hello -d @event.json --tail\n  echo '[1, 2]' | lambent invoke hello -d -",
		Args:              between(1, 2, "the name of a function and perhaps a payload"),
		ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				if f.data != "" {
					return usageError{errors.New("there are two payloads: one by --payload and one behind the name")}
				}
				f.data = args[1]
			}
			return a.invoke(cmd, args[0], f)
		},
	}
	// The inherited --data is the data directory; a payload is -d here.
	cmd.Flags().StringVarP(&f.data, "payload", "d", "", "payload: JSON, @FILE, or - for standard input")
	cmd.Flags().StringVar(&f.qualifier, "qualifier", "", "version or alias (default $LATEST)")
	cmd.Flags().BoolVar(&f.tail, "tail", false, "print the last 4 KB of the log, too")
	f.register(cmd)
	return a.jsonFlag(cmd)
}

func (a *app) invoke(cmd *cobra.Command, name string, f invokeFlags) error {
	later, err := f.later()
	if err != nil {
		return err
	}
	payload, err := a.payload(f.data)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if name, f.qualifier, err = named(name, f.qualifier); err != nil {
		return err
	}
	if later {
		return a.invokeLater(cmd.Context(), c, client.CallRequest{Function: name, Qualifier: f.qualifier, Payload: payload}, f.laterFlags)
	}
	stop := a.spin("invoking " + name)
	result, err := c.Invoke(cmd.Context(), name, payload, client.InvokeOptions{Qualifier: f.qualifier, Tail: f.tail})
	stop()
	if err != nil {
		return refused(a.missing(err, name), name)
	}
	if err := a.printInvocation(result); err != nil {
		return err
	}
	if result.Error == nil {
		return nil
	}
	if hint := failureHint(name, result); hint != "" && !a.json {
		a.note("%s", printable(hint))
	}
	return statusError(exitFunctionError)
}

// failureHint says what to do about a failure of which the answer tells little: the
// function's process is gone, so that nobody could write a stack trace.
func failureHint(name string, r client.Invocation) string {
	killed := strings.Contains(r.Error.Message, "signal: killed")
	switch {
	case r.Error.Type == "Sandbox.Timedout" && r.Report.Cold && r.Report.DurationMS == 0:
		return "it never asked for an event: it may need longer to start, with --timeout, or be a program that listens, which is deployed with --port"
	case r.Error.Type == "Sandbox.Timedout":
		return "it may take longer when it is deployed with --timeout"
	case r.Error.Type != "Runtime.ExitError":
		return entryHint(r.Error.Type, r.Error.Message)
	case killed && r.Report.MaxMemoryMB >= r.Report.MemoryMB:
		return fmt.Sprintf("it has used all of its %d MB; it gets more when it is deployed with --memory", r.Report.MemoryMB)
	}
	return fmt.Sprintf("what it wrote before its end: lambent logs %s --request %s", name, r.RequestID)
}

// missing adds to the error of a function, or of a version or an alias of it, that
// does not exist what to do.
func (a *app) missing(err error, name string) error {
	switch {
	case lambent.CodeOf(err) != lambent.CodeNotFound:
		return err
	case strings.Contains(err.Error(), ":function:"+name+":") && !strings.Contains(err.Error(), ":"+lambent.Latest):
		return lambent.Errorf(lambent.CodeNotFound, "%w (`lambent versions %s` shows what there is of it)", err, name)
	}
	return lambent.Errorf(lambent.CodeNotFound, "%w (`lambent list` shows the functions, `lambent deploy DIR --name %s` makes this one)", err, name)
}

// refused adds to the error of a call that found no room, which AWS words the same for
// every limit, which one it was and what to do.
func refused(err error, name string) error {
	var hint string
	switch lambent.ReasonOf(err) {
	case "ReservedFunctionConcurrentInvocationLimitExceeded":
		hint = fmt.Sprintf("as many calls of %[1]s run as its reserved concurrency lets, which may be 0: `lambent set %[1]s` shows it, and concurrency=N or concurrency=off changes it", name)
	case "ConcurrentInvocationLimitExceeded":
		hint = fmt.Sprintf("no room was left for another call: `lambent top` shows what runs, `lambent scale why %s` what starts wait for; the limits are instances.concurrency and instances.memory", name)
	default:
		return err
	}
	return lambent.Errorf(lambent.CodeOf(err), "%w %s", err, hint).WithReason(lambent.ReasonOf(err))
}

// payload reads the payload that a flag names. None is {}.
func (a *app) payload(text string) ([]byte, error) {
	var data []byte
	var err error
	switch {
	case text == "":
		return []byte("{}"), nil
	case text == "-":
		data, err = io.ReadAll(io.LimitReader(a.Stdin, lambent.MaxPayload+1))
	case strings.HasPrefix(text, "@"):
		data, err = os.ReadFile(a.path(text[1:]))
	default:
		data = []byte(text)
	}
	if err != nil {
		return nil, fmt.Errorf("read payload: %w", err)
	}
	if len(data) > lambent.MaxPayload {
		return nil, fmt.Errorf("the payload has more than %d bytes, the most a function takes", lambent.MaxPayload)
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("the payload is not JSON; a text needs its quotes: -d '\"text\"'")
	}
	return data, nil
}

// path is a path that the user gave.
func (a *app) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(a.Dir, name)
}

func (a *app) printInvocation(r client.Invocation) error {
	if a.json {
		return a.printJSON(r)
	}
	text := string(r.Payload)
	if a.StdoutTerminal {
		text = terminalText(text)
	}
	if err := a.printf("%s\n", text); err != nil {
		return err
	}
	if r.LogTail != "" {
		_, _ = io.WriteString(a.Stderr, a.forStderr(r.LogTail))
		if !strings.HasSuffix(r.LogTail, "\n") {
			a.note("")
		}
	}
	if r.Error != nil {
		a.note("the function failed: %s", failureText(r.Error))
		if hint := sdkHint(r.Error); hint != "" {
			a.note("hint: %s", hint)
		}
	}
	a.note("%s", reportLine(r))
	return nil
}

// forStderr is text of a function, made harmless when a terminal shows it.
func (a *app) forStderr(text string) string {
	if a.StderrTerminal {
		return terminalText(text)
	}
	return text
}

// reportLine sums a call up.
func reportLine(r client.Invocation) string {
	p := r.Report
	start := "warm"
	if p.Cold {
		start = "cold start " + millis(p.InitMS)
	}
	return fmt.Sprintf("%s  took %s (%s), billed %s, memory %d of %d MB, version %s",
		r.RequestID, millis(p.DurationMS), start, millis(p.BilledMS), p.MaxMemoryMB, p.MemoryMB, printable(r.Version))
}
