package iamapi

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

// policy is Policy.
type policy struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	ARN                           string `xml:"Arn"`
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    string
	UpdateDate                    string
	Tags                          *queryapi.List[tag] `xml:",omitempty"`
}

// policyOf shows what all operations show of a policy.
func policyOf(p *iam.Policy, use iam.Use) policy {
	return policy{
		PolicyName: p.Name, PolicyID: p.ID, ARN: p.ARN(), Path: p.Path, DefaultVersionID: iam.Version{Number: p.Default}.ID(),
		AttachmentCount: use.Attached, PermissionsBoundaryUsageCount: use.Bounds, IsAttachable: true,
		CreateDate: date(p.Created), UpdateDate: date(p.Updated),
	}
}

type policyResult struct{ Policy policy }

func (d *door) createPolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("PolicyName", "PolicyDocument"); err != nil {
		return nil, err
	}
	p, err := d.room.CreatePolicy(ctx, iam.Policy{
		Namespace: c.Caller.AccountID, Path: cmp.Or(c.Params.Get("Path"), "/"), Name: c.Params.Get("PolicyName"),
		Description: c.Params.Get("Description"),
	}, c.Params.Get("PolicyDocument"), readTags(c))
	if err != nil {
		return nil, err
	}
	out := policyOf(p, iam.Use{})
	out.Tags = someTags(p.Tags)
	return policyResult{out}, nil
}

// findPolicy finds the policy that a request is about.
func (d *door) findPolicy(c *queryapi.Call) (*iam.Policy, error) {
	if err := c.Need("PolicyArn"); err != nil {
		return nil, err
	}
	return d.room.Policy(c.Caller.AccountID, c.Params.Get("PolicyArn"))
}

// changePolicy changes the policy that a request is about.
func (d *door) changePolicy(ctx context.Context, c *queryapi.Call, apply func(p *iam.Policy) error) (*iam.Policy, error) {
	if err := c.Need("PolicyArn"); err != nil {
		return nil, err
	}
	return d.room.UpdatePolicy(ctx, c.Caller.AccountID, c.Params.Get("PolicyArn"), apply)
}

func (d *door) getPolicy(_ context.Context, c *queryapi.Call) (any, error) {
	p, err := d.findPolicy(c)
	if err != nil {
		return nil, err
	}
	out := policyOf(p, d.room.Uses(c.Caller.AccountID)[p.ARN()])
	out.Description, out.Tags = p.Description, new(tagsOf(p.Tags))
	return policyResult{out}, nil
}

func (d *door) listPolicies(_ context.Context, c *queryapi.Call) (any, error) {
	var all []*iam.Policy
	scope := cmp.Or(c.Params.Get("Scope"), "All")
	if scope != "AWS" {
		all = d.room.Policies(c.Caller.AccountID)
	}
	if scope != "Local" {
		all = append(all, d.room.Amazons()...)
	}
	prefix, usage := c.Params.Get("PathPrefix"), c.Params.Get("PolicyUsageFilter")
	uses := d.room.Uses(c.Caller.AccountID)
	all = slices.DeleteFunc(all, func(p *iam.Policy) bool {
		use := uses[p.ARN()]
		return !strings.HasPrefix(p.Path, prefix) || c.Params.Get("OnlyAttached") == "true" && use.Attached == 0 ||
			usage == "PermissionsBoundary" && use.Bounds == 0 || usage == "PermissionsPolicy" && use.Attached == 0
	})
	slices.SortFunc(all, func(a, b *iam.Policy) int { return strings.Compare(a.ARN(), b.ARN()) })
	part, end, err := page(c, all, (*iam.Policy).ARN)
	out := struct {
		Policies queryapi.List[policy]
		paging
	}{paging: end}
	for _, p := range part {
		out.Policies.Members = append(out.Policies.Members, policyOf(p, uses[p.ARN()]))
	}
	return out, err
}

func (d *door) deletePolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("PolicyArn"); err != nil {
		return nil, err
	}
	return nil, d.room.DeletePolicy(ctx, c.Caller.AccountID, c.Params.Get("PolicyArn"))
}

