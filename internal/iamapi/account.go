package iamapi

import (
	"context"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/queryapi"
)

// getUser answers tools that want to know who they are: the account's root, which is
// the one user that there is.
func (d *door) getUser(_ context.Context, c *queryapi.Call) (any, error) {
	if name := c.Params.Get("UserName"); name != "" {
		return nil, lambent.Errorf(lambent.CodeNotFound, "The user with name %.64s cannot be found.", name)
	}
	if !strings.HasSuffix(c.Caller.ARN, ":root") {
		return nil, lambent.Errorf(lambent.CodeInvalid, "Must specify userName when calling with non-User credentials")
	}
	type user struct {
		UserID     string `xml:"UserId"`
		ARN        string `xml:"Arn"`
		CreateDate string
	}
	return struct{ User user }{user{c.Caller.AccountID, c.Caller.ARN, "1970-01-01T00:00:00Z"}}, nil
}

// listAccountAliases answers that the account has no other name.
func (d *door) listAccountAliases(context.Context, *queryapi.Call) (any, error) {
	return struct {
		AccountAliases queryapi.List[string]
		paging
	}{}, nil
}
