package iamapi

import (
	"context"
	"maps"
	"slices"
	"strings"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

func (d *door) putRolePolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PolicyName", "PolicyDocument"); err != nil {
		return nil, err
	}
	_, err := d.change(ctx, c, func(v *iam.Role) error {
		v.Inline[c.Params.Get("PolicyName")] = c.Params.Get("PolicyDocument")
		return nil
	})
	return nil, err
}

func (d *door) getRolePolicy(_ context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PolicyName"); err != nil {
		return nil, err
	}
	v, err := d.find(c)
	if err != nil {
		return nil, err
	}
	name := c.Params.Get("PolicyName")
	text, ok := v.Inline[name]
	if !ok {
		return nil, iam.NoInline(name)
	}
	return struct{ RoleName, PolicyName, PolicyDocument string }{v.Name, name, document(text)}, nil
}

func (d *door) listRolePolicies(_ context.Context, c *queryapi.Call) (any, error) {
	v, err := d.find(c)
	if err != nil {
		return nil, err
	}
	part, end, err := page(c, slices.Sorted(maps.Keys(v.Inline)), itself)
	return struct {
		PolicyNames queryapi.List[string]
		paging
	}{queryapi.List[string]{Members: part}, end}, err
}

func (d *door) deleteRolePolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PolicyName"); err != nil {
		return nil, err
	}
	_, err := d.change(ctx, c, func(v *iam.Role) error { return v.DropInline(c.Params.Get("PolicyName")) })
	return nil, err
}

func (d *door) attachRolePolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PolicyArn"); err != nil {
		return nil, err
	}
	_, err := d.change(ctx, c, func(v *iam.Role) error {
		v.Attach(c.Params.Get("PolicyArn"))
		return nil
	})
	return nil, err
}

func (d *door) detachRolePolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PolicyArn"); err != nil {
		return nil, err
	}
	_, err := d.change(ctx, c, func(v *iam.Role) error { return v.Detach(c.Params.Get("PolicyArn")) })
	return nil, err
}

// attached is AttachedPolicy.
type attached struct{ PolicyName, PolicyArn string }

func (d *door) listAttachedRolePolicies(_ context.Context, c *queryapi.Call) (any, error) {
	v, err := d.find(c)
	if err != nil {
		return nil, err
	}
	prefix := c.Params.Get("PathPrefix")
	all := slices.DeleteFunc(slices.Clone(v.Attached), func(arn string) bool { return !strings.HasPrefix(pathOf(arn), prefix) })
	part, end, err := page(c, all, itself)
	out := struct {
		AttachedPolicies queryapi.List[attached]
		paging
	}{paging: end}
	for _, arn := range part {
		out.AttachedPolicies.Members = append(out.AttachedPolicies.Members, attached{arn[strings.LastIndexByte(arn, '/')+1:], arn})
	}
	return out, err
}

// pathOf is the path in the ARN of a policy, and the name.
func pathOf(arn string) string {
	_, path, _ := strings.Cut(arn, ":policy")
	return path
}

func (d *door) putRolePermissionsBoundary(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PermissionsBoundary"); err != nil {
		return nil, err
	}
	_, err := d.change(ctx, c, func(v *iam.Role) error {
		v.Boundary = c.Params.Get("PermissionsBoundary")
		return nil
	})
	return nil, err
}

func (d *door) deleteRolePermissionsBoundary(ctx context.Context, c *queryapi.Call) (any, error) {
	_, err := d.change(ctx, c, func(v *iam.Role) error {
		v.Boundary = ""
		return nil
	})
	return nil, err
}
