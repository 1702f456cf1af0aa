package client

import (
	"context"
	"net/url"
	"time"
)

// Domain is a name that the gateway serves by TLS.
type Domain struct {
	Name    string    `json:"name"`
	Names   []string  `json:"names,omitempty"` // all that its certificate is for
	Issuer  string    `json:"issuer,omitempty"`
	Expires time.Time `json:"expires,omitzero"`  // absent while there is no certificate
	ACME    bool      `json:"acme,omitempty"`    // the server gets the certificate
	Problem string    `json:"problem,omitempty"` // why it has none
}

// PutDomain is a certificate with its chain, and its key, both PEM, or asks the
// server to get one by ACME: now or, on demand, when a client first asks for the
// name.
type PutDomain struct {
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	ACME        bool   `json:"acme,omitempty"`
	OnDemand    bool   `json:"onDemand,omitempty"`
}

// DomainList is the names that have a certificate.
type DomainList struct {
	Domains []Domain `json:"domains"`
}

// Domains asks for the names that have a certificate.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	var out DomainList
	err := c.call(ctx, request{method: "GET", path: "/v1/domains"}, &out)
	return out.Domains, err
}

// PutDomain gives a name its certificate, or another one.
func (c *Client) PutDomain(ctx context.Context, name string, d PutDomain) (Domain, error) {
	var out Domain
	err := c.put(ctx, "/v1/domains/"+url.PathEscape(name), d, &out)
	return out, err
}

// DeleteDomain forgets a name's certificate.
func (c *Client) DeleteDomain(ctx context.Context, name string) error {
	return c.call(ctx, request{method: "DELETE", path: "/v1/domains/" + url.PathEscape(name)}, nil)
}
