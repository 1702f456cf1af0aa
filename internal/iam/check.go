package iam

import (
	"crypto/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/iam/policy"
)

// Limits, most of them AWS's (IAM User Guide, "IAM and AWS STS quotas"). Sizes of
// documents are in characters without white space, but for maxText, in bytes.
const (
	maxRoles       = 1000
	maxPolicies    = 1500
	maxVersions    = 5
	maxAttached    = 10
	maxTags        = 50
	maxTrust       = 2048
	maxInline      = 10_240 // of all inline policies of a role
	maxManaged     = 6144
	maxText        = 131_072 // of all documents of one kind in a role
	maxRoleName    = 64
	maxPolicyName  = 128
	maxPath        = 512
	maxDescription = 1000
	maxARN         = 2048
	maxTagKey      = 128
	maxTagValue    = 256
	minSession     = 3600 // seconds
	maxSession     = 43_200
)

// Tag is a tag as a request names it.
type Tag struct{ Key, Value string }

// newID makes a unique id of AWS's form: what it is of, and 17 letters and digits.
func newID(prefix string) string { return prefix + rand.Text()[:17] }

// constraint is the error for a member that breaks a rule of its shape.
func constraint(member, rule string) error {
	return lambent.Errorf(lambent.CodeInvalid, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must %s", member, rule)
}

func overQuota(name string, limit int) error {
	return refused(lambent.CodeConflict, "LimitExceeded", "Cannot exceed quota for %s: %d", name, limit)
}

var nameForm = regexp.MustCompile(`^[\w+=,.@-]+$`)

// checkName holds a name against its form; member is what a request calls it.
func checkName(member, name string, most int) error {
	switch {
	case name == "":
		return constraint(member, "have length greater than or equal to 1")
	case len(name) > most:
		return lengthOver(member, most)
	case !nameForm.MatchString(name):
		return lambent.Errorf(lambent.CodeInvalid,
			"The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", member)
	}
	return nil
}

func lengthOver(member string, most int) error {
	return lambent.Errorf(lambent.CodeInvalid,
		"1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member, most)
}

var pathForm = regexp.MustCompile(`^/([!-~]+/)?$`)

func checkPath(path string) error {
	if len(path) > maxPath {
		return lengthOver("path", maxPath)
	}
	if !pathForm.MatchString(path) {
		return lambent.Errorf(lambent.CodeInvalid, "The specified value for path is invalid. "+
			"It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

// descriptionForm is what may stand in a description: printable Latin-1 and what
// breaks lines.
var descriptionForm = regexp.MustCompile(`^[\t\n\r -~¡-ÿ]*$`)

func checkDescription(text string) error {
	if utf8.RuneCountInString(text) > maxDescription {
		return lengthOver("description", maxDescription)
	}
	if !descriptionForm.MatchString(text) {
		return constraint("description", `satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`)
	}
	return nil
}

var policyARNForm = regexp.MustCompile(`^arn:aws:iam::(\d{12}|aws):policy/([!-~]+/)?[\w+=,.@-]+$`)

// checkPolicyARN holds a policy's ARN against its form.
func checkPolicyARN(arn string) error {
	if len(arn) > maxARN || !policyARNForm.MatchString(arn) {
		return lambent.Errorf(lambent.CodeInvalid, "ARN %.200s is not valid.", arn)
	}
	return nil
}

const tagKeyPattern = `[\p{L}\p{Z}\p{N}_.:/=+\-@]+`

var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags holds tags of a request against their forms; with fold keys that differ
// in their case are the same.
func checkTags(tags []Tag, fold bool) error {
	if len(tags) > maxTags {
		return lengthOver("tags", maxTags)
	}
	seen := map[string]bool{}
	for i, t := range tags {
		member := func(name string) string { return "tags." + strconv.Itoa(i+1) + ".member." + name }
		key := t.Key
		if fold {
			key = strings.ToLower(key)
		}
		switch {
		case t.Key == "":
			return constraint(member("key"), "have length greater than or equal to 1")
		case utf8.RuneCountInString(t.Key) > maxTagKey:
			return lengthOver(member("key"), maxTagKey)
		case utf8.RuneCountInString(t.Value) > maxTagValue:
			return lengthOver(member("value"), maxTagValue)
		case !tagForm.MatchString(t.Key):
			return constraint(member("key"), "satisfy regular expression pattern: "+tagKeyPattern)
		case !tagForm.MatchString(t.Value):
			return constraint(member("value"), `satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
		case seen[key] && fold:
			return refused(lambent.CodeInvalid, "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case seen[key]:
			return refused(lambent.CodeInvalid, "InvalidInput", "Duplicate tag keys found.")
		}
		seen[key] = true
	}
	return nil
}

// checkKeys holds the keys of tags that are to go against their form.
func checkKeys(keys []string) error {
	if len(keys) > maxTags {
		return lengthOver("tagKeys", maxTags)
	}
	for _, key := range keys {
		if key == "" || utf8.RuneCountInString(key) > maxTagKey || !tagForm.MatchString(key) {
			return constraint("tagKeys", "satisfy constraint: [Member must have length less than or equal to 128, "+
				"Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: "+tagKeyPattern+", Member must not be null]")
		}
	}
	return nil
}

// size counts the characters of a document that are not white space.
func size(document string) int {
	n := 0
	for _, c := range document {
		if !unicode.IsSpace(c) {
			n++
		}
	}
	return n
}

// checkRole holds a role against its rules; old is what it was, whose policies need
// not be looked for again.
func (r *Room) checkRole(v, old *Role) error {
	if old.Name == "" {
		if err := checkName("roleName", v.Name, maxRoleName); err != nil {
			return err
		}
		if err := checkPath(v.Path); err != nil {
			return err
		}
	}
	if err := checkDescription(v.Description); err != nil {
		return err
	}
	switch {
	case v.MaxSession < minSession:
		return constraint("maxSessionDuration", "have value greater than or equal to "+strconv.Itoa(minSession))
	case v.MaxSession > maxSession:
		return constraint("maxSessionDuration", "have value less than or equal to "+strconv.Itoa(maxSession))
	case len(v.Trust) > maxText:
		return lengthOver("policyDocument", maxText)
	case size(v.Trust) > maxTrust:
		return overQuota("ACLSizePerRole", maxTrust)
	case len(v.Tags) > maxTags:
		return overQuota("TagsPerRole", maxTags)
	}
	if err := checkInline(v); err != nil {
		return err
	}
	return r.checkPolicies(v, old)
}

func checkInline(v *Role) error {
	sum, text := 0, 0
	for name, document := range v.Inline {
		if err := checkName("policyName", name, maxPolicyName); err != nil {
			return err
		}
		if len(document) > maxText {
			return lengthOver("policyDocument", maxText)
		}
		sum += size(document)
		text += len(document)
	}
	if sum > maxInline || text > maxText {
		return refused(lambent.CodeConflict, "LimitExceeded", "Maximum policy size of %d bytes exceeded for role %s", maxInline, v.Name)
	}
	return nil
}

// checkPolicies looks for the managed policies that a role has newly. One of AWS's
// own is taken for granted: it says nothing where it is not known.
func (r *Room) checkPolicies(v, old *Role) error {
	for _, arn := range v.Attached {
		if slices.Contains(old.Attached, arn) {
			continue
		}
		if err := checkPolicyARN(arn); err != nil {
			return err
		}
		if !r.exists(v.Namespace, arn) {
			return lambent.Errorf(lambent.CodeNotFound, "Policy %s does not exist or is not attachable.", arn)
		}
	}
	if len(v.Attached) > maxAttached {
		return overQuota("PoliciesPerRole", maxAttached)
	}
	if v.Boundary == "" || v.Boundary == old.Boundary {
		return nil
	}
	if checkPolicyARN(v.Boundary) != nil {
		return refused(lambent.CodeInvalid, "InvalidInput", "ARN %.200s is not valid.", v.Boundary)
	}
	if !r.exists(v.Namespace, v.Boundary) {
		return lambent.Errorf(lambent.CodeNotFound, "Scope ARN: %s does not exist or is not attachable.", v.Boundary)
	}
	return nil
}

// exists tells whether a role may have a policy.
func (r *Room) exists(namespace, arn string) bool {
	return strings.HasPrefix(arn, "arn:aws:iam::"+amazon+":") || r.policy(namespace, arn) != nil
}

// checkPolicy holds a managed policy against its rules, and reads its versions.
func checkPolicy(p *Policy) (*policyEntry, error) {
	if err := checkName("policyName", p.Name, maxPolicyName); err != nil {
		return nil, err
	}
	if err := checkPath(p.Path); err != nil {
		return nil, err
	}
	if err := checkDescription(p.Description); err != nil {
		return nil, err
	}
	if len(p.Tags) > maxTags {
		return nil, overQuota("TagsPerPolicy", maxTags)
	}
	last := p.Versions[len(p.Versions)-1].Document // the others were checked when they were the last
	switch {
	case len(last) > maxText:
		return nil, lengthOver("policyDocument", maxText)
	case size(last) > maxManaged:
		return nil, overQuota("PolicySize", maxManaged)
	}
	if _, err := policy.Parse(last); err != nil { // it need not be the default
		return nil, err
	}
	return newPolicyEntry(p)
}
