package iam

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Policy is a managed policy: one of a namespace, or one of AWS's own. What the room
// hands out never changes.
type Policy struct {
	Namespace   string            `json:"namespace"` // "aws" for AWS's own
	Path        string            `json:"path"`
	Name        string            `json:"name"`
	ID          string            `json:"id"` // "ANPA..."
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Versions    []Version         `json:"versions"` // in the order of their numbers
	Default     int               `json:"default"`  // number of the version that counts
	Last        int               `json:"last"`     // highest number that was given
	Created     time.Time         `json:"created"`
	Updated     time.Time         `json:"updated"`
}

// Version is one version of a managed policy.
type Version struct {
	Number   int       `json:"number"`
	Document string    `json:"document"` // as it was given
	Created  time.Time `json:"created"`
}

// ID is the version's name: "v1".
func (v Version) ID() string { return "v" + strconv.Itoa(v.Number) }

// amazon is the namespace of AWS's own policies.
const amazon = "aws"

// ARN is the policy's ARN.
func (p *Policy) ARN() string { return "arn:aws:iam::" + p.Namespace + ":policy" + p.Path + p.Name }

// Version finds a version by its id.
func (p *Policy) Version(id string) (Version, error) {
	for _, v := range p.Versions {
		if v.ID() == id {
			return v, nil
		}
	}
	return Version{}, NoVersion(p.ARN(), id)
}

// Document is that of the default version.
func (p *Policy) Document() string {
	for _, v := range p.Versions {
		if v.Number == p.Default {
			return v.Document
		}
	}
	return ""
}

// Add adds a version, which is the default one from now on if that is wanted.
func (p *Policy) Add(document string, now time.Time, count bool) error {
	if len(p.Versions) >= maxVersions {
		return refused(lambent.CodeConflict, "LimitExceeded",
			"A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
	}
	p.Last++
	p.Updated = now.UTC().Truncate(time.Second)
	p.Versions = append(p.Versions, Version{Number: p.Last, Document: document, Created: p.Updated})
	if count {
		p.Default = p.Last
	}
	return nil
}

// Drop deletes a version.
func (p *Policy) Drop(id string) error {
	v, err := p.Version(id)
	switch {
	case err != nil:
		return err
	case v.Number == p.Default:
		return inUse("Cannot delete the default version of a policy.")
	}
	p.Versions = slices.DeleteFunc(p.Versions, func(have Version) bool { return have.Number == v.Number })
	return nil
}

// Tag sets tags.
func (p *Policy) Tag(tags []Tag) error {
	if err := checkTags(tags, false); err != nil {
		return err
	}
	for _, t := range tags {
		p.Tags[t.Key] = t.Value
	}
	return nil
}

// Untag takes tags away; those that are not there are none.
func (p *Policy) Untag(keys []string) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	for _, key := range keys {
		delete(p.Tags, key)
	}
	return nil
}

func noPolicy(arn string) error {
	return lambent.Errorf(lambent.CodeNotFound, "Policy %s was not found.", arn)
}

// NoVersion is the error for a version that a policy does not have.
func NoVersion(arn, id string) error {
	return lambent.Errorf(lambent.CodeNotFound, "Policy %s version %s does not exist or is not attachable.", arn, id)
}

// CreatePolicy makes a managed policy of its namespace, path, name and description,
// with its first version. The errors are of code invalid and conflict.
func (r *Room) CreatePolicy(ctx context.Context, p Policy, document string, tags []Tag) (*Policy, error) {
	end, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	p.ID, p.Tags = newID("ANPA"), map[string]string{}
	if err := p.Add(document, r.o.Now(), true); err != nil {
		return nil, err
	}
	p.Created = p.Updated
	if err := p.Tag(tags); err != nil {
		return nil, err
	}
	e, err := checkPolicy(&p)
	if err != nil {
		return nil, err
	}
	key := policyKey(p.Namespace, p.Name)
	r.mu.RLock()
	taken := r.policies[key] != nil
	r.mu.RUnlock()
	switch {
	case taken:
		return nil, lambent.Errorf(lambent.CodeConflict, "A policy called %s already exists. Duplicate names are not allowed.", p.Name)
	case len(r.Policies(p.Namespace)) >= maxPolicies:
		return nil, overQuota("PoliciesPerAccount", maxPolicies)
	}
	if e.revision, err = r.commit(ctx, key, &p, 0); err != nil {
		return nil, err
	}
	r.putPolicy(key, e)
	return e.Policy, nil
}

