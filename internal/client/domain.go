package client

import (
	"context"
	"net/url"
	"time"
)

// Domain is a name that the gateway serves by TLS.
type Domain struct {
	Name    string    `json:"name"`
	Names   []string  `json:"names"` // all that its certificate is for
	Issuer  string    `json:"issuer"`
	Expires time.Time `json:"expires"`
}

// PutDomain is a certificate with its chain, and its key, both PEM.
type PutDomain struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
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
