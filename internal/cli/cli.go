// Package cli is the command line. Its commands speak to a server through package
// client; only serve starts one. All of the operating system that it uses, the
// arguments, environment, streams, signals and whether there is a terminal, comes
// in as a [State], so that every command runs in a test as it does in a shell. It
// refuses to know rooms: what it cannot do over HTTP, it does not do.
//
// The exit status is 0 for success, 1 for an error, 2 for a command line that
// makes no sense, 3 when an invoked function failed, and 130 after an interrupt.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// Exit statuses.
const (
	exitOK            = 0
	exitError         = 1
	exitUsage         = 2
	exitFunctionError = 3
	exitInterrupted   = 130
)

// State is all of the operating system that the commands use.
type State struct {
	Args    []string // without the program's name
	Environ []string // "KEY=value"
	Dir     string   // working directory
	UID     int
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// StdinTerminal, StdoutTerminal and StderrTerminal tell which streams are a
	// person's.
	StdinTerminal, StdoutTerminal, StderrTerminal bool
	Columns                                       int // width of the terminal on standard output; 0 is unknown
	// Interrupted gives a context that ends with the first signal to stop. A
	// second signal ends the process in the usual way.
	Interrupted func(context.Context) (context.Context, context.CancelFunc)
	// Replace is what makes another server take this one's place; nil is nothing.
	Replace *Replace
}

// OS is the state of this process.
func OS() State {
	dir, err := os.Getwd()
	if err != nil {
		dir = "." // it was removed; relative paths fail where they are used
	}
	terminal := func(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }
	return State{
		Args: os.Args[1:], Environ: os.Environ(), Dir: dir, UID: os.Geteuid(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdinTerminal: terminal(os.Stdin), StdoutTerminal: terminal(os.Stdout), StderrTerminal: terminal(os.Stderr),
		Columns:     columns(os.Stdout),
		Interrupted: interrupted,
		Replace:     osReplace(),
	}
}

func interrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	// From the first signal on, the next one has its default effect.
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// getenv looks a variable up in the state's environment; the last one wins.
func (s *State) getenv(key string) string {
	value := ""
	for _, entry := range s.Environ {
		if v, ok := strings.CutPrefix(entry, key+"="); ok {
			value = v
		}
	}
	return value
}

// app is one run of the command line.
type app struct {
	*State
	endpoint string // --endpoint
	data     string // --data
	json     bool   // --json
}

// statusError ends the run with a status; its message has been printed.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Main runs the command line and returns the exit status.
func Main(s State) int {
	ctx, stop := s.Interrupted(context.Background())
	defer stop()
	a := &app{State: &s}
	root := a.root()
	root.SetArgs(s.Args)
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	return a.exit(ctx, root.ExecuteContext(ctx))
}

// exit prints err as one line and turns it into a status.
func (a *app) exit(ctx context.Context, err error) int {
	var status statusError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case lambent.CodeOf(err) == lambent.CodeCanceled && ctx.Err() != nil:
		return exitInterrupted
	}
	_, _ = fmt.Fprintln(a.Stderr, "lambent: "+oneLine(err))
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

// oneLine is the text of an error without line breaks.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// root is every command.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "lambent",
		Short:         "Your own Lambda: functions in a sandbox on your own machine",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var number *strconv.NumError
		if before, _, ok := strings.Cut(err.Error(), ": strconv.Parse"); ok && errors.As(err, &number) && number.Func != "ParseBool" {
			err = errors.New(before + ": want a number")
		}
		return usageError{fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())}
	})
	root.PersistentFlags().StringVar(&a.endpoint, "endpoint", "", "URL of the server (default: $LAMBENT_ENDPOINT, or found by its data directory)")
	root.PersistentFlags().StringVar(&a.data, "data", "", "data directory of the server (default: $LAMBENT_DATA, ./.lambent or the one of lambent serve)")
	root.AddCommand(
		a.serveCommand(), a.replaceCommand(), a.staticCommand(), a.deployCommand(), a.invokeCommand(), a.invocationsCommand(), a.logsCommand(), a.listCommand(),
		a.deleteCommand(), a.coldStartCommand(), a.reservesCommand(), a.setCommand(), a.provisionCommand(), a.urlCommand(), a.routeCommand(), a.apiKeyCommand(), a.domainCommand(),
		a.runtimeCommand(), a.scaleCommand(), a.topCommand(), a.publishCommand(), a.versionsCommand(), a.rolloutCommand(), a.aliasCommand(), a.eventsCommand(), a.scheduleCommand(), a.rolesCommand(), a.simulateCommand(), a.configCommand(), a.versionCommand(), a.backupCommand(), a.restoreCommand(),
	)
	return root
}

// noCommand refuses arguments that are no command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q: see `%s --help`", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message = fmt.Sprintf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usageError{errors.New(message)}
}

// exactly wants n arguments; usage names them.
func exactly(n int, usage string) cobra.PositionalArgs { return between(n, n, usage) }

// between wants so many arguments.
func between(least, most int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usageError{fmt.Errorf("want %s: see `%s --help`", usage, cmd.CommandPath())}
		}
		return nil
	}
}

// target finds the server.
func (a *app) target() (client.Target, error) {
	return client.Find(client.FindOptions{Endpoint: a.endpoint, Data: a.data, Dir: a.Dir, UID: a.UID, Getenv: a.getenv})
}

// client speaks to the server.
func (a *app) client() (*client.Client, error) {
	target, err := a.target()
	if err != nil {
		return nil, err
	}
	return client.New(target, nil), nil
}

// jsonFlag adds --json to a command.
func (a *app) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}
