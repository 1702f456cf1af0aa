package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

func (a *app) publishCommand() *cobra.Command {
	var description, alias string
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "publish FUNCTION",
		Short: "Make a version of a function as it is now",
		Long: `Make a version of a function: its code and its settings as they are now, which stay so. The number is
printed on standard output. When nothing has changed since the last version, that one is the answer.`,
		Example: "  lambent publish shop --alias live\n  lambent rollout shop:live --to $(lambent publish shop)",
		Args:    exactly(1, "the name of a function"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := client.Publish{}
			if cmd.Flags().Changed("description") {
				in.Description = &description
			}
			return a.publish(cmd, args[0], alias, in)
		},
	})
	cmd.Flags().StringVar(&description, "description", "", "what the version is (default: as the function says)")
	cmd.Flags().StringVar(&alias, "alias", "", "alias to lead to the version, which is made if there is none")
	return cmd
}

func (a *app) publish(cmd *cobra.Command, name, alias string, in client.Publish) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	v, err := c.Publish(cmd.Context(), name, in)
	if err != nil {
		return a.missing(err, name)
	}
	if alias != "" {
		// As with `lambent alias`, the version gets all calls.
		if _, err := c.PutAlias(cmd.Context(), name, alias, client.PutAlias{Version: &v.Version, Weights: &map[string]float64{}}); err != nil {
			return fmt.Errorf("version %s is there, but lead %s:%s to it: %w", v.Version, name, alias, err)
		}
	}
	if a.json {
		return a.printJSON(v)
	}
	if err := a.printf("%s\n", printable(v.Version)); err != nil {
		return err
	}
	if alias != "" {
		a.note("%s:%s leads to version %s", name, alias, printable(v.Version))
		return nil
	}
	a.note("%s:%s is %s as it is now; to lead calls to it: lambent alias %s live %s", name, printable(v.Version), name, name, printable(v.Version))
	return nil
}

func (a *app) versionsCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "versions FUNCTION",
		Short: "List the versions of a function, and which aliases lead to them",
		Args:  exactly(1, "the name of a function"), ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.versions(cmd, args[0]) },
	})
}

func (a *app) versions(cmd *cobra.Command, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	all, err := c.Versions(cmd.Context(), name)
	if err != nil {
		return a.missing(err, name)
	}
	if a.json {
		return a.printJSON(all)
	}
	aliases, err := c.Aliases(cmd.Context(), name)
	if err != nil {
		return err
	}
	leading := map[string][]string{}
	for _, x := range aliases {
		leading[x.Version] = append(leading[x.Version], x.Name)
		for _, v := range slices.Sorted(maps.Keys(x.Weights)) {
			leading[v] = append(leading[v], x.Name+" "+percent(x.Weights[v]))
		}
		for _, r := range x.Rules {
			leading[r.Version] = append(leading[r.Version], x.Name+" by a rule")
		}
	}
	rows := [][]string{{"VERSION", "ALIASES", "RUNTIME", "MEMORY", "CODE", "STATE", "MODIFIED", "DESCRIPTION"}}
	for _, v := range all {
		rows = append(rows, []string{
			v.Version, dash(strings.Join(leading[v.Version], ", ")), v.Runtime, strconv.Itoa(v.MemoryMB) + " MB", bytesText(v.CodeBytes), v.State,
			v.LastModified.Local().Format("2006-01-02 15:04"), dash(v.Description),
		})
	}
	return a.table(rows)
}
