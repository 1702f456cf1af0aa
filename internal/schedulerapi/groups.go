package schedulerapi

import (
	"maps"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// group is ScheduleGroupSummary, and the answer of GetScheduleGroup.
type group struct {
	Arn, Name, State     string
	CreationDate         *seconds `json:",omitempty"`
	LastModificationDate *seconds `json:",omitempty"`
}

func (d *door) group(g *lambent.ScheduleGroup) group {
	return group{
		Arn: g.ARN(d.o.Region), Name: g.Name, State: "ACTIVE",
		CreationDate: secondsOf(g.Created), LastModificationDate: secondsOf(g.Modified),
	}
}

type tag struct{ Key, Value string }

// Bounds of a tag, in bytes (EventBridge Scheduler API reference).
const (
	maxTagKey   = 128
	maxTagValue = 256
)

// tagsOf reads a list of tags.
func tagsOf(list []tag) (map[string]string, error) {
	out := make(map[string]string, len(list))
	for _, t := range list {
		if t.Key == "" || len(t.Key) > maxTagKey || t.Value == "" || len(t.Value) > maxTagValue {
			return nil, invalid("A tag has a key of 1 to 128 and a value of 1 to 256 characters.")
		}
		out[t.Key] = t.Value
	}
	return out, nil
}

func (d *door) createGroup(c *call) (any, error) {
	var in struct {
		ClientToken string
		Tags        []tag
	}
	if err := read(c.body, &in); err != nil {
		return nil, err
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	g, err := d.o.Groups.CreateGroup(c.Context(), lambent.ScheduleGroup{Namespace: c.namespace, Name: c.PathValue("name"), Tags: tags, Token: in.ClientToken})
	if err != nil {
		return nil, err
	}
	return struct{ ScheduleGroupArn string }{g.ARN(d.o.Region)}, nil
}

func (d *door) getGroup(c *call) (any, error) {
	g, err := d.o.Groups.Group(c.namespace, c.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return d.group(g), nil
}

func (d *door) deleteGroup(c *call) (any, error) {
	return empty{}, d.o.Groups.DeleteGroup(c.Context(), c.namespace, c.PathValue("name"))
}

func (d *door) listGroups(c *call) (any, error) {
	all := d.o.Groups.Groups(c.namespace, c.query.Get("NamePrefix"))
	part, next, err := page(c, all, func(g *lambent.ScheduleGroup) string { return g.Name })
	if err != nil {
		return nil, err
	}
	out := struct {
		ScheduleGroups []group
		NextToken      string `json:",omitempty"`
	}{make([]group, 0, len(part)), next}
	for _, g := range part {
		out.ScheduleGroups = append(out.ScheduleGroups, d.group(g))
	}
	return out, nil
}

// tagged finds the group whose tags a request is about; nothing else has tags.
func (d *door) tagged(c *call) (*lambent.ScheduleGroup, error) {
	name, ok := strings.CutPrefix(c.PathValue("arn"), (&lambent.ScheduleGroup{Namespace: c.namespace}).ARN(d.o.Region))
	if !ok || !lambent.ValidScheduleName(name) {
		return nil, invalid("The ARN is not of a schedule group of this account and region.")
	}
	return d.o.Groups.Group(c.namespace, name)
}

func (d *door) listTags(c *call) (any, error) {
	g, err := d.tagged(c)
	if err != nil {
		return nil, err
	}
	out := struct{ Tags []tag }{[]tag{}}
	for _, key := range slices.Sorted(maps.Keys(g.Tags)) {
		out.Tags = append(out.Tags, tag{key, g.Tags[key]})
	}
	return out, nil
}

func (d *door) tag(c *call) (any, error) {
	var in struct{ Tags []tag }
	if err := read(c.body, &in); err != nil {
		return nil, err
	}
	g, err := d.tagged(c)
	if err != nil {
		return nil, err
	}
	set, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.Tag(c.Context(), c.namespace, g.Name, set, nil)
}

func (d *door) untag(c *call) (any, error) {
	g, err := d.tagged(c)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.Tag(c.Context(), c.namespace, g.Name, nil, c.query["TagKeys"])
}
