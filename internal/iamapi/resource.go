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
	switch {
	case strings.HasPrefix(action, "List") && !p.Has("RoleName") && !p.Has("PolicyArn"):
		return "*"
	case p.Get("RoleName") != "":
		named := iam.Role{Namespace: account, Path: cmp.Or(p.Get("Path"), "/"), Name: p.Get("RoleName")}
		if on, err := d.room.Role(account, named.Name); err == nil {
			named.Path = on.Path
		}
		return named.ARN()
	case p.Get("PolicyArn") != "":
		return p.Get("PolicyArn")
	case action == "CreatePolicy" && p.Get("PolicyName") != "":
		named := iam.Policy{Namespace: account, Path: cmp.Or(p.Get("Path"), "/"), Name: p.Get("PolicyName")}
		return named.ARN()
	}
	return "*"
}
