package httpapi

import (
	"net/http"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/gateway/certs"
)

// maxCertificate bounds a request with a certificate, its chain and its key.
const maxCertificate = 2 << 20

func domain(d certs.Domain) client.Domain {
	return client.Domain{Name: d.Name, Names: d.Names, Issuer: d.Issuer, Expires: d.Expires, ACME: d.ACME, Problem: d.Problem}
}

// certificates is the keeper of certificates, if there is one.
func (a *api) certificates() (Domains, error) {
	if a.o.Domains == nil {
		return nil, lambent.Errorf(lambent.CodeUnsupported, "the gateway does not serve TLS: set tls.listen in the server's configuration").WithReason("NoTLS")
	}
	return a.o.Domains, nil
}

func (a *api) listDomains(c *call) error {
	keeper, err := a.certificates()
	if err != nil {
		return err
	}
	out := client.DomainList{Domains: []client.Domain{}}
	for _, d := range keeper.List() {
		out.Domains = append(out.Domains, domain(d))
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) putDomain(c *call) error {
	keeper, err := a.certificates()
	if err != nil {
		return err
	}
	var in client.PutDomain
	if err := c.read(&in); err != nil {
		return err
	}
	name := c.PathValue("name")
	var d certs.Domain
	switch {
	case in.ACME && in.Certificate+in.Key != "":
		return lambent.Errorf(lambent.CodeInvalid, "give a certificate or acme, not both")
	case in.OnDemand && !in.ACME:
		return lambent.Errorf(lambent.CodeInvalid, "onDemand goes with acme")
	case in.ACME:
		d, err = keeper.Issue(c.Context(), name, in.OnDemand)
	default:
		d, err = keeper.Put(c.Context(), name, []byte(in.Certificate), []byte(in.Key))
	}
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, domain(d))
}

func (a *api) deleteDomain(c *call) error {
	keeper, err := a.certificates()
	if err != nil {
		return err
	}
	if err := keeper.Delete(c.Context(), c.PathValue("name")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
