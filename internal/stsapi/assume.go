package stsapi

import (
	"context"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
)

// Bounds of a request ("AssumeRole", AWS STS API reference). Durations are in seconds.
const (
	usualDuration   = 3600
	minDuration     = 900
	maxDuration     = 43_200
	chainedDuration = 3600 // of a role that is assumed by one that was assumed
	minRoleARN      = 20
	maxRoleARN      = 2048
	minName         = 2
	maxName         = 64
	maxPolicy       = 2048 // characters
	maxPolicies     = 10
	maxExternalID   = 1224
	maxPacked       = 4096 // bytes of all session policies
)

var (
	nameForm     = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalForm = regexp.MustCompile(`^[\w+=,.@:\\/-]*$`)
	roleForm     = regexp.MustCompile(`^arn:aws:iam::\d{12}:role/([!-~]+/)?[\w+=,.@-]+$`)
)

// absent are members that would have a meaning, which they do not have here: who asks
// for them must not believe that he got it.
var absent = []string{
	"Tags.member.1.Key", "TransitiveTagKeys.member.1", "SourceIdentity", "ProvidedContexts.member.1.ProviderArn", "SerialNumber", "TokenCode",
}

// assumed is AssumeRoleResult.
type assumed struct {
	AssumedRoleUser struct {
		AssumedRoleID string `xml:"AssumedRoleId"`
		ARN           string `xml:"Arn"`
	}
	Credentials struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      string
	}
	PackedPolicySize int `xml:",omitempty"` // percent of what is allowed
}

// sessionID is the unique id of who has assumed a role, by the role's.
func sessionID(role, session string) string { return role + ":" + session }

func (d *door) assumeRole(_ context.Context, c *queryapi.Call) (any, error) {
	duration, err := check(c)
	if err != nil {
		return nil, err
	}
	a := iam.Assumption{
		Caller: Caller(c.Caller), Role: c.Params.Get("RoleArn"), Session: c.Params.Get("RoleSessionName"), ExternalID: c.Params.Get("ExternalId"),
	}
	role := d.o.Roles.Assume(a)
	switch {
	case role == nil:
		return nil, &lambent.Error{Code: lambent.CodeDenied,
			Message: "User: " + c.Caller.ARN + " is not authorized to perform: sts:AssumeRole on resource: " + a.Role}
	case duration > role.MaxSession:
		return nil, lambent.Errorf(lambent.CodeInvalid, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case c.Caller.Role != "" && duration > chainedDuration:
		return nil, lambent.Errorf(lambent.CodeInvalid, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	s := auth.Assumed{
		Account: role.Namespace, Role: role.ARN(), RoleID: role.ID, Name: a.Session,
		Policy: c.Params.Get("Policy"), Policies: c.List("PolicyArns.arn"),
	}
	packed, err := limits(&s)
	if err != nil {
		return nil, err
	}
	end := d.o.Now().Add(time.Duration(duration) * time.Second)
	s.Expires = end.Unix()
	key := d.o.Keys.Assume(s)
	var out assumed
	out.AssumedRoleUser.AssumedRoleID, out.AssumedRoleUser.ARN = sessionID(role.ID, a.Session), key.ARN
	out.Credentials.AccessKeyID, out.Credentials.SecretAccessKey, out.Credentials.SessionToken = key.Access, key.Secret, key.Token
	out.Credentials.Expiration = end.UTC().Format(time.RFC3339)
	out.PackedPolicySize = packed
	return out, nil
}

// check holds a request against the forms of its members, and reads how long the keys
// are to be good for, in seconds.
func check(c *queryapi.Call) (duration int, err error) {
	if err := c.Need("RoleArn", "RoleSessionName"); err != nil {
		return 0, err
	}
	for _, name := range absent {
		if c.Params.Has(name) {
			return 0, lambent.Errorf(lambent.CodeUnsupported, "sts:AssumeRole with %s is not implemented by lambent yet", name)
		}
	}
	if duration, err = c.Number("DurationSeconds", usualDuration); err != nil {
		return 0, err
	}
	arn, name, external := c.Params.Get("RoleArn"), c.Params.Get("RoleSessionName"), c.Params.Get("ExternalId")
	switch {
	case len(arn) < minRoleARN:
		return 0, queryapi.Break("RoleArn", arn, "have length greater than or equal to "+strconv.Itoa(minRoleARN))
	case len(arn) > maxRoleARN:
		return 0, queryapi.Break("RoleArn", arn, "have length less than or equal to "+strconv.Itoa(maxRoleARN))
	case !roleForm.MatchString(arn):
		return 0, lambent.Errorf(lambent.CodeInvalid, "Request ARN is invalid")
	case len(name) < minName:
		return 0, queryapi.Break("RoleSessionName", name, "have length greater than or equal to "+strconv.Itoa(minName))
	case len(name) > maxName:
		return 0, queryapi.Break("RoleSessionName", name, "have length less than or equal to "+strconv.Itoa(maxName))
	case !nameForm.MatchString(name):
		return 0, queryapi.Break("RoleSessionName", name, `satisfy regular expression pattern: [\w+=,.@-]*`)
	case c.Params.Has("ExternalId") && (len(external) < minName || len(external) > maxExternalID || !externalForm.MatchString(external)):
		return 0, queryapi.Break("ExternalId", external, `satisfy regular expression pattern: [\w+=,.@:\/-]*`)
	case duration < minDuration:
		return 0, queryapi.Break("DurationSeconds", strconv.Itoa(duration), "have value greater than or equal to "+strconv.Itoa(minDuration))
	case duration > maxDuration:
		return 0, queryapi.Break("DurationSeconds", strconv.Itoa(duration), "have value less than or equal to "+strconv.Itoa(maxDuration))
	}
	return duration, nil
}

// limits holds the policies of a session against their rules, and says how much of
// what is allowed they have, in percent.
func limits(s *auth.Assumed) (percent int, err error) {
	switch {
	case utf8.RuneCountInString(s.Policy) > maxPolicy:
		return 0, queryapi.Break("Policy", s.Policy, "have length less than or equal to "+strconv.Itoa(maxPolicy))
	case len(s.Policies) > maxPolicies:
		return 0, lambent.Errorf(lambent.CodeInvalid, "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: "+
			"Member must have length less than or equal to %d", maxPolicies)
	}
	if err := iam.CheckSession(s.Policy, s.Policies); err != nil {
		return 0, err
	}
	size := len(s.Policy)
	for _, arn := range s.Policies {
		size += len(arn)
	}
	percent = (100*size + maxPacked - 1) / maxPacked
	if percent > 100 {
		return 0, lambent.Errorf(lambent.CodeInvalid, "Packed policy consumes %d%% of allotted space, please use smaller policy.", percent).
			WithReason("PackedPolicyTooLarge")
	}
	return percent, nil
}
