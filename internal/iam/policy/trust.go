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

// readPrincipals reads whom a statement is about. Those who are not services are
// named, but match none.
func readPrincipals(value json.RawMessage) ([]principal, bool) {
	if value == nil {
		return nil, true
	}
	var everybody string
	if isString(value, &everybody) {
		return []principal{"*"}, everybody == "*"
	}
	var kinds map[string]json.RawMessage
	if json.Unmarshal(value, &kinds) != nil || len(kinds) == 0 {
		return nil, false
	}
	var out []principal
	for kind, value := range kinds {
		names, ok := readList(value)
		if !ok || len(names) == 0 || !slices.Contains([]string{"AWS", "Service", "Federated", "CanonicalUser"}, kind) {
			return nil, false
		}
		for _, name := range names {
			if kind != "Service" && name != "*" {
				name = kind + " " + name // which is the name of no service
			}
			if strings.TrimSpace(name) == "" {
				return nil, false
			}
			out = append(out, principal(name))
		}
	}
	return out, true
}
