package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

// policyFrame is what a policy document has around its statements.
const policyFrame = `{"Version":"2012-10-17","Id":"default","Statement":[]}`

// Document is the policy as the JSON that AWS shows.
func (p Policy) Document() string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(policyFrame, "]}"))
	for i, st := range p.Statements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(st.JSON)
	}
	b.WriteString("]}")
	return b.String()
}

// attachment is what a policy is attached to.
type attachment struct {
	id        id
	qualifier string // of a function
	layer     int    // version of a layer, 0 for a function
}

func parseResource(resource string) (attachment, error) {
	if strings.Contains(resource, ":layer:") {
		l, err := lambent.ParseLayerARN(resource)
		if err == nil && l.Version == 0 {
			err = invalid("InvalidName", "%s is not the ARN of a layer version", resource)
		}
		return attachment{id: id{l.Account, l.Name}, layer: l.Version}, err
	}
	// The qualifier is taken off first: this one may have a dollar sign anywhere
	// (AWS Lambda API reference, AddPermission).
	qualifier := ""
	if parts := strings.SplitN(resource, ":", 8); len(parts) == 8 {
		qualifier = parts[7]
		resource = strings.Join(parts[:7], ":")
	}
	f, err := lambent.ParseFunctionName(resource, "")
	if err == nil && f.Account == "" {
		err = invalid("InvalidName", "%s is not the ARN of a function", resource)
	}
	return attachment{id: id{f.Account, f.Name}, qualifier: qualifier}, err
}

// Policy returns the policy of a resource: the ARN of a function, qualified or
// not, or of a layer version.
func (c *Catalog) Policy(resource string) (Policy, bool) {
	at, err := parseResource(resource)
	if err != nil {
		return Policy{}, false
	}
	var p *Policy
	if at.layer > 0 {
		if l := c.layers.get(at.id); l != nil {
			p = l.policies[strconv.Itoa(at.layer)]
		}
	} else if f := c.functions.get(at.id); f != nil {
		p = f.policies[at.qualifier]
	}
	if p == nil {
		return Policy{}, false
	}
	return *p, true
}

// AddStatement adds a statement to the policy of a resource. Unless revision is
// "", it must be the policy's or, when there is none yet, that of the function,
// version or alias.
func (c *Catalog) AddStatement(ctx context.Context, resource string, st Statement, revision string) (Policy, error) {
	at, err := parseResource(resource)
	if err != nil {
		return Policy{}, err
	}
	st.JSON = bytes.Clone(st.JSON)
	if st.Sid == "" || !json.Valid(st.JSON) {
		return Policy{}, invalid("Statement", "The statement is not valid JSON with a Sid")
	}
	var added *Policy
	err = c.changePolicy(ctx, at, func(old *Policy, owner string) (*Policy, error) {
		if at.layer == 0 && at.qualifier == lambent.Latest {
			return nil, invalid("PolicyOfLatest", "We currently do not support adding policies for $LATEST.")
		}
		if old == nil {
			old = &Policy{RevisionID: owner}
		}
		if revision != "" && revision != old.RevisionID {
			return nil, at.mismatch()
		}
		for _, have := range old.Statements {
			if have.Sid == st.Sid {
				return nil, lambent.Errorf(lambent.CodeConflict, "The statement id (%s) provided already exists. "+
					"Please provide a new statement id, or remove the existing statement.", st.Sid).WithReason("StatementExists")
			}
		}
		added = &Policy{RevisionID: c.o.NewID(), Statements: append(slices.Clone(old.Statements), st)}
		if size := len(added.Document()); size > lambent.MaxPolicy {
			return nil, lambent.Errorf(lambent.CodeTooLarge, "The final policy size (%d) is bigger than the limit (%d).",
				size, lambent.MaxPolicy).WithReason("PolicyLengthExceeded")
		}
		return added, nil
	})
	if err != nil {
		return Policy{}, err
	}
	return *added, nil
}

