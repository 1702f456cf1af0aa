package client

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"lambent.dev/lambent"
)

// RouteList is routes of the gateway, each in the form of [lambent.Route].
type RouteList struct {
	Routes []lambent.Route `json:"routes"`
}

// APIKey is a key that opens routes. Key is the key itself: it is in the answer to
// its making and in no other one.
type APIKey struct {
	Name    string    `json:"name"`
	Key     string    `json:"key,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

// APIKeyList is the API keys of a namespace.
type APIKeyList struct {
	Keys []APIKey `json:"keys"`
}

// Routes asks for the routes of the namespace.
func (c *Client) Routes(ctx context.Context) ([]lambent.Route, error) {
	var out RouteList
	err := c.call(ctx, request{method: "GET", path: "/v1/routes"}, &out)
	return out.Routes, err
}

// PutRoutes adds routes, all or none, and returns them as they are now. One with an
// ID takes the place of the route that has it.
func (c *Client) PutRoutes(ctx context.Context, routes ...lambent.Route) ([]lambent.Route, error) {
	var out RouteList
	err := c.put(ctx, "/v1/routes", RouteList{routes}, &out)
	return out.Routes, err
}

// DeleteRoute deletes a route.
func (c *Client) DeleteRoute(ctx context.Context, id string) error {
	return c.call(ctx, request{method: "DELETE", path: "/v1/routes/" + url.PathEscape(id)}, nil)
}

// APIKeys asks for the names of the API keys.
func (c *Client) APIKeys(ctx context.Context) ([]APIKey, error) {
	var out APIKeyList
	err := c.call(ctx, request{method: "GET", path: "/v1/apikeys"}, &out)
	return out.Keys, err
}

// CreateAPIKey makes an API key.
func (c *Client) CreateAPIKey(ctx context.Context, name string) (APIKey, error) {
	body, err := json.Marshal(APIKey{Name: name})
	if err != nil {
		return APIKey{}, lambent.Errorf(lambent.CodeInvalid, "write request: %w", err)
	}
	var out APIKey
	err = c.call(ctx, request{method: "POST", path: "/v1/apikeys", body: body, contentType: "application/json"}, &out)
	return out, err
}

// DeleteAPIKey deletes an API key.
func (c *Client) DeleteAPIKey(ctx context.Context, name string) error {
	return c.call(ctx, request{method: "DELETE", path: "/v1/apikeys/" + url.PathEscape(name)}, nil)
}
