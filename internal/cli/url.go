package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

// urlFlags are what a URL shall be.
type urlFlags struct {
	public, iam, internal, stream, buffered bool
	networks, origins                       []string
}

func (a *app) urlCommand() *cobra.Command {
	var f urlFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "url FUNCTION[:ALIAS] [show|create|delete]",
		Short: "Show, make or delete the URL of a function",
		Long: "Show the URLs of a function, or give it one, change or delete it. A URL answers whoever\n" +
			"signs requests with a key of the account (Signature Version 4, service lambda) or, with\n" +
			"--public, everybody; with --internal, who calls from the server's host or from --network.\n" +
			"The same function also answers at /fn/FUNCTION[:ALIAS]/ of the\n" +
			"gateway, to the same callers; without a URL it takes signed requests there.",
		Example:           "  lambent url hello create --public\n  lambent url hello:live create --iam --stream\n  lambent url hello",
		Args:              between(1, 2, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.url(cmd, args, f) },
	})
	flags := cmd.Flags()
	flags.BoolVar(&f.public, "public", false, "everybody may call it")
	flags.BoolVar(&f.iam, "iam", false, "only signed requests are answered")
	flags.BoolVar(&f.internal, "internal", false, "only who calls from the server's host, or from --network, is answered")
	flags.StringSliceVar(&f.networks, "network", nil, "network of internal callers, such as 10.0.0.0/8")
	flags.BoolVar(&f.stream, "stream", false, "send answers while the function makes them")
	flags.BoolVar(&f.buffered, "buffered", false, "send answers whole")
	flags.StringSliceVar(&f.origins, "origin", nil, "origin of web pages that may call it, or *")
	cmd.MarkFlagsMutuallyExclusive("public", "iam", "internal")
	cmd.MarkFlagsMutuallyExclusive("stream", "buffered")
	return cmd
}

func (a *app) url(cmd *cobra.Command, args []string, f urlFlags) error {
	name, qualifier, err := named(args[0], "")
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	verb := "show"
	if len(args) == 2 {
		verb = args[1]
	}
	switch verb {
	case "show":
		urls, err := c.URLs(cmd.Context(), name)
		if err != nil {
			return a.missing(err, name)
		}
		return a.showURLs(name, urls)
	case "create", "set":
		u, err := c.SetURL(cmd.Context(), name, qualifier, f.change())
		if err != nil {
			return a.missing(err, name)
		}
		if err := a.showURLs(name, []client.URL{u}); err != nil {
			return err
		}
		if u.Auth == client.AuthIAM && !f.iam {
			a.note("only signed requests are answered; --public lets everybody in")
		}
		return nil
	case "delete":
		if err := c.DeleteURL(cmd.Context(), name, qualifier); err != nil {
			return err
		}
		a.note("deleted the URL of %s", args[0])
		return nil
	}
	return usageError{fmt.Errorf("%q is not show, create or delete: see `%s --help`", verb, cmd.CommandPath())}
}

func (f urlFlags) change() (u client.PutURL) {
	switch {
	case f.public:
		u.Auth = new(client.AuthPublic)
	case f.iam:
		u.Auth = new(client.AuthIAM)
	case f.internal:
		u.Auth = new(client.AuthInternal)
	}
	u.Networks = f.networks
	if f.stream || f.buffered {
		u.Stream = new(f.stream)
	}
	if len(f.origins) > 0 {
		u.CORS = &client.CORS{AllowOrigins: f.origins, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"}}
	}
	return u
}

func (a *app) showURLs(name string, urls []client.URL) error {
	if a.json {
		return a.printJSON(urls)
	}
	if len(urls) == 0 {
		a.note("%s has no URL: `lambent url %[1]s create --public` makes one for everybody", name)
		return nil
	}
	rows := [][]string{{"URL", "ALIAS", "CALLERS", "ANSWERS"}}
	for _, u := range urls {
		answers := "whole"
		if u.Stream {
			answers = "streamed"
		}
		alias := u.Qualifier
		if alias == "" {
			alias = "-"
		}
		rows = append(rows, []string{u.URL, alias, u.Auth, answers})
	}
	return a.table(rows)
}
