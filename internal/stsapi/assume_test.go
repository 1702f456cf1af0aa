package stsapi

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
)

const (
	root   = "arn:aws:iam::" + auth.DefaultAccount + ":root"
	clerk  = "arn:aws:iam::" + auth.DefaultAccount + ":role/team/clerk"
	calls  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"lambda:*","Resource":"*"}}`
	chains = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}`
)

// makeRole makes the role that tests assume.
func makeRole(t *testing.T, room *iam.Room) *iam.Role {
	t.Helper()
	v, err := room.CreateRole(t.Context(), iam.Role{
		Namespace: auth.DefaultAccount, Path: "/team/", Name: "clerk", MaxSession: 7200,
		Trust: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"` + root + `"}}}`,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// with is a client with the keys of a session.
func with(url string, c *types.Credentials) *sts.Client {
	return sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken),
	})
}

func wantError(t *testing.T, what string, err error, status int, code, message string) {
	t.Helper()
	var api smithy.APIError
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.HasPrefix(api.ErrorMessage(), message) ||
		!errors.As(err, &answer) || answer.HTTPStatusCode() != status {
		t.Errorf("%s: %v, want %d %s: %s", what, err, status, code, message)
	}
}

func TestAssumeRole(t *testing.T) {
	url, key, room := startAt(t, time.Now)
	role, own, ctx := makeRole(t, room), client(url, key.Access, key.Secret), deadline(t)
	began := time.Now()
	out, err := own.AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String(clerk), RoleSessionName: aws.String("me@work"), DurationSeconds: aws.Int32(900), Policy: aws.String(calls),
		PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/AWSLambda_FullAccess")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const session = "arn:aws:sts::" + auth.DefaultAccount + ":assumed-role/clerk/me@work"
	if *out.AssumedRoleUser.Arn != session || *out.AssumedRoleUser.AssumedRoleId != role.ID+":me@work" {
		t.Errorf("user %s, %s", *out.AssumedRoleUser.Arn, *out.AssumedRoleUser.AssumedRoleId)
	}
	if left := out.Credentials.Expiration.Sub(began); left < 898*time.Second || left > 930*time.Second {
		t.Errorf("the keys are good for %v", left)
	}
	who, err := with(url, out.Credentials).GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *who.Arn != session || *who.UserId != role.ID+":me@work" || *who.Account != auth.DefaultAccount {
		t.Errorf("%s, %s, %s", *who.Arn, *who.UserId, *who.Account)
	}
	// The role is the account's, which its own keys are not.
	_, err = with(url, out.Credentials).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(clerk), RoleSessionName: aws.String("again")})
	wantError(t, "again", err, 403, "AccessDenied", "User: "+session+" is not authorized to perform: sts:AssumeRole on resource: "+clerk)

	if err := room.DeleteRole(ctx, auth.DefaultAccount, "clerk"); err != nil {
		t.Fatal(err)
	}
	_, err = with(url, out.Credentials).GetCallerIdentity(ctx, nil)
	wantError(t, "without the role", err, 403, "InvalidClientTokenId", "The security token included in the request is invalid")
	makeRole(t, room)
	_, err = with(url, out.Credentials).GetCallerIdentity(ctx, nil)
	wantError(t, "with another role of the name", err, 403, "InvalidClientTokenId", "")
}

// Keys that were made an hour ago have expired.
func TestExpired(t *testing.T) {
	url, key, room := startAt(t, func() time.Time { return time.Now().Add(-time.Hour) })
	makeRole(t, room)
	out, err := client(url, key.Access, key.Secret).AssumeRole(deadline(t), &sts.AssumeRoleInput{RoleArn: aws.String(clerk), RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = with(url, out.Credentials).GetCallerIdentity(deadline(t), nil)
	wantError(t, "expired", err, 403, "ExpiredToken", "The security token included in the request is expired")
}

// A role that was assumed by one that was assumed is so for an hour at most.
func TestChained(t *testing.T) {
	url, key, room := startAt(t, time.Now)
	makeRole(t, room)
	_, err := room.UpdateRole(t.Context(), auth.DefaultAccount, "clerk", func(v *iam.Role) error {
		v.Inline["chains"] = chains
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *sts.Client, seconds int32, policy *string) (*sts.AssumeRoleOutput, error) {
		return c.AssumeRole(deadline(t), &sts.AssumeRoleInput{
			RoleArn: aws.String(clerk), RoleSessionName: aws.String("me"), DurationSeconds: aws.Int32(seconds), Policy: policy,
		})
	}
	first, err := ask(client(url, key.Access, key.Secret), 7200, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = ask(with(url, first.Credentials), 3600, nil); err != nil {
		t.Errorf("for an hour: %v", err)
	}
	_, err = ask(with(url, first.Credentials), 3601, nil)
	wantError(t, "for longer", err, 400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	limited, err := ask(client(url, key.Access, key.Secret), 900, aws.String(calls))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ask(with(url, limited.Credentials), 900, nil)
	wantError(t, "beyond its limits", err, 403, "AccessDenied", "")
}

func TestAssumeRoleRefusals(t *testing.T) {
	url, key, room := startAt(t, time.Now)
	makeRole(t, room)
	own := client(url, key.Access, key.Secret)
	const one = "1 validation error detected: Value '"
	for name, c := range map[string]struct {
		change        func(in *sts.AssumeRoleInput)
		status        int
		code, message string
	}{
		"no role": {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(clerk + "s") }, 403, "AccessDenied",
			"User: " + root + " is not authorized to perform: sts:AssumeRole on resource: " + clerk + "s"},
		"not its path":   {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(strings.Replace(clerk, "team/", "", 1)) }, 403, "AccessDenied", ""},
		"short ARN":      {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("clerk") }, 400, "ValidationError", one + "clerk' at 'roleArn' failed"},
		"no ARN":         {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("this is not an ARN at all") }, 400, "ValidationError", "Request ARN is invalid"},
		"short name":     {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("x") }, 400, "ValidationError", one + "x' at 'roleSessionName' failed"},
		"long name":      {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(strings.Repeat("x", 65)) }, 400, "ValidationError", one},
		"name":           {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, 400, "ValidationError", one + "a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: "},
		"too short":      {func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(899) }, 400, "ValidationError", one + "899' at 'durationSeconds' failed"},
		"too long":       {func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(43201) }, 400, "ValidationError", one + "43201' at 'durationSeconds' failed"},
		"role's longest": {func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(7201) }, 400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		"external id":    {func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("?") }, 400, "ValidationError", one},
		"bad policy":     {func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{}") }, 400, "MalformedPolicyDocument", ""},
		"long policy":    {func(in *sts.AssumeRoleInput) { in.Policy = aws.String(calls + strings.Repeat(" ", 2048)) }, 400, "ValidationError", one},
		"bad ARN":        {func(in *sts.AssumeRoleInput) { in.PolicyArns = policies(1, "x") }, 400, "ValidationError", "ARN x is not valid."},
		"many ARNs":      {func(in *sts.AssumeRoleInput) { in.PolicyArns = policies(11, "arn:aws:iam::aws:policy/x") }, 400, "ValidationError", ""},
		"long ARNs": {func(in *sts.AssumeRoleInput) {
			in.PolicyArns = policies(5, "arn:aws:iam::aws:policy/"+strings.Repeat("x", 1000))
		}, 400, "PackedPolicyTooLarge", "Packed policy consumes 125% of allotted space"},
		"tags": {func(in *sts.AssumeRoleInput) { in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}} }, 501, "NotImplemented", ""},
		"MFA":  {func(in *sts.AssumeRoleInput) { in.TokenCode = aws.String("123456") }, 501, "NotImplemented", ""},
	} {
		in := &sts.AssumeRoleInput{RoleArn: aws.String(clerk), RoleSessionName: aws.String("me")}
		c.change(in)
		_, err := own.AssumeRole(deadline(t), in)
		wantError(t, name, err, c.status, c.code, c.message)
	}
}

func policies(n int, arn string) (out []types.PolicyDescriptorType) {
	for range n {
		out = append(out, types.PolicyDescriptorType{Arn: aws.String(arn)})
	}
	return out
}
