// Package stsapi is the front door of the Security Token Service: of it lambent has
// GetCallerIdentity, which tools call before anything else to learn whose account
// they work in, and AssumeRole. All other actions answer that they are not implemented.
// Who may assume a role is package iam's business, keys are package auth's, the dialect
// is package queryapi's.
package stsapi

import (
	"context"
	"strings"
	"time"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

// Options are the door's neighbours. All but Now are required.
type Options struct {
	Roles *iam.Room
	Keys  *auth.Keys
	Now   func() time.Time // time.Now when nil
}

// New is the service, for [queryapi.New].
func New(o Options) queryapi.API {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &door{o}
	return queryapi.API{
		Namespace: "https://sts.amazonaws.com/doc/2011-06-15/", // AWS Security Token Service API reference
		Actions:   map[string]queryapi.Action{"GetCallerIdentity": d.callerIdentity, "AssumeRole": d.assumeRole},
		Resource: func(_ string, c *queryapi.Call) string {
			return c.Params.Get("RoleArn") // which other actions do not have
		},
	}
}

type door struct{ o Options }

// Caller is who makes a request, as package iam decides about him.
func Caller(id auth.Identity) iam.Caller {
	c := iam.Caller{Account: id.AccountID, ARN: id.ARN, Role: id.Role}
	if a := id.Assumed; a != nil {
		c.Assumed, c.Policy, c.Policies = true, a.Policy, a.Policies
	}
	return c
}

// identity is GetCallerIdentityResult.
type identity struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string
}

func (d *door) callerIdentity(_ context.Context, c *queryapi.Call) (any, error) {
	return identity{ARN: c.Caller.ARN, UserID: d.userID(c.Caller), Account: c.Caller.AccountID}, nil
}

// userID is the caller's unique id: for the account's root the account's own, else
// that of the role, and the session's name.
func (d *door) userID(id auth.Identity) string {
	switch role := d.o.Roles.IDOf(id.Role); {
	case strings.HasSuffix(id.ARN, ":root"):
		return id.AccountID
	case role == "": // a function's, whose role is not on record
		return id.AccessKey
	default:
		return sessionID(role, id.ARN[strings.LastIndexByte(id.ARN, '/')+1:])
	}
}
