package iam

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Role is a role of a namespace. What the room hands out never changes.
type Role struct {
	Namespace   string            `json:"namespace"`
	Path        string            `json:"path"` // "/" or "/a/b/"
	Name        string            `json:"name"`
	ID          string            `json:"id"`    // "AROA..."
	Trust       string            `json:"trust"` // document, as it was given
	Description string            `json:"description,omitempty"`
	MaxSession  int               `json:"max_session"` // seconds
	Boundary    string            `json:"boundary,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Inline      map[string]string `json:"inline,omitempty"`   // documents by name
	Attached    []string          `json:"attached,omitempty"` // ARNs of policies, sorted
	Created     time.Time         `json:"created"`
}

// ARN is the role's ARN.
func (v *Role) ARN() string { return "arn:aws:iam::" + v.Namespace + ":role" + v.Path + v.Name }

// Attach adds a managed policy; one that is there stays.
func (v *Role) Attach(arn string) {
	if i, found := slices.BinarySearch(v.Attached, arn); !found {
		v.Attached = slices.Insert(v.Attached, i, arn)
	}
}

// Detach takes a managed policy away.
func (v *Role) Detach(arn string) error {
	i, found := slices.BinarySearch(v.Attached, arn)
	if !found {
		return noPolicy(arn)
	}
	v.Attached = slices.Delete(v.Attached, i, i+1)
	return nil
}

// DropInline deletes an inline policy.
func (v *Role) DropInline(name string) error {
	if _, found := v.Inline[name]; !found {
		return NoInline(name)
	}
	delete(v.Inline, name)
	return nil
}

// Tag sets tags, whose keys are the same whatever their case.
func (v *Role) Tag(tags []Tag) error {
	if err := checkTags(tags, true); err != nil {
		return err
	}
	for _, t := range tags {
		maps.DeleteFunc(v.Tags, func(key, _ string) bool { return strings.EqualFold(key, t.Key) })
		v.Tags[t.Key] = t.Value
	}
	return nil
}

// Untag takes tags away; those that are not there are none.
func (v *Role) Untag(keys []string) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	for _, key := range keys {
		maps.DeleteFunc(v.Tags, func(have, _ string) bool { return strings.EqualFold(have, key) })
	}
	return nil
}

// NoInline is the error for an inline policy that a role does not have.
func NoInline(name string) error {
	return lambent.Errorf(lambent.CodeNotFound, "The role policy with name %s cannot be found.", name)
}

func noRole(name string) error {
	return lambent.Errorf(lambent.CodeNotFound, "The role with name %s cannot be found.", name)
}

// CreateRole makes a role of its namespace, path, name, trust policy, description,
// session time, boundary and tags. The errors are of code invalid, not found for the
// boundary, and conflict.
func (r *Room) CreateRole(ctx context.Context, v Role, tags []Tag) (*Role, error) {
	end, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	v.ID, v.Created, v.Tags = newID("AROA"), r.o.Now().UTC().Truncate(time.Second), map[string]string{}
	if err := v.Tag(tags); err != nil {
		return nil, err
	}
	if err := r.checkRole(&v, &Role{}); err != nil {
		return nil, err
	}
	e, err := newRoleEntry(&v)
	if err != nil {
		return nil, err
	}
	key := roleKey(v.Namespace, v.Name)
	r.mu.RLock()
	taken := r.roles[key] != nil
	r.mu.RUnlock()
	switch {
	case taken:
		return nil, lambent.Errorf(lambent.CodeConflict, "Role with name %s already exists.", v.Name)
	case len(r.Roles(v.Namespace, "/")) >= maxRoles:
		return nil, overQuota("RolesPerAccount", maxRoles)
	}
	if e.revision, err = r.commit(ctx, key, &v, 0); err != nil {
		return nil, err
	}
	r.putRole(key, e)
	return e.Role, nil
}

// role finds a role by the name that it has, case and all.
func (r *Room) role(namespace, name string) (*roleEntry, error) {
	r.mu.RLock()
	e := r.roles[roleKey(namespace, name)]
	r.mu.RUnlock()
	if e == nil || e.Name != name {
		return nil, noRole(name)
	}
	return e, nil
}

// Role finds a role.
func (r *Room) Role(namespace, name string) (*Role, error) {
	e, err := r.role(namespace, name)
	if err != nil {
		return nil, err
	}
	return e.Role, nil
}

// Roles lists the roles of a namespace whose path begins with prefix, by name.
func (r *Room) Roles(namespace, prefix string) []*Role {
	var out []*Role
	r.mu.RLock()
	for _, e := range r.roles {
		if e.Namespace == namespace && strings.HasPrefix(e.Path, prefix) {
			out = append(out, e.Role)
		}
	}
	r.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Role) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// UpdateRole changes a role: change is given a copy, whose namespace, name, path and
// ID it leaves as they are. The errors are change's, those of [Room.CreateRole], and
// of code not found for the role.
func (r *Room) UpdateRole(ctx context.Context, namespace, name string, change func(*Role) error) (*Role, error) {
	end, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	old, err := r.role(namespace, name)
	if err != nil {
		return nil, err
	}
	v := *old.Role
	v.Tags, v.Inline, v.Attached = copyOf(v.Tags), copyOf(v.Inline), slices.Clone(v.Attached)
	if err := change(&v); err != nil {
		return nil, err
	}
	if err := r.checkRole(&v, old.Role); err != nil {
		return nil, err
	}
	e, err := newRoleEntry(&v)
	if err != nil {
		return nil, err
	}
	key := roleKey(namespace, name)
	if e.revision, err = r.commit(ctx, key, &v, old.revision); err != nil {
		return nil, err
	}
	r.putRole(key, e)
	return e.Role, nil
}

// copyOf is a copy that is never nil.
func copyOf(m map[string]string) map[string]string {
	out := make(map[string]string, len(m)+1)
	maps.Copy(out, m)
	return out
}

// DeleteRole deletes a role that has no policies any more. The errors are of code not
// found, and conflict with the reason "DeleteConflict".
func (r *Room) DeleteRole(ctx context.Context, namespace, name string) error {
	end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	e, err := r.role(namespace, name)
	switch {
	case err != nil:
		return err
	case len(e.Attached) > 0:
		return inUse("Cannot delete entity, must detach all policies first.")
	case len(e.Inline) > 0:
		return inUse("Cannot delete entity, must delete policies first.")
	}
	key := roleKey(namespace, name)
	if _, err := r.commit(ctx, key, nil, e.revision); err != nil {
		return err
	}
	r.putRole(key, nil)
	return nil
}

func inUse(message string) error {
	return &lambent.Error{Code: lambent.CodeConflict, Reason: "DeleteConflict", Message: message}
}
