package client

import (
	"context"
	"encoding/json"
	"net/url"

	"lambent.dev/lambent"
)

// ColdStarts asks how the latest instances of a version came to be.
func (c *Client) ColdStarts(ctx context.Context, name, qualifier string) (ColdStarts, error) {
	var out ColdStarts
	return out, c.call(ctx, request{method: "GET", path: functionPath(name) + "/coldstarts", query: values("qualifier", qualifier)}, &out)
}

// Retire ends the instances of a version, so that its next call is a cold start.
func (c *Client) Retire(ctx context.Context, name, qualifier string) error {
	return c.call(ctx, request{method: "POST", path: functionPath(name) + "/retire", query: values("qualifier", qualifier)}, nil)
}

// Start tries an HTTP application: it is started, unless it runs, and asked once. One
// that does not run is a Started with Failure set.
func (c *Client) Start(ctx context.Context, name, qualifier string) (Started, error) {
	var out Started
	return out, c.call(ctx, request{method: "POST", path: functionPath(name) + "/start", query: values("qualifier", qualifier)}, &out)
}

// Reserves asks what is kept ready without a function.
func (c *Client) Reserves(ctx context.Context) (Reserves, error) {
	var out Reserves
	return out, c.call(ctx, request{method: "GET", path: "/v1/reserves"}, &out)
}

// Settings asks for a function's settings.
func (c *Client) Settings(ctx context.Context, name string) (Settings, error) {
	var out Settings
	return out, c.call(ctx, request{method: "GET", path: functionPath(name) + "/settings"}, &out)
}

// SetSettings changes those settings of a function that s has, and returns all.
func (c *Client) SetSettings(ctx context.Context, name string, s Settings) (Settings, error) {
	var out Settings
	return out, c.put(ctx, functionPath(name)+"/settings", s, &out)
}

// Provisioned asks for all provisioned concurrency of a function.
func (c *Client) Provisioned(ctx context.Context, name string) ([]Provisioned, error) {
	var out ProvisionedList
	err := c.call(ctx, request{method: "GET", path: functionPath(name) + "/provisioned"}, &out)
	return out.Provisioned, err
}

// ProvisionedOf asks for the provisioned concurrency of a version or an alias.
func (c *Client) ProvisionedOf(ctx context.Context, name, qualifier string) (Provisioned, error) {
	var out Provisioned
	return out, c.call(ctx, request{method: "GET", path: provisionedPath(name, qualifier)}, &out)
}

// Provision sets the provisioned concurrency of a version or an alias.
func (c *Client) Provision(ctx context.Context, name, qualifier string, p Provision) (Provisioned, error) {
	var out Provisioned
	return out, c.put(ctx, provisionedPath(name, qualifier), p, &out)
}

// Unprovision ends the provisioned concurrency of a version or an alias.
func (c *Client) Unprovision(ctx context.Context, name, qualifier string) error {
	return c.call(ctx, request{method: "DELETE", path: provisionedPath(name, qualifier)}, nil)
}

func provisionedPath(name, qualifier string) string {
	return functionPath(name) + "/provisioned/" + url.PathEscape(qualifier)
}

// put sends v as JSON.
func (c *Client) put(ctx context.Context, path string, v, out any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return lambent.Errorf(lambent.CodeInvalid, "write request: %w", err)
	}
	return c.call(ctx, request{method: "PUT", path: path, body: body, contentType: "application/json"}, out)
}