// RemoveStatement removes a statement from the policy of a resource; the policy
// goes with its last one. Unless revision is "", it must be the policy's.
func (c *Catalog) RemoveStatement(ctx context.Context, resource, sid, revision string) error {
	at, err := parseResource(resource)
	if err != nil {
		return err
	}
	if at.layer == 0 && c.functions.get(at.id) == nil {
		return lambent.Errorf(lambent.CodeNotFound, "No policy found for: %s", lambent.FunctionARN(c.o.Region, at.id.ns, at.id.name, at.qualifier))
	}
	return c.changePolicy(ctx, at, func(old *Policy, _ string) (*Policy, error) {
		if old == nil {
			return nil, lambent.Errorf(lambent.CodeNotFound, "No policy is associated with the given resource.")
		}
		i := slices.IndexFunc(old.Statements, func(st Statement) bool { return st.Sid == sid })
		switch {
		case i < 0:
			return nil, lambent.Errorf(lambent.CodeNotFound, "Statement %s is not found in resource policy.", sid)
		case revision != "" && revision != old.RevisionID:
			return nil, at.mismatch()
		case len(old.Statements) == 1:
			return nil, nil
		}
		return &Policy{RevisionID: c.o.NewID(), Statements: slices.Delete(slices.Clone(old.Statements), i, i+1)}, nil
	})
}

func (at attachment) mismatch() *lambent.Error {
	if at.layer > 0 {
		return revisionMismatch(layerPolicyRevisionCalls)
	}
	return revisionMismatch(policyRevisionCalls)
}

// changePolicy writes the policy of what at names: edit gets the one that is
// there, which may be nil, with the revision of what it is attached to, and
// returns the one that shall be, nil for none.
func (c *Catalog) changePolicy(ctx context.Context, at attachment, edit func(old *Policy, owner string) (*Policy, error)) error {
	if at.layer > 0 {
		return c.changeLayerPolicy(ctx, at, edit)
	}
	return c.change(ctx, at.id, func(old *function) (*function, error) {
		owner, err := c.policyOwner(at, old)
		if err != nil {
			return nil, err
		}
		p, err := edit(old.policies[at.qualifier], owner)
		if err != nil {
			return nil, err
		}
		next := old.clone()
		next.policies = withPolicy(next.policies, at.qualifier, p)
		return next, nil
	})
}

func (c *Catalog) changeLayerPolicy(ctx context.Context, at attachment, edit func(old *Policy, owner string) (*Policy, error)) error {
	return c.changeLayer(ctx, at.id, func(old *layer) (*layer, error) {
		if old == nil || old.version(at.layer) == nil {
			return nil, layerVersionMissing(lambent.CodeNotFound, lambent.LayerARN(c.o.Region, at.id.ns, at.id.name, at.layer))
		}
		number := strconv.Itoa(at.layer)
		p, err := edit(old.policies[number], "")
		if err != nil {
			return nil, err
		}
		next := old.clone()
		next.policies = withPolicy(next.policies, number, p)
		return next, nil
	})
}

// policyOwner is the revision of what a function's policy is attached to, or
// the error AWS has when there is no such thing.
func (c *Catalog) policyOwner(at attachment, f *function) (string, error) {
	if f == nil {
		return "", c.functionNotFound(at.id, "")
	}
	v, a := f.resolve(at.qualifier)
	switch {
	case a != nil:
		return a.RevisionID, nil
	case v != nil:
		return v.RevisionID, nil
	case isNumber(at.qualifier), !lambent.ValidName(at.qualifier):
		return "", c.functionNotFound(at.id, at.qualifier)
	}
	return "", c.aliasNotFound(at.id, at.qualifier)
}

// withPolicy sets or, with nil, removes a policy in a private map.
func withPolicy(policies map[string]*Policy, key string, p *Policy) map[string]*Policy {
	if p == nil {
		delete(policies, key)
		return policies
	}
	if policies == nil {
		policies = map[string]*Policy{}
	}
	policies[key] = p
	return policies
}
