package policy

import (
	"encoding/json"
	"slices"
	"strings"
)

// assuming are the actions that a trust policy may be about.
var assuming = []string{
	"sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity", "sts:SetContext",
}

// ParseTrust reads the policy that says who may assume a role. The errors are as
// those of [Parse].
func ParseTrust(text string) (*Document, error) {
	if !json.Valid([]byte(text)) {
		return nil, malformed("This policy contains invalid Json")
	}
	s, ok := read(text)
	if !ok {
		return nil, malformed(syntax)
	}
	d := &Document{}
	for i := range s.statements {
		in := &s.statements[i]
		out := in.statement()
		if err := in.checkTrust(); err != nil {
			return nil, err
		}
		out.principals, ok = readPrincipals(in.principal)
		if !ok {
			return nil, malformed("Invalid principal in policy")
		}
		out.vague = in.notPrincipal != nil
		d.statements = append(d.statements, out)
	}
	return d, nil
}

func (s *sourceStatement) checkTrust() error {
	switch {
	case s.effect != "Allow" && s.effect != "Deny":
		return malformed(syntax)
	case s.resources != nil:
		return malformed("Has prohibited field Resource")
	case s.notResources != nil:
		return malformed("Has prohibited field NotResource")
	case s.principal == nil && s.notPrincipal == nil:
		return malformed("Missing required field Principal")
	case len(s.actions) == 0:
		return malformed("Missing required field Action")
	}
	for _, a := range s.actions {
		if !slices.ContainsFunc(assuming, func(action string) bool { return glob(a, action, true) }) {
			return malformed("AssumeRole policy may only specify STS AssumeRole actions.")
		}
	}
	return nil
}

// Kinds of principals.
const (
	kindService   = "Service"
	kindAWS       = "AWS"
	kindEverybody = "*"
)

// principal is one that a trust policy names; of other kinds than the above, nobody.
type principal struct{ kind, name string }

// trust is how far a statement is about who asks.
type trust uint8

const (
	stranger trust = iota
	member         // by his account, whose own policies have a say then, or as anybody
	known          // by himself
)

// trusts tells whether a statement is about who asks to assume a role (IAM User Guide,
// "AWS JSON policy elements: Principal").
func (s *statement) trusts(q *Request) trust {
	found := stranger
	for _, p := range s.principals {
		found = max(found, p.is(q))
	}
	return found
}

func (p principal) is(q *Request) trust {
	switch {
	case p.kind == kindEverybody:
		return member
	case q.Service != "":
		if p.kind == kindService && (p.name == "*" || strings.EqualFold(p.name, q.Service)) {
			return known
		}
	case p.kind == kindAWS && slices.Contains(q.Named, p.name):
		return known
	case p.kind == kindAWS && q.Account != "" && (p.name == q.Account || p.name == "arn:aws:iam::"+q.Account+":root"):
		return member
	}
	return stranger
}

// Trust is what a trust policy says to who asks to assume its role. Named is true
// where he is allowed to by a statement that names him, and not his account alone.
func (d *Document) Trust(q *Request) (verdict Verdict, named bool) {
	for i := range d.statements {
		s := &d.statements[i]
		switch {
		case !s.applies(q, &arn{}):
		case s.deny:
			return Denied, false
		default:
			verdict, named = Allowed, named || s.trusts(q) == known
		}
	}
	return verdict, named
}

// readPrincipals reads whom a statement is about.
func readPrincipals(value json.RawMessage) ([]principal, bool) {
	if value == nil {
		return nil, true
	}
	var everybody string
	if isString(value, &everybody) {
		return []principal{{kind: kindEverybody}}, everybody == "*"
	}
	var kinds map[string]json.RawMessage
	if json.Unmarshal(value, &kinds) != nil || len(kinds) == 0 {
		return nil, false
	}
	var out []principal
	for of, value := range kinds {
		names, ok := readList(value)
		if !ok || len(names) == 0 || !slices.Contains([]string{kindAWS, kindService, "Federated", "CanonicalUser"}, of) {
			return nil, false
		}
		for _, name := range names {
			kind := of
			if strings.TrimSpace(name) == "" {
				return nil, false
			}
			if kind == kindAWS && name == "*" {
				kind = kindEverybody
			}
			out = append(out, principal{kind, name})
		}
	}
	return out, true
}
