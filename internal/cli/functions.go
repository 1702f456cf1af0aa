package cli

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

func (a *app) listCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the functions",
		Args:    exactly(0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.list(cmd) },
	})
}

func (a *app) list(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	functions := []client.Function{}
	for f, err := range c.Functions(cmd.Context()) {
		if err != nil {
			return err
		}
		functions = append(functions, f)
	}
	if a.json {
		return a.printJSON(functions)
	}
	if len(functions) == 0 {
		a.note("there are no functions yet: `lambent deploy DIR` makes one")
		return nil
	}
	rows := [][]string{{"NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "STATE", "MODIFIED"}}
	for _, f := range functions {
		rows = append(rows, []string{
			f.Name, f.Runtime, f.Handler, strconv.Itoa(f.MemoryMB) + " MB", fmt.Sprintf("%g s", f.TimeoutSeconds),
			bytesText(f.CodeBytes), f.State, f.LastModified.Local().Format("2006-01-02 15:04"),
		})
	}
	return a.table(rows)
}

func (a *app) deleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete NAME[:VERSION]...",
		Aliases:           []string{"rm"},
		Short:             "Delete functions with all their versions and aliases, or single versions",
		Args:              atLeastOne("the names of functions"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.delete(cmd, args, yes) },
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func atLeastOne(usage string) cobra.PositionalArgs { return between(1, math.MaxInt, usage) }

// delete asks first where there is a person to ask.
func (a *app) delete(cmd *cobra.Command, names []string, yes bool) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if !yes && a.StdinTerminal && a.StderrTerminal {
		_, _ = fmt.Fprintf(a.Stderr, "Delete %s%s? [y/N] ", strings.Join(names, ", "), wholly(names))
		// The end of the input is a no.
		answer, _ := bufio.NewReader(a.Stdin).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return statusError(exitError)
		}
	}
	for _, name := range names {
		remove := c.Delete
		if base, number, ok := strings.Cut(name, ":"); ok {
			remove = func(ctx context.Context, _ string) error { return c.DeleteVersion(ctx, base, number) }
		}
		if err := remove(cmd.Context(), name); err != nil {
			return err
		}
		a.note("deleted %s", name)
	}
	return nil
}

// wholly says what goes with the functions that are named without a version.
func wholly(names []string) string {
	if slices.ContainsFunc(names, func(name string) bool { return !strings.Contains(name, ":") }) {
		return " with all versions and aliases"
	}
	return ""
}

// completeFunctions offers the names of functions to the shell.
func (a *app) completeFunctions(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for f, err := range c.Functions(cmd.Context()) {
		if err != nil {
			break // what is known already is offered
		}
		if strings.HasPrefix(f.Name, prefix) {
			names = append(names, f.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
