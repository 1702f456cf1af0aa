package policy

import (
	"regexp"
	"slices"
	"strings"
)

// Parse reads the policy of an identity. The errors are AWS's, of reason
// "MalformedPolicyDocument", and in AWS's order where a document has several.
func Parse(text string) (*Document, error) {
	s, ok := read(text)
	if !ok {
		return nil, malformed(syntax)
	}
	if s.version != current {
		return nil, malformed("Policy document must be version 2012-10-17 or greater.")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	d := &Document{}
	for i := range s.statements {
		d.statements = append(d.statements, s.statements[i].statement())
	}
	return d, nil
}

func (s *source) check() error {
	for i := range s.statements {
		if !s.statements[i].legacy() {
			return malformed("The policy failed legacy parsing")
		}
	}
	if err := s.checkIDs(); err != nil {
		return err
	}
	for i := range s.statements {
		if err := s.statements[i].check(); err != nil {
			return err
		}
	}
	return nil
}

var sidForm = regexp.MustCompile(`^[0-9A-Za-z]*$`)

func (s *source) checkIDs() error {
	seen := map[string]bool{}
	for i := range s.statements {
		sid := s.statements[i].sid
		if !sidForm.MatchString(sid) {
			return malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
		}
		if sid != "" && seen[sid] {
			return malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		seen[sid] = true
	}
	return nil
}

// legacy tells whether a statement has the form that AWS's older parser asks for.
func (s *sourceStatement) legacy() bool {
	if s.effect != "Allow" && s.effect != "Deny" {
		return false
	}
	for _, c := range s.conditions {
		for _, v := range c.values {
			if _, ok := parseDate(v); !ok && strings.HasPrefix(c.operator, "Date") && !strings.Contains(v, "${") {
				return false
			}
		}
	}
	for _, r := range slices.Concat(s.resources, s.notResources) {
		parts := strings.Split(r, ":")
		if len(parts) < 4 || parts[1] != "aws" {
			continue
		}
		if parts[2] == "" || parts[2] == "s3" && len(parts) < 6 {
			return false
		}
	}
	return true
}

// check holds a statement of an identity's policy against its rules.
func (s *sourceStatement) check() error {
	if s.principal != nil || s.notPrincipal != nil {
		return malformed("Policy document should not specify a principal.")
	}
	actions, resources := slices.Concat(s.actions, s.notActions), slices.Concat(s.resources, s.notResources)
	if len(actions) == 0 {
		return malformed("Policy statement must contain actions.")
	}
	if len(resources) == 0 {
		return malformed("Policy statement must contain resources.")
	}
	for _, r := range resources {
		if err := checkResource(r); err != nil {
			return err
		}
	}
	for _, a := range actions {
		if err := checkAction(a); err != nil {
			return err
		}
	}
	return nil
}

var vendorForm = regexp.MustCompile(`^[a-zA-Z0-9.*?-]+$`)

func checkAction(action string) error {
	if action == "*" {
		return nil
	}
	vendor, name, ok := strings.Cut(action, ":")
	switch {
	case !ok:
		return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	case strings.Contains(name, ":"):
		return malformed("Actions/Condition can contain only one colon.")
	case !vendorForm.MatchString(vendor):
		return malformed("Vendor " + vendor + " is not valid")
	}
	return nil
}

// ownPaths begin the names of IAM's own resources.
var ownPaths = []string{
	"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/", "sms-mfa/",
	"saml-provider/", "oidc-provider/", "report/", "access-report/",
}

func checkResource(resource string) error {
	if resource == "*" {
		return nil
	}
	if !strings.Contains(resource, ":") {
		return malformed("Resource " + resource + ` must be in ARN format or "*".`)
	}
	a := parseARN(resource)
	switch {
	case a[1] != "aws" && !strings.HasPrefix(a[1], "aws-") && !strings.ContainsAny(a[1], "*?"):
		return malformed(`Partition "` + a[1] + `" is not valid for resource "arn:` + strings.Join(a[1:], ":") + `".`)
	case strings.Count(resource, ":") == 1:
		return malformed("Resource vendor must be fully qualified and cannot contain regexes.")
	case a[2] == "iam" && a[3] != "" && a[3] != "*":
		return malformed("IAM resource " + resource + " cannot contain region information.")
	case a[2] == "s3" && a[3] != "" && a[3] != "*":
		return malformed("Resource " + resource + " can not contain region information.")
	case a[2] == "iam" && !ownPath(a[5]):
		return malformed(`IAM resource path must either be "*", root, or start with ` + strings.Join(ownPaths, ", ") + ".")
	}
	return nil
}

func ownPath(path string) bool {
	return strings.HasPrefix(path, "*") || path == "root" ||
		slices.ContainsFunc(ownPaths, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}
