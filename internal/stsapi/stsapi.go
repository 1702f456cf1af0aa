// Package stsapi is the front door of the Security Token Service: of it lambent has
// GetCallerIdentity, which tools call before anything else to learn whose account
// they work in. All other actions answer that they are not implemented. The dialect
// is package queryapi's, and who calls is settled by package auth.
package stsapi

import (
	"context"
	"strings"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/queryapi"
)

// New is the service, for [queryapi.New].
func New() queryapi.API {
	return queryapi.API{
		Namespace: "https://sts.amazonaws.com/doc/2011-06-15/", // AWS Security Token Service API reference
		Actions:   map[string]queryapi.Action{"GetCallerIdentity": callerIdentity},
	}
}

// identity is GetCallerIdentityResult.
type identity struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string
}

func callerIdentity(_ context.Context, c *queryapi.Call) (any, error) {
	return identity{ARN: c.Caller.ARN, UserID: userID(c.Caller), Account: c.Caller.AccountID}, nil
}

// userID is the caller's unique id: for the account's root the account's own.
func userID(id auth.Identity) string {
	if strings.HasSuffix(id.ARN, ":root") {
		return id.AccountID
	}
	return id.AccessKey
}
