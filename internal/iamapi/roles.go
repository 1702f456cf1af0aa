package iamapi

import (
	"cmp"
	"context"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

// role is Role. What is not set is not shown: the operations show different parts.
type role struct {
	Path                     string
	RoleName                 string
	RoleID                   string `xml:"RoleId"`
	ARN                      string `xml:"Arn"`
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string              `xml:",omitempty"`
	MaxSessionDuration       int                 `xml:",omitempty"`
	PermissionsBoundary      *boundary           `xml:",omitempty"`
	Tags                     *queryapi.List[tag] `xml:",omitempty"`
	RoleLastUsed             *struct{}           `xml:",omitempty"`
}

// boundary is AttachedPermissionsBoundary.
type boundary struct {
	PermissionsBoundaryType string
	PermissionsBoundaryArn  string
}

// roleOf shows what all operations show of a role.
func roleOf(v *iam.Role) role {
	return role{
		Path: v.Path, RoleName: v.Name, RoleID: v.ID, ARN: v.ARN(), CreateDate: date(v.Created),
		AssumeRolePolicyDocument: document(v.Trust),
	}
}

// listedRole is a role as a list shows it.
func listedRole(v *iam.Role) role {
	out := roleOf(v)
	out.Description, out.MaxSessionDuration = v.Description, v.MaxSession
	return out
}

func boundaryOf(v *iam.Role) *boundary {
	if v.Boundary == "" {
		return nil
	}
	return &boundary{"Policy", v.Boundary}
}

// roleResult is the answer of the operations on one role.
type roleResult struct{ Role role }

func (d *door) createRole(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "AssumeRolePolicyDocument"); err != nil {
		return nil, err
	}
	session, err := c.Number("MaxSessionDuration", 3600)
	if err != nil {
		return nil, err
	}
	v, err := d.room.CreateRole(ctx, iam.Role{
		Namespace: c.Caller.AccountID, Path: cmp.Or(c.Params.Get("Path"), "/"), Name: c.Params.Get("RoleName"),
		Trust: c.Params.Get("AssumeRolePolicyDocument"), Description: c.Params.Get("Description"),
		MaxSession: session, Boundary: c.Params.Get("PermissionsBoundary"),
	}, readTags(c))
	if err != nil {
		return nil, err
	}
	out := roleOf(v)
	out.PermissionsBoundary, out.Tags = boundaryOf(v), someTags(v.Tags)
	return roleResult{out}, nil
}

// find finds the role that a request is about.
func (d *door) find(c *queryapi.Call) (*iam.Role, error) {
	if err := c.Need("RoleName"); err != nil {
		return nil, err
	}
	return d.room.Role(c.Caller.AccountID, c.Params.Get("RoleName"))
}

// change changes the role that a request is about.
func (d *door) change(ctx context.Context, c *queryapi.Call, apply func(v *iam.Role) error) (*iam.Role, error) {
	if err := c.Need("RoleName"); err != nil {
		return nil, err
	}
	return d.room.UpdateRole(ctx, c.Caller.AccountID, c.Params.Get("RoleName"), apply)
}

func (d *door) getRole(_ context.Context, c *queryapi.Call) (any, error) {
	v, err := d.find(c)
	if err != nil {
		return nil, err
	}
	out := listedRole(v)
	out.PermissionsBoundary, out.Tags, out.RoleLastUsed = boundaryOf(v), someTags(v.Tags), &struct{}{}
	return roleResult{out}, nil
}

func (d *door) listRoles(_ context.Context, c *queryapi.Call) (any, error) {
	all := d.room.Roles(c.Caller.AccountID, cmp.Or(c.Params.Get("PathPrefix"), "/"))
	part, end, err := page(c, all, func(v *iam.Role) string { return v.Name })
	out := struct {
		Roles queryapi.List[role]
		paging
	}{paging: end}
	for _, v := range part {
		out.Roles.Members = append(out.Roles.Members, listedRole(v))
	}
	return out, err
}

func (d *door) updateRole(ctx context.Context, c *queryapi.Call) (any, error) {
	_, err := d.change(ctx, c, func(v *iam.Role) (err error) {
		if c.Params.Has("Description") {
			v.Description = c.Params.Get("Description")
		}
		v.MaxSession, err = c.Number("MaxSessionDuration", v.MaxSession)
		return err
	})
	return struct{}{}, err
}

func (d *door) updateRoleDescription(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "Description"); err != nil {
		return nil, err
	}
	v, err := d.change(ctx, c, func(v *iam.Role) error {
		v.Description = c.Params.Get("Description")
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := roleOf(v)
	out.Description = v.Description
	return roleResult{out}, nil
}

func (d *door) deleteRole(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName"); err != nil {
		return nil, err
	}
	return nil, d.room.DeleteRole(ctx, c.Caller.AccountID, c.Params.Get("RoleName"))
}

func (d *door) updateAssumeRolePolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("RoleName", "PolicyDocument"); err != nil {
		return nil, err
	}
	_, err := d.change(ctx, c, func(v *iam.Role) error {
		v.Trust = c.Params.Get("PolicyDocument")
		return nil
	})
	return nil, err
}

func (d *door) tagRole(ctx context.Context, c *queryapi.Call) (any, error) {
	_, err := d.change(ctx, c, func(v *iam.Role) error { return v.Tag(readTags(c)) })
	return nil, err
}

func (d *door) untagRole(ctx context.Context, c *queryapi.Call) (any, error) {
	_, err := d.change(ctx, c, func(v *iam.Role) error { return v.Untag(c.List("TagKeys")) })
	return nil, err
}

// tagsResult is a page of tags.
type tagsResult struct {
	Tags queryapi.List[tag]
	paging
}

func pageOfTags(c *queryapi.Call, all map[string]string) (any, error) {
	part, end, err := page(c, tagsOf(all).Members, func(t tag) string { return t.Key })
	return tagsResult{queryapi.List[tag]{Members: part}, end}, err
}

func (d *door) listRoleTags(_ context.Context, c *queryapi.Call) (any, error) {
	v, err := d.find(c)
	if err != nil {
		return nil, err
	}
	return pageOfTags(c, v.Tags)
}

// listInstanceProfilesForRole is asked by tools before they delete a role; machines
// that have one there are none.
func (d *door) listInstanceProfilesForRole(_ context.Context, c *queryapi.Call) (any, error) {
	_, err := d.find(c)
	return struct {
		InstanceProfiles queryapi.List[struct{}]
		paging
	}{}, err
}
