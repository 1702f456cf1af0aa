package cli

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/client"
)

func (a *app) domainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "Show, add and delete the names that the gateway serves by TLS",
		Long: "The gateway serves TLS on tls.listen of the server's configuration, for the names that\n" +
			"have a certificate. Certificates are kept in DATA/certificates, where files may also be\n" +
			"put by hand: NAME.pem, or NAME.crt with NAME.key. With --acme the server gets them and\n" +
			"renews them, from the authority that tls.acme.directory names, to whose terms you agree\n" +
			"by it: port 80 or 443 of the name has to lead to the gateway. What requests lead to is\n" +
			"up to `lambent route`.",
	}
	var o domainFlags
	add := a.jsonFlag(&cobra.Command{
		Use: "add NAME (--cert FILE --key FILE | --acme)", Short: "Give a name its certificate, or another one", Args: exactly(1, "a host name"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addDomain(cmd, args[0], o) },
	})
	add.Flags().StringVar(&o.chain, "cert", "", "file of the certificate with its chain, PEM")
	add.Flags().StringVar(&o.key, "key", "", "file of its private key, PEM")
	add.Flags().BoolVar(&o.acme, "acme", false, "have the server get the certificate, and renew it")
	add.Flags().BoolVar(&o.onDemand, "on-demand", false, "with --acme: get it when a client first asks for the name")
	cmd.AddCommand(add, a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the names and their certificates", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.domains(cmd) },
	}), &cobra.Command{
		Use: "delete NAME", Short: "Forget the certificate of a name", Args: exactly(1, "a host name"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteDomain(cmd, args[0]) },
	})
	return cmd
}

// domainFlags say where a name's certificate comes from.
type domainFlags struct {
	chain, key     string
	acme, onDemand bool
}

func (a *app) addDomain(cmd *cobra.Command, name string, o domainFlags) error {
	in := client.PutDomain{ACME: o.acme, OnDemand: o.onDemand}
	switch files := o.chain != "" && o.key != ""; {
	case o.acme && o.chain+o.key != "", o.onDemand && !o.acme, !o.acme && !files:
		return usageError{errors.New("want --cert and --key, the files of the certificate and of its key, or --acme, and --on-demand with it if you like")}
	case files:
		certificate, err := a.readFile(o.chain)
		if err != nil {
			return err
		}
		private, err := a.readFile(o.key)
		if err != nil {
			return err
		}
		in.Certificate, in.Key = string(certificate), string(private)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	stop := func() {}
	if o.acme && !o.onDemand {
		stop = a.spin("getting a certificate for " + name)
	}
	d, err := c.PutDomain(cmd.Context(), name, in)
	stop()
	if err != nil {
		return err
	}
	return a.showDomains([]client.Domain{d})
}

func (a *app) readFile(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(a.Dir, name)
	}
	return os.ReadFile(name)
}

func (a *app) domains(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	domains, err := c.Domains(cmd.Context())
	if err != nil {
		return err
	}
	if len(domains) == 0 && !a.json {
		a.note("no name has a certificate: `lambent domain add NAME --cert FILE --key FILE` gives it one, or --acme")
		return nil
	}
	return a.showDomains(domains)
}

func (a *app) showDomains(domains []client.Domain) error {
	if a.json {
		return a.printJSON(domains)
	}
	rows := [][]string{{"NAME", "EXPIRES", "ISSUER"}}
	for _, d := range domains {
		rows = append(rows, []string{d.Name, expiry(d), cmp.Or(d.Issuer, d.Problem)})
	}
	return a.table(rows)
}

// expiry says until when a certificate is good, and who sees to the next one.
func expiry(d client.Domain) string {
	switch {
	case d.Problem != "":
		return "none"
	case d.Expires.IsZero():
		return "not yet"
	case d.ACME:
		return d.Expires.Format(time.RFC3339) + ", renewed"
	}
	return d.Expires.Format(time.RFC3339)
}

func (a *app) deleteDomain(cmd *cobra.Command, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.DeleteDomain(cmd.Context(), name); err != nil {
		return err
	}
	a.note("%s has no certificate any more", name)
	return nil
}
