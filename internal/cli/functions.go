package cli

import (
	"bufio"
	"fmt"
	"math"
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
		Use:               "delete NAME...",
		Aliases:           []string{"rm"},
		Short:             "Delete functions with all their versions and aliases",
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
		_, _ = fmt.Fprintf(a.Stderr, "Delete %s with all versions and aliases? [y/N] ", strings.Join(names, ", "))
		// The end of the input is a no.
		answer, _ := bufio.NewReader(a.Stdin).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return statusError(exitError)
		}
	}
	for _, name := range names {
		if err := c.Delete(cmd.Context(), name); err != nil {
			return err
		}
		a.note("deleted %s", name)
	}
	return nil
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
