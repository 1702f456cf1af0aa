package trigger

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// maxTags is how many tags a group may have (TagList, EventBridge Scheduler API
// reference).
const maxTags = 200

// group is a group in memory, guarded by Room.mu.
type group struct {
	g   *lambent.ScheduleGroup
	rev int64
}

func noGroup(name string) error {
	return lambent.Errorf(lambent.CodeNotFound, "Schedule group %s does not exist.", name)
}

// heedGroup makes the room know a group's record as it is now, or that it was deleted.
func (r *Room) heedGroup(rec store.Record) error {
	parts := strings.Split(rec.Key, "/")
	if len(parts) != 3 {
		return errKey
	}
	k := groupKey{parts[1], parts[2]}
	var g lambent.ScheduleGroup
	if rec.Value != nil {
		if err := json.Unmarshal(rec.Value, &g); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch old := r.groups[k]; {
	case old != nil && old.rev >= rec.Revision:
	case rec.Value == nil:
		delete(r.groups, k)
	default:
		r.groups[k] = &group{&g, rec.Revision}
	}
	return nil
}

// groupLocked tells whether a group exists.
func (r *Room) groupLocked(namespace, name string) bool {
	return name == lambent.DefaultGroup || r.groups[groupKey{namespace, name}] != nil
}

// findGroup finds a group with its revision, which the default one has only when it
// has been tagged.
func (r *Room) findGroup(k groupKey) (*lambent.ScheduleGroup, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.groups[k]; g != nil {
		return g.g, g.rev, nil
	}
	if k.name == lambent.DefaultGroup {
		return &lambent.ScheduleGroup{Namespace: k.namespace, Name: k.name}, 0, nil
	}
	return nil, 0, noGroup(k.name)
}

// Group finds a group.
func (r *Room) Group(namespace, name string) (*lambent.ScheduleGroup, error) {
	g, _, err := r.findGroup(groupKey{namespace, name})
	return g, err
}

// Groups lists the groups whose name begins with prefix, by name.
func (r *Room) Groups(namespace, prefix string) []*lambent.ScheduleGroup {
	names := map[string]bool{lambent.DefaultGroup: true}
	r.mu.Lock()
	for k := range r.groups {
		if k.namespace == namespace {
			names[k.name] = true
		}
	}
	r.mu.Unlock()
	var out []*lambent.ScheduleGroup
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if g, err := r.Group(namespace, name); err == nil && strings.HasPrefix(name, prefix) {
			out = append(out, g)
		}
	}
	return out
}

// CreateGroup makes a group. A second one with the same Token is the first.
func (r *Room) CreateGroup(ctx context.Context, g lambent.ScheduleGroup) (*lambent.ScheduleGroup, error) {
	if !lambent.ValidScheduleName(g.Name) {
		return nil, invalid("A name has 1 to %d letters, digits, hyphens, underscores and dots.", lambent.MaxScheduleName)
	}
	if len(g.Tags) > maxTags {
		return nil, invalid("A schedule group has at most %d tags.", maxTags)
	}
	if old, err := r.Group(g.Namespace, g.Name); err == nil {
		if g.Token != "" && old.Token == g.Token {
			return old, nil
		}
		return nil, lambent.Errorf(lambent.CodeConflict, "Schedule group %s already exists.", g.Name)
	}
	if len(r.Groups(g.Namespace, "")) >= maxGroups {
		return nil, lambent.Errorf(lambent.CodeConflict, "The number of schedule groups is at its limit of %d.", maxGroups).WithReason("Quota")
	}
	g.Created = moment()
	g.Modified = g.Created
	return &g, r.commitGroup(ctx, &g, 0)
}

func (r *Room) commitGroup(ctx context.Context, g *lambent.ScheduleGroup, rev int64) error {
	value, err := json.Marshal(g)
	if err != nil {
		return &lambent.Error{Code: lambent.CodeInternal, Message: "the schedule group could not be written", Cause: err}
	}
	k := groupKey{g.Namespace, g.Name}
	return r.change(ctx, "Schedule group "+g.Name, func(revision int64) { r.groups[k] = &group{g, revision} },
		func(ctx context.Context) error { return r.refresh(ctx, k.record()) },
		store.Op{Key: k.record(), Value: value, Check: true, If: rev})
}

// DeleteGroup deletes a group and the schedules in it.
func (r *Room) DeleteGroup(ctx context.Context, namespace, name string) error {
	if name == lambent.DefaultGroup {
		return invalid("Deleting default schedule group is not allowed.")
	}
	k := groupKey{namespace, name}
	_, rev, err := r.findGroup(k)
	if err != nil {
		return err
	}
	ops := []store.Op{{Key: k.record(), Delete: true, Check: true, If: rev}}
	all := r.Schedules(namespace, name, "")
	for _, s := range all {
		ops = append(ops, store.Op{Key: keyOf(s).record(), Delete: true}, store.Op{Key: keyOf(s).mark(), Delete: true})
	}
	return r.change(ctx, "Schedule group "+name, func(int64) {
		delete(r.groups, k)
		for _, s := range all {
			r.forget(keyOf(s))
		}
	}, func(ctx context.Context) error {
		_, err := r.load(ctx)
		return err
	}, ops...)
}

// Tag sets tags of a group and takes others away.
func (r *Room) Tag(ctx context.Context, namespace, name string, set map[string]string, drop []string) error {
	old, rev, err := r.findGroup(groupKey{namespace, name})
	if err != nil {
		return err
	}
	g := *old
	g.Tags = map[string]string{}
	maps.Copy(g.Tags, old.Tags)
	maps.Copy(g.Tags, set)
	for _, key := range drop {
		delete(g.Tags, key)
	}
	if len(g.Tags) > maxTags {
		return invalid("A schedule group has at most %d tags.", maxTags)
	}
	return r.commitGroup(ctx, &g, rev)
}
