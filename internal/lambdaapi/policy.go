package lambdaapi

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// statement is one statement of a resource policy, in the order of members that
// AWS writes.
type statement struct {
	Sid       string     `json:"Sid"`
	Effect    string     `json:"Effect"`
	Principal any        `json:"Principal"`
	Action    string     `json:"Action"`
	Resource  string     `json:"Resource"`
	Condition *condition `json:"Condition,omitempty"`
}

type condition struct {
	StringEquals map[string]string `json:"StringEquals,omitempty"`
	Bool         map[string]string `json:"Bool,omitempty"`
	ArnLike      map[string]string `json:"ArnLike,omitempty"`
}

// principal is "*", an account, an ARN or a service, as a statement writes it.
func principal(p string) (any, error) {
	switch {
	case p == "*":
		return "*", nil
	case len(p) == 12 && strings.Trim(p, "0123456789") == "":
		return map[string]string{"AWS": "arn:aws:iam::" + p + ":root"}, nil
	case strings.HasPrefix(p, "arn:"):
		return map[string]string{"AWS": p}, nil
	case strings.HasSuffix(p, ".amazonaws.com"), strings.HasSuffix(p, ".amazonaws.com.cn"), strings.HasSuffix(p, ".amazon.com"):
		return map[string]string{"Service": p}, nil
	}
	return nil, invalid("The provided principal was invalid. Please check the principal and try again.")
}

func conditionOf(in *wire.AddPermissionRequest) *condition {
	c := condition{StringEquals: map[string]string{}}
	for key, value := range map[string]*string{
		"AWS:SourceAccount": in.SourceAccount, "lambda:FunctionUrlAuthType": in.FunctionUrlAuthType,
		"aws:PrincipalOrgID": in.PrincipalOrgID, "lambda:EventSourceToken": in.EventSourceToken,
	} {
		if value != nil {
			c.StringEquals[key] = *value
		}
	}
	if in.InvokedViaFunctionUrl != nil {
		c.Bool = map[string]string{"lambda:InvokedViaFunctionUrl": strconv.FormatBool(*in.InvokedViaFunctionUrl)}
	}
	if in.SourceArn != nil {
		c.ArnLike = map[string]string{"AWS:SourceArn": *in.SourceArn}
	}
	if len(c.StringEquals) == 0 && c.Bool == nil && c.ArnLike == nil {
		return nil
	}
	return &c
}

func (h *handler) addPermission(ctx context.Context, c caller, in *wire.AddPermissionRequest) (*wire.AddPermissionResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if t.qualifier == lambent.Latest {
		return nil, invalid("We currently do not support adding policies for $LATEST.")
	}
	if err := h.policyTarget(c, t); err != nil {
		return nil, err
	}
	who, err := principal(*in.Principal)
	if err != nil {
		return nil, err
	}
	if in.FunctionUrlAuthType != nil && !strings.EqualFold(*in.Action, "lambda:InvokeFunctionUrl") {
		return nil, invalid("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
	}
	raw, err := json.Marshal(statement{
		Sid: *in.StatementId, Effect: "Allow", Principal: who, Action: *in.Action,
		Resource: h.arn(c, t), Condition: conditionOf(in),
	})
	if err != nil {
		return nil, err
	}
	if _, err := h.Catalog.AddStatement(ctx, h.arn(c, t), catalog.Statement{Sid: *in.StatementId, JSON: raw}, deref(in.RevisionId)); err != nil {
		return nil, err
	}
	return &wire.AddPermissionResponse{Statement: new(string(raw))}, nil
}

// policyTarget checks that what a policy is for exists. AWS says of an alias
// that it cannot be found, and of anything else that the function cannot; a
// qualifier is taken for an alias unless it is a number or has a "$".
func (h *handler) policyTarget(c caller, t target) error {
	if _, err := h.Catalog.Get(c.namespace, t.function, ""); err != nil || t.qualifier == "" {
		return err
	}
	if lambent.ValidName(t.qualifier) && strings.Trim(t.qualifier, "0123456789") != "" {
		_, err := h.Catalog.Alias(c.namespace, t.function, t.qualifier)
		return err
	}
	_, err := h.Catalog.Get(c.namespace, t.function, t.qualifier)
	return err
}

func (h *handler) removePermission(ctx context.Context, c caller, in *wire.RemovePermissionRequest) (*none, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if _, err := h.Catalog.Get(c.namespace, t.function, ""); lambent.CodeOf(err) == lambent.CodeNotFound {
		return nil, notFound("No policy found for: " + h.arn(c, t))
	}
	if err := h.policyTarget(c, t); err != nil {
		return nil, err
	}
	return empty, h.removeStatement(ctx, h.arn(c, t), *in.StatementId, deref(in.RevisionId))
}

func (h *handler) removeStatement(ctx context.Context, resource, sid, revision string) error {
	if _, ok := h.Catalog.Policy(resource); !ok {
		return notFound("No policy is associated with the given resource.")
	}
	return h.Catalog.RemoveStatement(ctx, resource, sid, revision)
}

func (h *handler) getPolicy(_ context.Context, c caller, in *wire.GetPolicyRequest) (*wire.GetPolicyResponse, error) {
	t, err := h.target(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	p, ok := h.Catalog.Policy(h.arn(c, t))
	if !ok {
		return nil, notFound("The resource you requested does not exist.")
	}
	return &wire.GetPolicyResponse{Policy: new(policyText(p)), RevisionId: &p.RevisionID}, nil
}

// policyText is a policy as the JSON document that AWS shows.
func policyText(p catalog.Policy) string {
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Id":"default","Statement":[`)
	for i, s := range p.Statements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(s.JSON)
	}
	b.WriteString("]}")
	return b.String()
}