// policy finds a policy that a namespace may use: one of its own, or AWS's.
func (r *Room) policy(namespace, arn string) *policyEntry {
	if strings.HasPrefix(arn, "arn:aws:iam::"+amazon+":policy/") {
		return r.amazon[arn]
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.policyAt[arn]; e != nil && e.Namespace == namespace {
		return e
	}
	return nil
}

// Policy finds a policy that a namespace may use: one of its own, or one of AWS's
// that is known here.
func (r *Room) Policy(namespace, arn string) (*Policy, error) {
	if err := checkPolicyARN(arn); err != nil {
		return nil, err
	}
	e := r.policy(namespace, arn)
	if e == nil {
		return nil, noPolicy(arn)
	}
	return e.Policy, nil
}

// Policies lists a namespace's own policies, by name.
func (r *Room) Policies(namespace string) []*Policy {
	var out []*Policy
	r.mu.RLock()
	for _, e := range r.policies {
		if e.Namespace == namespace {
			out = append(out, e.Policy)
		}
	}
	r.mu.RUnlock()
	return byName(out)
}

func byName(list []*Policy) []*Policy {
	slices.SortFunc(list, func(a, b *Policy) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// UpdatePolicy changes a policy of a namespace's own: change is given a copy, whose
// namespace, name, path and ID it leaves as they are. The errors are change's, and
// those of [Room.Policy] and [Room.CreatePolicy].
func (r *Room) UpdatePolicy(ctx context.Context, namespace, arn string, change func(*Policy) error) (*Policy, error) {
	end, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	old, err := r.own(namespace, arn)
	if err != nil {
		return nil, err
	}
	p := *old.Policy
	p.Tags, p.Versions = copyOf(p.Tags), slices.Clone(p.Versions)
	if err := change(&p); err != nil {
		return nil, err
	}
	e, err := checkPolicy(&p)
	if err != nil {
		return nil, err
	}
	key := policyKey(namespace, p.Name)
	if e.revision, err = r.commit(ctx, key, &p, old.revision); err != nil {
		return nil, err
	}
	r.putPolicy(key, e)
	return e.Policy, nil
}

// own finds a policy that a namespace may change.
func (r *Room) own(namespace, arn string) (*policyEntry, error) {
	if _, err := r.Policy(namespace, arn); err != nil {
		return nil, err
	}
	e := r.policy(namespace, arn)
	if e.Namespace == amazon {
		return nil, refused(lambent.CodeInvalid, "InvalidInput", "Policy %s is outside your own account.", arn)
	}
	return e, nil
}

// DeletePolicy deletes a policy that nothing uses and that has one version. The
// errors are those of [Room.Policy], and conflict with the reason "DeleteConflict".
func (r *Room) DeletePolicy(ctx context.Context, namespace, arn string) error {
	end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	e, err := r.own(namespace, arn)
	switch {
	case err != nil:
		return err
	case r.Uses(namespace)[arn] != Use{}:
		return inUse("Cannot delete a policy attached to entities.")
	case len(e.Versions) > 1:
		return inUse("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. " +
			"The default version is deleted with the policy.")
	}
	key := policyKey(namespace, e.Name)
	if _, err := r.commit(ctx, key, nil, e.revision); err != nil {
		return err
	}
	r.putPolicy(key, nil)
	return nil
}

// Use is how many roles a policy is attached to, and is the boundary of.
type Use struct{ Attached, Bounds int }

// Uses counts what a namespace's roles use, by the policies' ARNs.
func (r *Room) Uses(namespace string) map[string]Use {
	out := map[string]Use{}
	for _, v := range r.Roles(namespace, "/") {
		for _, arn := range v.Attached {
			u := out[arn]
			u.Attached++
			out[arn] = u
		}
		if v.Boundary != "" {
			u := out[v.Boundary]
			u.Bounds++
			out[v.Boundary] = u
		}
	}
	return out
}

// Amazons lists the policies of AWS's own that are known here, by name.
func (r *Room) Amazons() []*Policy {
	var out []*Policy
	for _, e := range r.amazon {
		out = append(out, e.Policy)
	}
	return byName(out)
}
