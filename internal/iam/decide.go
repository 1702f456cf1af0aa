package iam

import (
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/iam/policy"
)

// Services as policies name them.
const (
	LambdaService    = "lambda.amazonaws.com"
	SchedulerService = "scheduler.amazonaws.com"
)

// Caller is who asks for something. Without a role it is the account itself.
type Caller struct {
	Account string
	ARN     string // of the session
	Role    string // ARN
	// Assumed is set where the role was assumed by a request, whose session policies
	// are then Policy, a document or "", and Policies, ARNs.
	Assumed  bool
	Policy   string
	Policies []string
}

// Layer is a kind of policies, each of which must allow what is asked for.
type Layer string

// The layers, in AWS's words.
const (
	Identity Layer = "identity-based policy"
	Boundary Layer = "permissions boundary"
	Limits   Layer = "session policy"
)

// Decision is what came of a request, and why. Without a policy that has said so,
// Policy is "": then it was allowed by what everybody may do, or no policy of the
// layer allows it.
type Decision struct {
	Allowed   bool
	Denied    bool  // a statement forbids it
	Known     bool  // the role is on record
	Layer     Layer // that decided
	Policy    string
	Statement int // of it, from 0
}

// Decide decides whether a caller may do something: action is "lambda:InvokeFunction",
// resource an ARN, or "*" where it has none or it is not told. The account itself may
// do all. Of a role on record it is decided as on AWS: by the role's inline and managed
// policies, within its boundary and what the session is limited to, and a denial wins.
// The default role, and one that is not on record, may call functions of the account:
// a function that is taken over can neither deploy nor read code. Nobody needs a
// permission to learn who he is ("GetCallerIdentity", AWS STS API reference).
func (r *Room) Decide(c Caller, action, resource string) Decision {
	return r.decide(c, action, resource, LambdaService)
}

// Passes decides whether a caller may give a role to a service, which is a principal of
// AWS ("scheduler.amazonaws.com"): iam:PassRole, and on which condition.
func (r *Room) Passes(c Caller, role, service string) Decision {
	return r.decide(c, "iam:PassRole", role, service)
}

func (r *Room) decide(c Caller, action, resource, service string) Decision {
	if c.Role == "" || action == "sts:GetCallerIdentity" {
		return Decision{Allowed: true}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.roleOf(&c)
	if e == nil {
		calls := action == "lambda:InvokeFunction" || action == "lambda:InvokeAsync" || action == "lambda:InvokeFunctionUrl"
		return Decision{
			Allowed: calls && !c.Assumed && strings.HasPrefix(resource, lambent.FunctionARN(r.o.Region, c.Account, "", "")),
			Layer:   Identity,
		}
	}
	q := r.request(e, action)
	q.Resource, q.PassedTo = resource, service
	return r.weigh(e, &c, &q)
}

// roleOf is the record that decides of a caller. The default role is none, whatever
// may be on record of its name; another account's has no say. The caller holds mu.
func (r *Room) roleOf(c *Caller) *roleEntry {
	if !c.Assumed && c.Role == lambent.DefaultRole(c.Account) {
		return nil
	}
	if e := r.roleARNs[c.Role]; e != nil && e.Namespace == c.Account {
		return e
	}
	return nil
}

// finding is what the policies of a layer say, by the one that says it.
type finding struct {
	layer     Layer
	verdict   policy.Verdict
	policy    string
	statement int
}

func (f *finding) add(name string, d *policy.Document, q *policy.Request) {
	if verdict, by := d.Find(q); verdict > f.verdict {
		f.verdict, f.policy, f.statement = verdict, name, by
	}
}

func (f *finding) decision(allowed bool) Decision {
	return Decision{
		Allowed: allowed, Denied: f.verdict == policy.Denied, Known: true, Layer: f.layer, Policy: f.policy, Statement: f.statement,
	}
}

// weigh decides by a role on record. What is missing in the identity's own policies is
// told last: where nothing else is in the way, a trust policy may make up for it. The
// caller holds mu.
func (r *Room) weigh(e *roleEntry, c *Caller, q *policy.Request) Decision {
	identity, boundary, limits := finding{layer: Identity}, finding{layer: Boundary}, finding{layer: Limits}
	for _, p := range e.inline {
		identity.add(p.name, p.document, q)
	}
	for _, arn := range e.Attached {
		identity.add(arn, r.document(arn), q)
	}
	boundary.add(e.Boundary, r.document(e.Boundary), q)
	if c.Policy != "" {
		d, err := policy.Parse(c.Policy)
		if err != nil { // it was read when the session began
			d = nil
		}
		limits.add("the session's", d, q)
	}
	for _, arn := range c.Policies {
		if mayHave(e.Namespace, arn) {
			limits.add(arn, r.document(arn), q)
		}
	}
	for _, f := range []*finding{&identity, &boundary, &limits} {
		if f.verdict == policy.Denied {
			return f.decision(false)
		}
	}
	switch {
	case e.Boundary != "" && boundary.verdict != policy.Allowed:
		return boundary.decision(false)
	case (c.Policy != "" || len(c.Policies) > 0) && limits.verdict != policy.Allowed:
		return limits.decision(false)
	}
	return identity.decision(identity.verdict == policy.Allowed)
}

// mayHave tells whether a policy's ARN is of a namespace's own or of AWS's.
func mayHave(namespace, arn string) bool {
	return strings.HasPrefix(arn, "arn:aws:iam::"+namespace+":") || strings.HasPrefix(arn, "arn:aws:iam::"+amazon+":")
}

// Because says in AWS's words why an action is not allowed.
func (d *Decision) Because(action string) string {
	if d.Denied {
		article := "an "
		if d.Layer != Identity {
			article = "a "
		}
		return "with an explicit deny in " + article + string(d.Layer)
	}
	return "because no " + string(d.Layer) + " allows the " + action + " action"
}

// Trusts tells whether a service, as policies name it, may assume a role for a resource of
// the role's account, by its ARN. Known is false for a role that is not on record there.
func (r *Room) Trusts(role, service, source string) (trusted, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.roleARNs[role]
	if e == nil || parseAccount(source) != e.Namespace {
		return false, false
	}
	q := r.request(e, "sts:AssumeRole")
	q.Service, q.SourceARN, q.SourceAccount = service, source, e.Namespace
	return e.trust.Decide(&q) == policy.Allowed, true
}

// parseAccount is the account in an ARN.
func parseAccount(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[4]
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
