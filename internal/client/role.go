package client

import (
	"context"
	"encoding/json"
	"net/url"
)

// Role is a role, and which functions have it.
type Role struct {
	ARN string `json:"arn"`
	// OnRecord is false of a role that a function has and nobody has made: it allows
	// what every function may do.
	OnRecord    bool     `json:"onRecord"`
	Description string   `json:"description,omitempty"`
	Functions   []string `json:"functions"` // whose $LATEST has it
	Attached    []string `json:"attached,omitempty"`
	Boundary    string   `json:"boundary,omitempty"` // ARN of a policy
	// Trust and Policies are in the answer about one role only.
	Trust    json.RawMessage `json:"trust,omitempty"`
	Policies []RolePolicy    `json:"policies,omitempty"`
}

// RolePolicy is one of a role's policies.
type RolePolicy struct {
	Name string `json:"name"` // of an inline policy, or the ARN of a managed one
	Kind string `json:"kind"` // "inline", "attached" or "boundary"
	// Document is absent for a policy of AWS's that is not known here, which allows nothing.
	Document json.RawMessage `json:"document,omitempty"`
}

// RoleList is what roles there are.
type RoleList struct {
	Roles []Role `json:"roles"`
}

// Permission is whether a function may do something, and why.
type Permission struct {
	Function string `json:"function"`
	Role     string `json:"role"` // ARN
	Action   string `json:"action"`
	Resource string `json:"resource"` // ARN, or "*" for one that is not told
	Allowed  bool   `json:"allowed"`
	Reason   string `json:"reason"` // a sentence
	// Policy and Statement are what decided, absent where nothing did.
	Policy    string          `json:"policy,omitempty"`
	Statement json.RawMessage `json:"statement,omitempty"`
}

// Roles asks for the roles on record, and those that functions have.
func (c *Client) Roles(ctx context.Context) ([]Role, error) {
	var out RoleList
	err := c.call(ctx, request{method: "GET", path: "/v1/roles"}, &out)
	return out.Roles, err
}

// Role asks for one role, by its name.
func (c *Client) Role(ctx context.Context, name string) (Role, error) {
	var out Role
	err := c.call(ctx, request{method: "GET", path: "/v1/roles/" + url.PathEscape(name)}, &out)
	return out, err
}

// Permission asks whether a function may do an action with a resource, "" for one that
// is not told.
func (c *Client) Permission(ctx context.Context, function, qualifier, action, resource string) (Permission, error) {
	var out Permission
	query := url.Values{"action": {action}}
	for name, value := range map[string]string{"qualifier": qualifier, "resource": resource} {
		if value != "" {
			query.Set(name, value)
		}
	}
	err := c.call(ctx, request{method: "GET", path: "/v1/functions/" + url.PathEscape(function) + "/permission", query: query}, &out)
	return out, err
}
