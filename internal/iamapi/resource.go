package iamapi

import (
	"cmp"
	"strings"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

// resource is the ARN of what a request is about, as policies name it; "*" where it is
// about no role and no policy, or about all (Service authorization reference, "Actions,
// resources, and condition keys for AWS Identity and Access Management"). A role has
// its path only where it is on record.
func (d *door) resource(action string, c *queryapi.Call) string {
	p, account := c.Params, c.Caller.AccountID
	switch { // by the action, which looks at no member that belongs to another
	case action == "ListRoles" || action == "ListPolicies":
		return "*"
	case strings.Contains(action, "Role"):
		if p.Get("RoleName") == "" {
			return "*"
		}
		named := iam.Role{Namespace: account, Path: cmp.Or(p.Get("Path"), "/"), Name: p.Get("RoleName")}
		if on, err := d.room.Role(account, named.Name); err == nil {
			named.Path = on.Path
		}
		return named.ARN()
	case action == "CreatePolicy":
		named := iam.Policy{Namespace: account, Path: cmp.Or(p.Get("Path"), "/"), Name: p.Get("PolicyName")}
		return named.ARN()
	case strings.Contains(action, "Policy"):
		return p.Get("PolicyArn") // queryapi takes none for any
	}
	return "*"
}
