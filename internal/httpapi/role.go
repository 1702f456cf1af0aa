package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/iam/policy"
)

// roleRoutes is the part of the dialect about what functions may do.
func (a *api) roleRoutes() {
	a.route("GET", "/v1/roles", mayRead, maxControlBody, a.listRoles)
	a.route("GET", "/v1/roles/{name}", mayRead, maxControlBody, a.getRole)
	a.route("GET", "/v1/functions/{name}/permission", mayRead, maxControlBody, a.permission)
}

// roleUsers are the names of functions by the ARN of their role.
func (a *api) roleUsers(namespace string) map[string][]string {
	out := map[string][]string{}
	for after := ""; ; {
		items, next := a.o.Catalog.List(namespace, false, after, maxPage)
		for _, v := range items {
			out[v.Role] = append(out[v.Role], v.Function)
		}
		if next == "" {
			return out
		}
		after = next
	}
}

// role is a role on record as lists tell it.
func role(v *iam.Role, users map[string][]string) client.Role {
	out := client.Role{
		ARN: v.ARN(), OnRecord: true, Description: v.Description, Functions: users[v.ARN()],
		Attached: slices.Concat(slices.Sorted(maps.Keys(v.Inline)), v.Attached), Boundary: v.Boundary,
	}
	if out.Functions == nil {
		out.Functions = []string{}
	}
	return out
}

func (a *api) listRoles(c *call) error {
	users := a.roleUsers(c.id.AccountID)
	out := client.RoleList{Roles: []client.Role{}}
	for _, v := range a.o.Roles.Roles(c.id.AccountID, "/") {
		out.Roles = append(out.Roles, role(v, users))
		delete(users, v.ARN())
	}
	for _, arn := range slices.Sorted(maps.Keys(users)) {
		if arn != "" {
			out.Roles = append(out.Roles, client.Role{ARN: arn, Functions: users[arn]})
		}
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) getRole(c *call) error {
	v, err := a.o.Roles.Role(c.id.AccountID, c.PathValue("name"))
	if err != nil {
		return err
	}
	out := role(v, a.roleUsers(c.id.AccountID))
	out.Trust = json.RawMessage(v.Trust)
	for _, name := range slices.Sorted(maps.Keys(v.Inline)) {
		out.Policies = append(out.Policies, client.RolePolicy{Name: name, Kind: "inline", Document: json.RawMessage(v.Inline[name])})
	}
	for _, arn := range v.Attached {
		out.Policies = append(out.Policies, a.managed(v, arn, "attached"))
	}
	if v.Boundary != "" {
		out.Policies = append(out.Policies, a.managed(v, v.Boundary, "boundary"))
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) managed(v *iam.Role, arn, kind string) client.RolePolicy {
	out := client.RolePolicy{Name: arn, Kind: kind}
	if p, err := a.o.Roles.Policy(v.Namespace, arn); err == nil {
		out.Document = json.RawMessage(p.Document())
	}
	return out
}

// maxQuestion bounds an action or a resource that is asked about, in bytes.
const maxQuestion = 2048

// permission answers whether a function may do something, and by what.
func (a *api) permission(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	query := c.URL.Query()
	action, resource := query.Get("action"), query.Get("resource")
	if !strings.Contains(action, ":") || strings.ContainsAny(action, "*?") || len(action) > maxQuestion || len(resource) > maxQuestion {
		return lambent.Errorf(lambent.CodeInvalid, "action %q: want one such as lambda:InvokeFunction", clip(action)).WithReason("InvalidAction")
	}
	entry, err := a.o.Catalog.Get(c.id.AccountID, name, query.Get("qualifier"))
	if err != nil {
		return err
	}
	if resource == "" {
		resource = "*"
	}
	caller := iam.Caller{Account: c.id.AccountID, Role: cmp.Or(entry.Version.Role, lambent.DefaultRole(c.id.AccountID))}
	d := a.o.Roles.Decide(caller, action, resource)
	out := client.Permission{Function: name, Role: caller.Role, Action: action, Resource: resource, Allowed: d.Allowed, Reason: reason(&d, action)}
	if d.Policy != "" {
		out.Policy, out.Statement = d.Policy, a.statement(caller, &d)
	}
	return c.answer(http.StatusOK, out)
}

// reason says what a decision came of, in a sentence.
func reason(d *iam.Decision, action string) string {
	switch {
	case d.Policy != "" && d.Denied:
		return fmt.Sprintf("Statement %d of %s denies it.", d.Statement+1, d.Policy)
	case d.Policy != "" && d.Allowed:
		return fmt.Sprintf("Statement %d of %s allows it.", d.Statement+1, d.Policy)
	case d.Allowed:
		return "Every function may do that, unless its role is on record and says otherwise."
	case !d.Known:
		return "The role is not on record: with it a function may call those of its account and ask who it is, and nothing else."
	}
	return "No statement denies it, but no " + string(d.Layer) + " allows " + action + " on that resource."
}

// statement is the one that has decided about a caller.
func (a *api) statement(c iam.Caller, d *iam.Decision) json.RawMessage {
	if p, err := a.o.Roles.Policy(c.Account, d.Policy); err == nil {
		return policy.Statement(p.Document(), d.Statement)
	}
	role, err := a.o.Roles.Role(c.Account, c.Role[strings.LastIndexByte(c.Role, '/')+1:])
	if err != nil { // it was deleted meanwhile
		return nil
	}
	return policy.Statement(role.Inline[d.Policy], d.Statement)
}
