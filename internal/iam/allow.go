package iam

import (
	"strings"

	"lambent.dev/lambent/internal/iam/policy"
)

// lambdaService is Lambda as policies name it.
const lambdaService = "lambda.amazonaws.com"

// Allows tells whether a role may do something: action is "lambda:InvokeFunction",
// resource an ARN, or "*" where it has none or it is not told. It is decided as AWS
// decides it: by the role's inline and managed policies, within its boundary, and a
// denial wins. Known is false for a role that is not on record.
func (r *Room) Allows(role, action, resource string) (allowed, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.roleARNs[role]
	if e == nil {
		return false, false
	}
	q := r.request(e, action)
	q.Resource, q.PassedTo = resource, lambdaService // the one service that roles are given to here
	if e.Boundary != "" && r.document(e.Boundary).Decide(&q) != policy.Allowed {
		return false, true
	}
	verdict := policy.Silent
	for _, d := range e.inline {
		verdict = max(verdict, d.Decide(&q))
	}
	for _, arn := range e.Attached {
		verdict = max(verdict, r.document(arn).Decide(&q))
	}
	return verdict == policy.Allowed, true
}

// Trusts tells whether Lambda may assume a role for a function, by its ARN, whose
// account is the role's. Known is false for a role that is not on record there.
func (r *Room) Trusts(role, function string) (trusted, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.roleARNs[role]
	if e == nil || !strings.Contains(function, ":"+e.Namespace+":function:") {
		return false, false
	}
	q := r.request(e, "sts:AssumeRole")
	q.Service, q.SourceARN, q.SourceAccount = lambdaService, function, e.Namespace
	return e.trust.Decide(&q) == policy.Allowed, true
}

// request is what conditions may ask of a role.
func (r *Room) request(e *roleEntry, action string) policy.Request {
	return policy.Request{Action: action, Now: r.o.Now(), Region: r.o.Region, Principal: e.arn, Account: e.Namespace, Tags: e.Tags}
}

// document is what counts of a managed policy, nil where it is not known. The caller
// holds mu.
func (r *Room) document(arn string) *policy.Document {
	if e := r.policyAt[arn]; e != nil {
		return e.document
	}
	if e := r.amazon[arn]; e != nil {
		return e.document
	}
	return nil
}
