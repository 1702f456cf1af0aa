package queryapi

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

// List is a list as the dialect writes it; an empty one is there all the same.
type List[T any] struct {
	Members []T `xml:"member"`
}

// Need is the error for the first of the members that a request lacks.
func (c *Call) Need(members ...string) error {
	for _, name := range members {
		if !c.Params.Has(name) {
			return lambent.Errorf(lambent.CodeInvalid,
				"1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", lowerFirst(name))
		}
	}
	return nil
}

func lowerFirst(name string) string { return strings.ToLower(name[:1]) + name[1:] }

// Number is a member that is a number, or what it is for want of one.
func (c *Call) Number(member string, otherwise int) (int, error) {
	text := c.Params.Get(member)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, lambent.Errorf(lambent.CodeInvalid, "The value '%.50s' at '%s' is not a number.", text, lowerFirst(member)).WithReason("MalformedInput")
	}
	return n, nil
}

// List reads a list of texts: TagKeys.member.1 and what follows; of members that are
// structures, one member of each, named as in "PolicyArns.arn".
func (c *Call) List(member string) []string {
	name, field, of := strings.Cut(member, ".")
	if of {
		field = "." + field
	}
	var out []string
	for _, m := range c.Members(name) {
		out = append(out, c.Params.Get(m+field))
	}
	return out
}

// Members are the members of a list as parameters begin with them, "Tags.member.1", in
// the order of their numbers. None is left out because another number is missing: what a
// list forbids would be allowed.
func (c *Call) Members(list string) []string {
	prefix := list + ".member."
	var out []string
	for key := range c.Params {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			number, _, _ := strings.Cut(rest, ".")
			out = append(out, prefix+number)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return slices.Compact(out)
}

// Break is the error for a member whose value breaks a rule of its shape.
func Break(member, value, rule string) error {
	return lambent.Errorf(lambent.CodeInvalid,
		"1 validation error detected: Value '%.200s' at '%s' failed to satisfy constraint: Member must %s", value, lowerFirst(member), rule)
}
