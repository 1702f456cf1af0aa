package cli

import (
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
			"put by hand: NAME.pem, or NAME.crt with NAME.key. What requests lead to is up to\n" +
			"`lambent route`.",
	}
	var chain, key string
	add := a.jsonFlag(&cobra.Command{
		Use: "add NAME --cert FILE --key FILE", Short: "Give a name its certificate, or another one", Args: exactly(1, "a host name"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addDomain(cmd, args[0], chain, key) },
	})
	add.Flags().StringVar(&chain, "cert", "", "file of the certificate with its chain, PEM")
	add.Flags().StringVar(&key, "key", "", "file of its private key, PEM")
	cmd.AddCommand(add, a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the names and their certificates", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.domains(cmd) },
	}), &cobra.Command{
		Use: "delete NAME", Short: "Forget the certificate of a name", Args: exactly(1, "a host name"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteDomain(cmd, args[0]) },
	})
	return cmd
}

func (a *app) addDomain(cmd *cobra.Command, name, chain, key string) error {
	if chain == "" || key == "" {
		return usageError{errors.New("want --cert and --key, the files of the certificate and of its key")}
	}
	certificate, err := a.readFile(chain)
	if err != nil {
		return err
	}
	private, err := a.readFile(key)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	d, err := c.PutDomain(cmd.Context(), name, client.PutDomain{Certificate: string(certificate), Key: string(private)})
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
		a.note("no name has a certificate: `lambent domain add NAME --cert FILE --key FILE` gives it one")
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
		rows = append(rows, []string{d.Name, d.Expires.Format(time.RFC3339), d.Issuer})
	}
	return a.table(rows)
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
