package iam

import "lambent.dev/lambent/internal/iam/policy"

// Assumption is a request to assume a role.
type Assumption struct {
	Caller     Caller
	Role       string // ARN
	Session    string // name
	ExternalID string // "" is none
}

// Assume decides whether a role may be assumed, and gives the role, nil where it may
// not or is not on record. The trust policy must allow it, and the caller's own
// policies too, unless it is of the same account and the trust policy names it, and
// not its account alone (IAM User Guide, "Permissions for AssumeRole"). The account's
// root may, where the trust policy allows its account: here it is who has the one key.
func (r *Room) Assume(a Assumption) *Role {
	e, verdict, named := r.trustOf(&a)
	if verdict != policy.Allowed {
		return nil
	}
	d := r.Decide(a.Caller, "sts:AssumeRole", a.Role)
	silent := !d.Allowed && !d.Denied && d.Layer == Identity
	if d.Allowed || silent && named && a.Caller.Account == e.Namespace {
		return e.Role
	}
	return nil
}

// trustOf is what the trust policy of a role says.
func (r *Room) trustOf(a *Assumption) (e *roleEntry, verdict policy.Verdict, named bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e = r.roleARNs[a.Role]; e == nil {
		return nil, policy.Silent, false
	}
	c := &a.Caller
	q := policy.Request{
		Action: "sts:AssumeRole", Named: []string{c.ARN}, Session: a.Session, ExternalID: a.ExternalID,
		Now: r.o.Now(), Region: r.o.Region, Principal: c.ARN, Account: c.Account,
	}
	if c.Role != "" {
		q.Named, q.Principal = append(q.Named, c.Role), c.Role
		if own := r.roleOf(c); own != nil {
			q.Tags = own.Tags
		}
	}
	verdict, named = e.trust.Trust(&q)
	return e, verdict, named
}

// Lives tells whether there is still the role of an ARN that has the unique id: one
// that was deleted and made again is another.
func (r *Room) Lives(role, id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.roleARNs[role]
	return e != nil && e.ID == id
}

// IDOf is the unique id of the role of an ARN, "" for one that is not on record.
func (r *Room) IDOf(role string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.roleARNs[role]; e != nil {
		return e.ID
	}
	return ""
}

// CheckSession holds the policies that limit a session against their rules. The
// errors are of code invalid.
func CheckSession(document string, arns []string) error {
	if document != "" {
		if _, err := policy.Parse(document); err != nil {
			return err
		}
	}
	for _, arn := range arns {
		if err := checkPolicyARN(arn); err != nil {
			return err
		}
	}
	return nil
}
