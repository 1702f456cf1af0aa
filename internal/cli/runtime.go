package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/telemetry"
)

func (a *app) runtimeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "runtime",
		Aliases: []string{"runtimes"},
		Short:   "Language runtimes of the server",
		Args:    noCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.jsonFlag(&cobra.Command{
			Use: "list", Aliases: []string{"ls"}, Short: "List the runtimes and which of them functions can use",
			Args: exactly(0, "no argument"),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.runtimeList(cmd) },
		}),
		a.runtimeInstallCommand(),
	)
	return cmd
}

func (a *app) runtimeInstallCommand() *cobra.Command {
	var with []string
	cmd := &cobra.Command{
		Use: "install NAME", Short: "Install a runtime into the server's data directory",
		Example: "  lambent runtime install nodejs22.x\n  lambent runtime install python3.12 --with boto3,requests",
		Args:    exactly(1, "the name of a runtime"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runtimeInstall(cmd, args[0], with) },
	}
	cmd.Flags().StringSliceVar(&with, "with", nil, "packages from PyPI that all functions of a Python runtime see, for example boto3")
	return cmd
}

func (a *app) runtimeList(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	list, err := c.Runtimes(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	rows := [][]string{{"NAME", "STATE", "VERSION", "PATH", "NOTE"}}
	for _, r := range list {
		rows = append(rows, []string{r.Name, r.State, dash(r.Version), dash(r.Path), r.Note})
	}
	return a.table(rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) runtimeInstall(cmd *cobra.Command, name string, with []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	stop := a.spin("installing " + name)
	err = c.InstallRuntime(cmd.Context(), name, with, func(step string) {
		stop()
		a.note("%s", printable(step))
		stop = a.spin("installing " + name)
	})
	stop()
	if err != nil {
		return err
	}
	a.note("%s is ready", name)
	return nil
}

// versions is what `lambent version --json` prints.
type versions struct {
	Client client.Version  `json:"client"`
	Server *client.Version `json:"server,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the server",
		Args:  exactly(0, "no argument"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.version(cmd) },
	})
}

// version tells the server's version only when one is running.
func (a *app) version(cmd *cobra.Command) error {
	b := telemetry.ReadBuild()
	out := versions{Client: client.Version{Version: b.Version, Commit: b.Commit, Go: b.Go}}
	if c, err := a.client(); err == nil {
		if v, err := c.Version(cmd.Context()); err == nil {
			out.Server = &v
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	if err := a.printf("lambent %s\n", versionText(out.Client)); err != nil || out.Server == nil {
		return err
	}
	return a.printf("server  %s\n", printable(versionText(*out.Server)))
}

func versionText(v client.Version) string {
	text := []string{v.Version}
	if v.Commit != "" {
		text = append(text, v.Commit)
	}
	return strings.Join(append(text, v.Go), " ")
}
