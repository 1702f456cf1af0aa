package client

import (
	"context"
	"net/url"
	"time"
)

// Who may call a function URL.
const (
	// AuthPublic is everybody, AuthIAM who signs with a key of the account,
	// AuthInternal who calls from the server's host or from Networks. With
	// AuthNobody, which is not asked for, AuthType is NONE and the function's
	// policy lets nobody in.
	AuthPublic   = "public"
	AuthIAM      = "iam"
	AuthInternal = "internal"
	AuthNobody   = "nobody"
)

// URL is a function URL.
type URL struct {
	URL          string    `json:"url"`
	Qualifier    string    `json:"qualifier,omitempty"` // an alias
	Auth         string    `json:"auth"`
	Networks     []string  `json:"networks,omitempty"` // of AuthInternal, in CIDR notation
	Stream       bool      `json:"stream"`
	CORS         *CORS     `json:"cors,omitempty"`
	Created      time.Time `json:"created"`
	LastModified time.Time `json:"lastModified"`
}

// PutURL is what a function URL shall be. A nil member keeps what it has; a new
// one is AuthIAM, does not stream and answers to no other origin.
type PutURL struct {
	Auth     *string  `json:"auth,omitempty"`
	Networks []string `json:"networks,omitempty"` // with AuthInternal, in CIDR notation
	Stream   *bool    `json:"stream,omitempty"`
	CORS     *CORS    `json:"cors,omitempty"`
}

// CORS is what a function URL answers to browsers of other origins.
type CORS struct {
	AllowOrigins     []string `json:"allowOrigins,omitempty"`
	AllowMethods     []string `json:"allowMethods,omitempty"`
	AllowHeaders     []string `json:"allowHeaders,omitempty"`
	ExposeHeaders    []string `json:"exposeHeaders,omitempty"`
	AllowCredentials bool     `json:"allowCredentials,omitempty"`
	MaxAgeSeconds    int      `json:"maxAgeSeconds,omitempty"`
}

// URLList is every URL of a function.
type URLList struct {
	URLs []URL `json:"urls"`
}

// URLs asks for all URLs of a function.
func (c *Client) URLs(ctx context.Context, name string) ([]URL, error) {
	var out URLList
	err := c.call(ctx, request{method: "GET", path: functionPath(name) + "/urls"}, &out)
	return out.URLs, err
}

// SetURL gives a function or an alias its URL, or changes it.
func (c *Client) SetURL(ctx context.Context, name, qualifier string, u PutURL) (URL, error) {
	var out URL
	return out, c.put(ctx, urlPath(name, qualifier), u, &out)
}

// DeleteURL takes it away.
func (c *Client) DeleteURL(ctx context.Context, name, qualifier string) error {
	return c.call(ctx, request{method: "DELETE", path: urlPath(name, qualifier)}, nil)
}

// urlPath names a URL by the alias, or by "-" for the function's own.
func urlPath(name, qualifier string) string {
	if qualifier == "" {
		qualifier = "-"
	}
	return functionPath(name) + "/urls/" + url.PathEscape(qualifier)
}
