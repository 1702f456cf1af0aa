package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/server"
)

// configFlags are what a configuration comes from on the command line.
type configFlags struct {
	file     string
	set      []string
	settings map[string]*string // by key, those with a flag of their own
}

// configFlags adds the flags to cmd. The most used settings have one of their
// own; --set reaches every one.
func (a *app) configFlags(cmd *cobra.Command) *configFlags {
	f := &configFlags{settings: make(map[string]*string)}
	cmd.Flags().StringVar(&f.file, "config", "", "configuration file, YAML or JSON (default $LAMBENT_CONFIG)")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "setting as KEY=VALUE, such as instances.idle=1m; may be repeated")
	for _, flag := range []struct{ name, key, usage string }{
		{"listen", "listen", "address of the API; port 0 picks a free one (default 127.0.0.1:9000)"},
		{"gateway", "gateway", "address of function URLs (default 127.0.0.1:8080)"},
		{"region", "region", "region in ARNs and signatures (default us-east-1)"},
		{"account", "account", "account id in ARNs, 12 digits (default 000000000000)"},
		{"log-level", "log.level", "debug, info, warn or error (default info)"},
		{"log-format", "log.format", "text or json (default text)"},
	} {
		f.settings[flag.key] = cmd.Flags().String(flag.name, "", flag.usage)
	}
	return f
}

// load reads the configuration as the server sees it.
func (a *app) load(f *configFlags) (config.Config, error) {
	flags := make(map[string]string)
	for key, value := range f.settings {
		if *value != "" {
			flags[key] = *value
		}
	}
	if a.data != "" {
		flags["data"] = a.path(a.data)
	}
	for _, text := range f.set {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return config.Config{}, usageError{errors.New("--set " + text + ": want KEY=VALUE")}
		}
		flags[key] = value
	}
	file := f.file
	if file != "" {
		file = a.path(file)
	}
	return config.Load(config.Options{File: file, Environ: a.Environ, Flags: flags})
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or print the configuration of the server",
		Long: "Settings come from the defaults, a file, the environment and flags; the later wins.\n" +
			"The variable of instances.idle is LAMBENT_INSTANCES_IDLE, and so on.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{Use: "check", Short: "Tell whether the configuration is valid", Args: exactly(0, "no argument")}
	checkFlags := a.configFlags(check)
	check.RunE = func(*cobra.Command, []string) error {
		c, err := a.load(checkFlags)
		if err == nil {
			err = server.Check(c)
		}
		if err != nil {
			return err
		}
		return a.printf("the configuration is valid\n")
	}
	show := a.jsonFlag(&cobra.Command{Use: "print", Short: "Print every setting, secrets hidden", Args: exactly(0, "no argument")})
	showFlags := a.configFlags(show)
	show.RunE = func(*cobra.Command, []string) error {
		c, err := a.load(showFlags)
		if err != nil {
			return err
		}
		format := c.Print
		if a.json {
			format = c.PrintJSON
		}
		text, err := format()
		if err != nil {
			return err
		}
		return a.printf("%s", text)
	}
	cmd.AddCommand(check, show)
	return cmd
}
