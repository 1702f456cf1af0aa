package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func (a *app) apiKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apikey",
		Short: "Show, make and delete API keys, which open routes",
	}
	cmd.AddCommand(a.jsonFlag(&cobra.Command{
		Use: "create NAME", Short: "Make an API key and show it, once", Args: exactly(1, "a name for the key"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.createAPIKey(cmd, args[0]) },
	}), a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the names of the API keys", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.apiKeys(cmd) },
	}), &cobra.Command{
		Use: "delete NAME", Short: "Delete an API key", Args: exactly(1, "the name of a key"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteAPIKey(cmd, args[0]) },
	})
	return cmd
}

func (a *app) createAPIKey(cmd *cobra.Command, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	k, err := c.CreateAPIKey(cmd.Context(), name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(k)
	}
	a.note("This is the key %s; it is shown only now:", name)
	return a.printf("%s\n", k.Key)
}

func (a *app) apiKeys(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	keys, err := c.APIKeys(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(keys)
	}
	if len(keys) == 0 {
		a.note("there are no API keys: `lambent apikey create NAME` makes one")
		return nil
	}
	rows := [][]string{{"NAME", "CREATED"}}
	for _, k := range keys {
		rows = append(rows, []string{k.Name, k.Created.Format(time.RFC3339)})
	}
	return a.table(rows)
}

func (a *app) deleteAPIKey(cmd *cobra.Command, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.DeleteAPIKey(cmd.Context(), name); err != nil {
		return err
	}
	a.note("deleted the API key %s", name)
	return nil
}
