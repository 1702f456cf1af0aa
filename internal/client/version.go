package client

import (
	"context"
	"encoding/json"
	"net/url"

	"lambent.dev/lambent"
)

// Publish is what a version is made with; the rest is as $LATEST has it.
type Publish struct {
	Description *string `json:"description,omitempty"` // nil takes that of $LATEST
}

// Publish makes a version of what the function is now. When nothing has changed
// since the last one, that one is the answer.
func (c *Client) Publish(ctx context.Context, name string, p Publish) (Function, error) {
	var out Function
	body, err := json.Marshal(p)
	if err != nil {
		return out, lambent.Errorf(lambent.CodeInvalid, "write request: %w", err)
	}
	return out, c.call(ctx, request{method: "POST", path: functionPath(name) + "/versions", body: body, contentType: "application/json"}, &out)
}

// Versions asks for the versions of a function, $LATEST first and then the oldest.
func (c *Client) Versions(ctx context.Context, name string) ([]Function, error) {
	var all []Function
	query := url.Values{}
	for {
		var page FunctionList
		if err := c.call(ctx, request{method: "GET", path: functionPath(name) + "/versions", query: query}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Functions...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

// DeleteVersion deletes one published version, which no alias may lead to.
func (c *Client) DeleteVersion(ctx context.Context, name, number string) error {
	return c.call(ctx, request{method: "DELETE", path: functionPath(name), query: values("qualifier", number)}, nil)
}
