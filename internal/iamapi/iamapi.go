// Package iamapi is the front door of IAM: roles, their policies, and managed
// policies, as tools make them before a function. It owns the shapes of AWS's requests
// and answers; what a role may be and do is package iam's business, the dialect
// package queryapi's. Users, groups and keys it does not have.
package iamapi

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

// New is the service, for [queryapi.New].
func New(room *iam.Room) queryapi.API {
	d := &door{room: room}
	return queryapi.API{
		Namespace: "https://iam.amazonaws.com/doc/2010-05-08/", // AWS Identity and Access Management API reference
		Resource:  d.resource,
		Actions: map[string]queryapi.Action{
			"CreateRole":                  d.createRole,
			"GetRole":                     d.getRole,
			"ListRoles":                   d.listRoles,
			"UpdateRole":                  d.updateRole,
			"UpdateRoleDescription":       d.updateRoleDescription,
			"DeleteRole":                  d.deleteRole,
			"UpdateAssumeRolePolicy":      d.updateAssumeRolePolicy,
			"TagRole":                     d.tagRole,
			"UntagRole":                   d.untagRole,
			"ListRoleTags":                d.listRoleTags,
			"ListInstanceProfilesForRole": d.listInstanceProfilesForRole,

			"PutRolePolicy":                 d.putRolePolicy,
			"GetRolePolicy":                 d.getRolePolicy,
			"ListRolePolicies":              d.listRolePolicies,
			"DeleteRolePolicy":              d.deleteRolePolicy,
			"AttachRolePolicy":              d.attachRolePolicy,
			"DetachRolePolicy":              d.detachRolePolicy,
			"ListAttachedRolePolicies":      d.listAttachedRolePolicies,
			"PutRolePermissionsBoundary":    d.putRolePermissionsBoundary,
			"DeleteRolePermissionsBoundary": d.deleteRolePermissionsBoundary,

			"CreatePolicy":            d.createPolicy,
			"GetPolicy":               d.getPolicy,
			"ListPolicies":            d.listPolicies,
			"DeletePolicy":            d.deletePolicy,
			"CreatePolicyVersion":     d.createPolicyVersion,
			"GetPolicyVersion":        d.getPolicyVersion,
			"ListPolicyVersions":      d.listPolicyVersions,
			"DeletePolicyVersion":     d.deletePolicyVersion,
			"SetDefaultPolicyVersion": d.setDefaultPolicyVersion,
			"ListEntitiesForPolicy":   d.listEntitiesForPolicy,
			"TagPolicy":               d.tagPolicy,
			"UntagPolicy":             d.untagPolicy,
			"ListPolicyTags":          d.listPolicyTags,

			"GetUser":            d.getUser,
			"ListAccountAliases": d.listAccountAliases,
		},
	}
}

type door struct{ room *iam.Room }

// tag is Tag.
type tag struct{ Key, Value string }

// tagsOf shows tags in the order of their keys.
func tagsOf(all map[string]string) queryapi.List[tag] {
	out := queryapi.List[tag]{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out.Members = append(out.Members, tag{key, all[key]})
	}
	return out
}

// someTags are tags where an answer has them only if there are any.
func someTags(all map[string]string) *queryapi.List[tag] {
	if len(all) == 0 {
		return nil
	}
	return new(tagsOf(all))
}

// readTags reads Tags.member.1.Key and what follows.
func readTags(c *queryapi.Call) []iam.Tag {
	var out []iam.Tag
	for _, m := range c.Members("Tags") {
		out = append(out, iam.Tag{Key: c.Params.Get(m + ".Key"), Value: c.Params.Get(m + ".Value")})
	}
	return out
}

// document is a policy as answers have it: escaped by RFC 3986.
func document(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

func date(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// paging is what every list ends with.
type paging struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// Sizes of a page (AWS Identity and Access Management API reference, MaxItems).
const (
	usualPage = 100
	maxPage   = 1000
)

// page takes from a list, which is in the order of its keys, what a request asks for.
func page[T any](c *queryapi.Call, all []T, key func(T) string) ([]T, paging, error) {
	limit, err := c.Number("MaxItems", usualPage)
	switch {
	case err != nil:
		return nil, paging{}, err
	case limit < 1:
		return nil, paging{}, lambent.Errorf(lambent.CodeInvalid,
			"1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1", limit)
	case limit > maxPage:
		return nil, paging{}, lambent.Errorf(lambent.CodeInvalid,
			"1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to %d", limit, maxPage)
	}
	if text := c.Params.Get("Marker"); text != "" {
		after, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			return nil, paging{}, lambent.Errorf(lambent.CodeInvalid, "Invalid Marker.")
		}
		for len(all) > 0 && key(all[0]) <= string(after) {
			all = all[1:]
		}
	}
	if len(all) <= limit {
		return all, paging{}, nil
	}
	return all[:limit], paging{true, base64.RawURLEncoding.EncodeToString([]byte(key(all[limit-1])))}, nil
}

func itself(s string) string { return s }