// version is PolicyVersion.
type version struct {
	Document         string `xml:",omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       string
}

func versionOf(p *iam.Policy, v iam.Version) version {
	return version{VersionID: v.ID(), IsDefaultVersion: v.Number == p.Default, CreateDate: date(v.Created)}
}

type versionResult struct{ PolicyVersion version }

func (d *door) createPolicyVersion(ctx context.Context, c *queryapi.Call) (any, error) {
	if err := c.Need("PolicyArn", "PolicyDocument"); err != nil {
		return nil, err
	}
	p, err := d.changePolicy(ctx, c, func(p *iam.Policy) error {
		return p.Add(c.Params.Get("PolicyDocument"), time.Now(), c.Params.Get("SetAsDefault") == "true")
	})
	if err != nil {
		return nil, err
	}
	return versionResult{versionOf(p, p.Versions[len(p.Versions)-1])}, nil
}

var versionForm = regexp.MustCompile(`^v[1-9][0-9]*(\.[A-Za-z0-9-]*)?$`)

// versionID is the version that a request names.
func versionID(c *queryapi.Call) (string, error) {
	if err := c.Need("PolicyArn", "VersionId"); err != nil {
		return "", err
	}
	id := c.Params.Get("VersionId")
	if !versionForm.MatchString(id) {
		return "", lambent.Errorf(lambent.CodeInvalid, "1 validation error detected: Value at 'versionId' failed to satisfy constraint: "+
			`Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)
	}
	return id, nil
}

// unversioned words the error for a version of a policy that is not there.
func unversioned(c *queryapi.Call, err error) error {
	if lambent.CodeOf(err) == lambent.CodeNotFound {
		return iam.NoVersion(c.Params.Get("PolicyArn"), c.Params.Get("VersionId"))
	}
	return err
}

func (d *door) getPolicyVersion(_ context.Context, c *queryapi.Call) (any, error) {
	id, err := versionID(c)
	if err != nil {
		return nil, err
	}
	p, err := d.findPolicy(c)
	if err != nil {
		return nil, unversioned(c, err)
	}
	v, err := p.Version(id)
	if err != nil {
		return nil, err
	}
	out := versionOf(p, v)
	out.Document = document(v.Document)
	return versionResult{out}, nil
}

// listPolicyVersions answers on one page: there are five at most.
func (d *door) listPolicyVersions(_ context.Context, c *queryapi.Call) (any, error) {
	p, err := d.findPolicy(c)
	if err != nil {
		return nil, err
	}
	out := struct {
		Versions queryapi.List[version]
		paging
	}{}
	for _, v := range slices.Backward(p.Versions) {
		out.Versions.Members = append(out.Versions.Members, versionOf(p, v))
	}
	return out, nil
}

func (d *door) deletePolicyVersion(ctx context.Context, c *queryapi.Call) (any, error) {
	id, err := versionID(c)
	if err != nil {
		return nil, err
	}
	_, err = d.changePolicy(ctx, c, func(p *iam.Policy) error { return p.Drop(id) })
	return nil, unversioned(c, err)
}

func (d *door) setDefaultPolicyVersion(ctx context.Context, c *queryapi.Call) (any, error) {
	id, err := versionID(c)
	if err != nil {
		return nil, err
	}
	_, err = d.changePolicy(ctx, c, func(p *iam.Policy) error {
		v, err := p.Version(id)
		p.Default = v.Number
		return err
	})
	return nil, unversioned(c, err)
}

func (d *door) listEntitiesForPolicy(_ context.Context, c *queryapi.Call) (any, error) {
	p, err := d.findPolicy(c)
	if err != nil {
		return nil, err
	}
	type entity struct {
		RoleName string
		RoleID   string `xml:"RoleId"`
	}
	var users []*iam.Role
	if filter := c.Params.Get("EntityFilter"); filter == "" || filter == "Role" || filter == "LocalManagedPolicy" || filter == "AWSManagedPolicy" {
		bounds := c.Params.Get("PolicyUsageFilter") == "PermissionsBoundary"
		for _, v := range d.room.Roles(c.Caller.AccountID, cmp.Or(c.Params.Get("PathPrefix"), "/")) {
			if !bounds && slices.Contains(v.Attached, p.ARN()) || bounds && v.Boundary == p.ARN() {
				users = append(users, v)
			}
		}
	}
	part, end, err := page(c, users, func(v *iam.Role) string { return v.Name })
	out := struct {
		PolicyGroups, PolicyUsers queryapi.List[struct{}]
		PolicyRoles               queryapi.List[entity]
		paging
	}{paging: end}
	for _, v := range part {
		out.PolicyRoles.Members = append(out.PolicyRoles.Members, entity{v.Name, v.ID})
	}
	return out, err
}

func (d *door) tagPolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	_, err := d.changePolicy(ctx, c, func(p *iam.Policy) error { return p.Tag(readTags(c)) })
	return nil, err
}

func (d *door) untagPolicy(ctx context.Context, c *queryapi.Call) (any, error) {
	_, err := d.changePolicy(ctx, c, func(p *iam.Policy) error { return p.Untag(c.List("TagKeys")) })
	return nil, err
}

func (d *door) listPolicyTags(_ context.Context, c *queryapi.Call) (any, error) {
	p, err := d.findPolicy(c)
	if err != nil {
		return nil, err
	}
	return pageOfTags(c, p.Tags)
}
